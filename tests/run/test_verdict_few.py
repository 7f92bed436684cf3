"""Of few rows that differ no verdict is made, nor of those by which a side was chosen: p-values
agree with scipy's exact sign test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from tests.support.runs import TASKS, Said, moods, write_run
from trivium.run.folder.sealed import seal
from trivium.run.verdict.differing import FEWEST, least_p
from trivium.run.verdict.facts import Comparison, Verdict
from trivium.run.verdict.systems import systems_of
from trivium.run.verdict.tables import as_json
from trivium.run.verdict.verdict import verdict

OTHER = [{"lr": 1e-6}]
"""Stages that make another system of a run."""


def lost(rows: int, count: int, *, right: int = 0) -> Said:
    """Of so many rows the first `count` are answered wrongly; `right` that follow rightly, and all
    others wrongly."""
    answers = [count <= row < count + right for row in range(rows)]
    return moods(answers, [row % 2 for row in range(rows)])


def against(folder: Path, before: Said, after: Said, task: str = "mood") -> Verdict:
    runs = [
        write_run(folder / "a", {task: before}),
        write_run(folder / "b", {task: after}, stages=OTHER),
    ]
    return verdict(runs, resamples=1000)


def only(found: Verdict) -> Comparison:
    (one,) = found.comparisons
    return one


@pytest.mark.parametrize("rows", range(1, 30))
def test_the_least_p_value_is_that_of_the_exact_sign_test(rows: int) -> None:
    assert least_p(rows) == pytest.approx(stats.binomtest(rows, rows).pvalue)


def test_no_row_that_differs_tells_nothing() -> None:
    assert least_p(0) == 1
    assert least_p(FEWEST) <= 0.05 < least_p(FEWEST - 1)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_up_to_five_rows_that_differ_are_not_beyond_noise(rows: int, tmp_path: Path) -> None:
    found = against(tmp_path, lost(rows, rows), lost(rows, 0, right=rows))
    one = only(found)
    assert (one.low, one.high) == (1, 1)  # no resample holds anything else
    assert (one.outcome, one.corrected, one.differing) == ("noise", "noise", rows)
    assert one.p == pytest.approx(2 * 0.5**rows)
    differ = "only 1 row differs" if rows == 1 else f"only {rows} rows differ"
    assert one.sentence.endswith(f": not distinguishable from noise, since {differ})")
    (note,) = [note for note in found.notes if "sign test" in note]
    assert f"mood ({rows})" in note
    assert f"fewer than {FEWEST}" in note
    assert f'"differing": {rows}' in as_json(found)


def test_six_rows_that_differ_all_to_one_side_are(tmp_path: Path) -> None:
    found = against(tmp_path, lost(6, 6), lost(6, 0, right=6))
    one = only(found)
    assert (one.outcome, one.differing) == ("better", 6)
    assert one.p == pytest.approx(2 / 64)
    assert not [note for note in found.notes if "sign test" in note]


def test_rows_that_both_sides_answer_alike_do_not_count(tmp_path: Path) -> None:
    one = only(against(tmp_path, lost(200, 3, right=100), lost(200, 0, right=103)))
    assert one.differing == 3
    assert one.p >= 2 * 0.5**3
    many = only(against(tmp_path / "m", lost(200, 90, right=100), lost(200, 0, right=190)))
    assert (many.differing, many.outcome) == (90, "better")
    assert many.p == pytest.approx(2 / 1001)  # what resamples allow is more than what rows do


def test_a_row_counts_once_whatever_the_number_of_seeds(tmp_path: Path) -> None:
    runs = []
    for seed in range(4):
        runs += [
            write_run(tmp_path / f"a-{seed}", {"mood": lost(3, 3)}, seed=seed),
            write_run(
                tmp_path / f"b-{seed}", {"mood": lost(3, 0, right=3)}, seed=seed, stages=OTHER
            ),
        ]
    one = only(verdict(runs, resamples=1000))
    assert (one.differing, one.outcome, one.p) == (3, "noise", 0.25)
    assert one.seeds == (4, 4)


def test_a_row_on_which_seeds_are_equally_often_right_does_not_differ(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        first = moods([seed, 1 - seed, 1], [0, 1, 0])
        second = moods([1 - seed, seed, 0], [0, 1, 0])
        runs += [
            write_run(tmp_path / f"a-{seed}", {"mood": first}, seed=seed),
            write_run(tmp_path / f"b-{seed}", {"mood": second}, seed=seed, stages=OTHER),
        ]
    assert only(verdict(runs, resamples=400)).differing == 1


def tags(said: Sequence[Sequence[int]]) -> Said:
    return [(0,)] * len(said), torch.tensor([[0.9 * one + 0.05 for one in row] for row in said])


@pytest.mark.parametrize(
    ("task", "metric", "before", "after", "rows"),
    [
        # Both wrong, but not alike: it counts for F1, and for accuracy it does not.
        ("three", "accuracy", [1, 1, 0, 1], [2, 0, 0, 0], 2),
        ("three", "macro_f1", [1, 1, 0, 1], [2, 0, 0, 0], 3),
        ("tags", "micro_f1", [[0, 1, 0], [0, 0, 0], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]] * 2, 3),
        ("tags", "exact_match", [[0, 1, 0], [0, 0, 0], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]] * 2, 2),
        ("grade", "one_off", [0, 1, 2, 2], [1, 2, 2, 0], 2),
        ("near", "pearson", [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 3.5, 3.0], 3),
    ],
)
def test_rows_differ_by_what_the_metric_is_made_of(
    task: str, metric: str, before: list[Any], after: list[Any], rows: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    three = TASKS["mood"] | {"labels": ["1", "2", "3"]}
    monkeypatch.setitem(TASKS, "three", three)
    monkeypatch.setitem(TASKS, "grade", three | {"kind": "ordinal"})
    monkeypatch.setitem(TASKS, task, TASKS[task] | {"metric": metric})

    def said(of: list[Any]) -> Said:
        of = of[: len(before)]
        if task == "tags":
            return tags(of)
        if task == "near":
            return [float(row) for row in range(len(of))], torch.tensor(of)[:, None]
        return [0] * len(of), torch.eye(3)[of]

    one = only(against(tmp_path, said(before), said(after), task))
    assert (one.metric, one.differing) == (metric, rows)
    assert one.p >= least_p(rows)
    assert one.outcome == "noise"


def test_overall_counts_a_text_once_that_several_tasks_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "copy", TASKS["mood"])
    wrong, right = lost(4, 4), lost(4, 0, right=4)
    runs = [
        write_run(tmp_path / "a", {"mood": wrong, "copy": wrong}),
        write_run(tmp_path / "b", {"mood": right, "copy": right}, stages=OTHER),
    ]
    found = verdict(runs, resamples=1000)
    overall = found.comparisons[-1]
    assert (overall.task, overall.differing, overall.outcome) == ("overall", 4, "noise")
    assert overall.p == pytest.approx(2 / 16)
    (summary,) = found.summaries
    assert (summary.better, summary.undecided) == ([], ["mood", "copy"])


def test_overall_adds_up_the_rows_of_tasks_with_texts_of_their_own(tmp_path: Path) -> None:
    target = [float(row) for row in range(4)]
    rising = torch.tensor(target)[:, None]
    runs = [
        write_run(tmp_path / "a", {"mood": lost(4, 4), "near": (target, -rising)}),
        write_run(
            tmp_path / "b", {"mood": lost(4, 0, right=4), "near": (target, rising)}, stages=OTHER
        ),
    ]
    mood, near, overall = verdict(runs, resamples=1000).comparisons
    # Of `near` the first row is 0 and 0.
    assert (mood.differing, near.differing, overall.differing) == (4, 3, 7)
    assert (mood.outcome, near.outcome, overall.outcome) == ("noise", "noise", "better")


def weighed(run: Path) -> Path:
    panel = {"how": "weights", "members": [0, 1], "weights": [0.25, 0.75]}
    members = [{"name": name, "folder": name} for name in "xy"]
    values = {"format": 1, "trivium": "0", "members": members, "tasks": {"mood": panel}}
    seal(run, "ensemble.json", values, files="none")
    return run


SOUP = {"soup": [{"run": "x", "own": 0.5, "soup": 0.5, "kept": True}]}


@pytest.mark.parametrize("kind", ["weights", "soup"])
@pytest.mark.parametrize("first", [True, False])
def test_what_was_chosen_by_these_rows_gains_nothing_by_them_and_may_lose(
    kind: str, first: bool, tmp_path: Path
) -> None:
    many, few = lost(60, 0, right=40), lost(60, 0, right=20)
    for folder, chosen, plain in (("up", many, few), ("down", few, many)):
        more = SOUP if kind == "soup" else {}
        run = write_run(tmp_path / folder / "chosen", {"mood": chosen}, more=more)
        run = weighed(run) if kind == "weights" else run
        other = write_run(tmp_path / folder / "plain", {"mood": plain}, stages=OTHER)
        found = verdict([run, other] if first else [other, run], resamples=400)
        one = only(found)
        # An ensemble is no baseline where there is another.
        is_system = one.system == "chosen"
        assert is_system == (kind == "weights" or not first)
        assert one.low > 0 or one.high < 0
        if folder == "up":
            assert (one.outcome, one.corrected, one.p, one.is_flattered) == ("noise",) * 2 + (
                1,
                True,
            )
            assert one.sentence.endswith("nothing is told by rows that its weights were chosen on)")
        else:
            assert one.outcome == ("worse" if is_system else "better")
        assert any(note.startswith("chosen: its weights were chosen") for note in found.notes)
        on_test = systems_of([run], "test")[0][0]
        assert on_test.chosen_here == set()
