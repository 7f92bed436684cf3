"""A verdict over nine tasks: corrected, in order, drawn, and whole on every screen."""

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.support.nine import NAMES, SHARED, make, right
from tests.support.runs import TASKS, write_run
from trivium.run.verdict.facts import Verdict
from trivium.run.verdict.forest import ASCII, Glyphs, forest, ranked
from trivium.run.verdict.scored import MOST_ACROSS, score, scores_of
from trivium.run.verdict.tables import as_json, as_markdown, print_verdict
from trivium.run.verdict.verdict import verdict


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    return verdict(make(tmp_path_factory.mktemp("nine")), resamples=2000)


def shown(
    found: Verdict, width: int, *, encoding: str = "utf-8", colour: bool = False
) -> list[str]:
    """What stands on a terminal."""
    file = TextIOWrapper(BytesIO(), encoding=encoding, errors="replace")
    console = Console(
        file=file, width=width, force_terminal=True, markup=False, emoji=False, highlight=False,
        color_system="standard" if colour else None,
    )  # fmt: skip
    print_verdict(found, console)
    file.seek(0)
    return file.read().splitlines()


# --- the correction ----------------------------------------------------------------------------


def test_nine_tasks_are_one_family_and_overall_is_a_question_of_its_own(nine: Verdict) -> None:
    *family, overall = ranked(nine.comparisons)
    assert [c.tests for c in family] == [9] * 9
    assert (overall.task, overall.tests, overall.adjusted_p) == ("overall", 1, overall.p)
    by_p = sorted(family, key=lambda c: c.p)
    assert by_p[0].adjusted_p == pytest.approx(9 * by_p[0].p)
    # A difference with an interval of its own beyond 0 that eight others take away.
    (urgent,) = [c for c in family if c.task == "urgent"]
    assert (urgent.outcome, urgent.corrected) == ("better", "noise")
    assert urgent.p <= 0.05 < urgent.adjusted_p
    (summary,) = nine.summaries
    assert (summary.better, summary.better_alone) == (["mood"], ["urgent"])
    assert set(summary.worse) == {NAMES[3]}
    # Eight rows differ, all lost: by a sign test p is 2 / 2^8 at least, of nine tasks the third.
    (lost,) = [c for c in family if c.task == "_b_"]
    assert (lost.differing, lost.p, lost.adjusted_p) == (8, 2 / 2**8, 7 * 2 / 2**8)
    assert summary.worse_alone == ["_b_"]
    assert any("Holm's correction (1979, step-down) over the 9 tasks" in n for n in nine.notes)


def test_what_is_beyond_noise_after_the_correction_was_so_before(nine: Verdict) -> None:
    for one in nine.comparisons:
        assert one.adjusted_p >= one.p
        assert one.corrected in (one.outcome, "noise")


def test_a_system_with_one_task_is_not_corrected(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, {"mood": right(count, shift)}, stages=[{"lr": count / 1e6}])
        for name, count, shift in (("a", 30, 0), ("b", 45, 7))
    ]
    (one,) = verdict(runs, resamples=400).comparisons
    assert (one.tests, one.adjusted_p, one.corrected) == (1, one.p, one.outcome)
    assert "Holm" not in as_markdown(verdict(runs, resamples=400))


def test_too_few_resamples_for_so_many_tasks_are_told(tmp_path: Path) -> None:
    found = verdict(make(tmp_path), resamples=200)
    assert not [c for c in found.comparisons if c.tests > 1 and c.corrected == "better"]
    assert any("of 200 resamples nothing can be beyond noise after" in n for n in found.notes)
    assert any("it takes 359 (--resamples)" in n for n in found.notes)


# --- on a screen -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_table_or_of_the_plot_is_wider_than_the_screen(
    nine: Verdict, width: int
) -> None:
    lines = shown(nine, width)
    drawn = [line for line in lines if set(line) & set("│┃┏└┡├─")]
    assert len(drawn) > 40
    assert max(map(cell_len, drawn)) <= width
    text = "\n".join(lines)
    for one in nine.comparisons:
        # Numbers are never broken, whatever is left out.
        assert f"{100 * one.difference:+.1f}" in text or one.difference == 0
        assert one.sentence in text
    assert re.search(r"\+25\.0 to \+56\.7 │( < \.001 │)? better \(\.009\)", text)
    assert SHARED in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_row_of_a_table_ends_at_its_edge(nine: Verdict, width: int) -> None:
    rows = [line for line in shown(nine, width) if line.startswith(("┏", "┃", "┡", "│", "└"))]
    tables: list[list[str]] = []
    for row in rows:
        if row.startswith("┏"):
            tables.append([])
        tables[-1].append(row)
    assert len(tables) == 3
    for table in tables:
        assert len({cell_len(row) for row in table}) == 1, table


def test_a_system_with_tasks_that_no_other_has_is_no_baseline_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{place}" for place in range(MOST_ACROSS + 1)]
    for name in names:
        monkeypatch.setitem(TASKS, name, TASKS["mood"])
    runs = [
        write_run(tmp_path / "some", {name: right(30, 0) for name in names[:2]}),
        write_run(tmp_path / "all", {name: right(45, 7) for name in names}),
    ]
    found = verdict(runs, resamples=100)
    table = scores_of(found)
    assert table.head == ["task", "metric", "baseline", "all"]
    ours = {group.name: group.scores for group in found.groups}
    assert [row[2:] for row in table.cells[:-1]] == [
        [score(ours["some"].get(name)), score(ours["all"][name])] for name in names
    ]
    runs.append(write_run(tmp_path / "last", {name: right(50, 3) for name in names[3:]}))
    table = scores_of(verdict(runs, resamples=100))
    assert table.head == ["task", "metric", "baseline", "all", "last"]
    assert [row[2:] for row in table.cells[:-1]] == [
        *[["50.0", "75.0", "–"]] * 2, ["–", "75.0", "–"], *[["75.0", "–", "83.3"]] * 2,
    ]  # fmt: skip


def test_differences_stand_in_order_with_overall_at_the_end(nine: Verdict) -> None:
    order = ranked(nine.comparisons)
    assert all(a.difference >= b.difference for a, b in pairwise(order[:-1]))
    assert order[-1].task == "overall"
    for text in ("\n".join(shown(nine, 120)), as_markdown(nine)):
        table = text[text.index("Differences, in points") :]
        places = [table.index(name) for name in ("mood", "urgent", "toxic", "_b_")]
        assert places == sorted(places)


def test_columns_that_do_not_fit_are_named_and_stand_in_the_file(nine: Verdict) -> None:
    narrow, text = shown(nine, 60), as_markdown(nine)
    assert "(for by seed, rows, baseline, p: a wider terminal, or --out)" in narrow
    head = "| baseline | task | difference | 95 % interval | p | after Holm | by seed | rows |"
    assert head in text
    assert "| single-0 | mood | +41.7 | +25.0 to +56.7 | < .001 | better (.009) |" in text
    assert '"adjusted_p"' in as_json(nine)


def test_a_terminal_without_such_letters_gets_plain_ones_and_no_colour(nine: Verdict) -> None:
    lines = shown(nine, 80, encoding="ascii")
    text = "\n".join(lines)
    assert not set("●◐○├┤…") & set(text)
    assert "\x1b[3" not in text.replace("\x1b[3m", "")  # italics of titles are no colour
    (mood,) = [line for line in lines if line.startswith("mood  ") and "*" in line]
    assert mood.split() == ["mood", "|", mood.split()[-1]]
    assert mood.rstrip().endswith("]")
    assert "\x1b[32m" in "\n".join(shown(nine, 80, colour=True))


# --- the plot ----------------------------------------------------------------------------------


def plot(found: Verdict, width: int, glyphs: Glyphs = ASCII) -> Iterator[tuple[str, str]]:
    lines = forest(ranked(found.comparisons), width, glyphs)
    return ((line.name, line.drawn) for line in lines if line.comparison)


def test_dots_and_whiskers_stand_where_the_numbers_are(nine: Verdict) -> None:
    order = ranked(nine.comparisons)
    low, high = min(c.low for c in order), max(c.high for c in order)
    for one, (name, drawn) in zip(order, plot(nine, 80), strict=True):
        assert cell_len(name) + 1 + len(drawn) == 80

        def place(value: float, cells: int = len(drawn)) -> int:
            return round((value - low) / (high - low) * (cells - 1))

        dot = {"better": "*", "worse": "*"}.get(one.corrected, "o")
        dot = "x" if one.corrected != one.outcome else dot
        assert drawn[place(one.difference)] == dot
        assert drawn.index("[") == place(one.low)
        assert drawn.index("]") == place(one.high)
        assert drawn[place(0)] in "|+[]o"


def test_long_and_wide_names_are_cut_to_the_same_cells(nine: Verdict) -> None:
    for width in (40, 60, 80, 120):
        names = [name for name, _ in plot(nine, width)]
        assert len({cell_len(name) for name in names}) == 1
        assert cell_len(names[0]) <= 0.4 * min(width, 100)


def test_nothing_is_drawn_where_it_would_say_nothing(nine: Verdict) -> None:
    assert forest([], 80, ASCII) == []
    assert forest(nine.comparisons, 20, ASCII) == []
    assert forest(list(nine.comparisons) * 5, 80, ASCII) == []


def test_systems_that_answer_alike_are_a_dot_on_the_axis(nine: Verdict) -> None:
    same = [replace(c, low=0.0, high=0.0, difference=0.0, corrected="same", outcome="same")
            for c in nine.comparisons[:3]]  # fmt: skip
    drawn = [line.drawn.strip() for line in forest(same, 60, ASCII) if line.comparison]
    assert drawn == ["o"] * 3


def test_lines_of_several_systems_say_whose_they_are(nine: Verdict) -> None:
    others = [replace(c, system="other") for c in nine.comparisons]
    names = [line.name for line in forest([*nine.comparisons[:2], *others[:2]], 100, ASCII)]
    assert names[0].startswith(f"mood {SHARED[:10]}")
    assert names[2].startswith("mood other")


def test_costs_of_nine_tasks_are_counted_in_the_name_of_their_line(nine: Verdict) -> None:
    assert nine.costs[-1].name == "single-task models together: 9 tasks"
    (saved,) = nine.one_pass
    assert (saved.parameters, saved.parameters_apart, saved.ms) == (1500, 9000, None)
    assert "1,500 in place of 9,000 parameters" in saved.sentence
    assert saved.sentence in as_markdown(nine)
