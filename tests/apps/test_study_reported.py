"""A study of recipes that a report tells of: its scores beside ours, its order against ours."""

import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import kendalltau
from typer.testing import CliRunner

from tests.support.studies import finish_by_hand, refusal
from tests.support.tables import make_recipe
from trivium.apps.study import ensembles, study
from trivium.apps.study.columns import columns_of
from trivium.apps.study.ensembles import EnsembleRun
from trivium.apps.study.facts import (
    Costs,
    EnsembleOf,
    Means,
    ReportedScores,
    Row,
    Summary,
    Table,
    TaskSummary,
)
from trivium.apps.study.order import orders_of
from trivium.apps.study.prose import notes
from trivium.apps.study.runs import plan_study
from trivium.apps.study.shown import as_markdown, groups_of, print_table
from trivium.apps.study.table import summarise
from trivium.cli import app
from trivium.errors import RecipeError


def row(
    name: str, reported: float | None, mean: float, sd: float | None = 0.0, dev: str = "dev.csv"
) -> Row:
    """A row of a study's table with one task."""
    told = ReportedScores("R1", "none", {"mood": reported}, "R1", True) if reported else None
    return Row(
        name=name, file=f"{name}.yaml", encoder="none", ensemble=None, reported=told, unlike=None,
        differs={}, runs=[], n=1, tasks={"mood": TaskSummary("accuracy", dev, mean, sd, [mean])},
        overall=Means(UNKNOWN, UNKNOWN), cost=Costs(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    )  # fmt: skip


UNKNOWN = Summary(None, None, [])


@pytest.fixture
def files(tiny: Path, tmp_path: Path) -> list[Path]:
    """Three rows of one report, reached with this encoder, one with another, and one of none."""
    values = make_recipe(tiny, tmp_path) | {"budgets": {"quick": {"rows": 9}}}
    reported = {
        "a": ("R1, table 2", tiny.name, {"mood": 0.5, "near": 0.9}),
        "b": ("R1, table 2", tiny.name, {"mood": 0.6}),
        "c": ("R1, table 3", tiny.name.upper(), {"mood": 0.7}),
        "d": ("R2", "bert-base-uncased", {"mood": 0.8}),
        "e": None,
    }
    paths = []
    for name, told in reported.items():
        found = dict(zip(("source", "encoder", "scores"), told, strict=True)) if told else None
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump(values | {"reported": found}))
    return paths


def table_of(files: list[Path], folder: Path, moods: list[list[float]]) -> Table:
    """Of finished runs with these scores, a list of seeds for every recipe."""
    for path, each in zip(files, moods, strict=True):
        for seed, mood in enumerate(each):
            finish_by_hand(path, folder, seed, {"mood": mood, "near": 0.5, "same": 0.5}, {})
    return summarise(plan_study(files, folder, len(moods[0]), []), {})


def written(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the table under a heading."""
    part = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def test_weights_that_were_chosen_on_these_rows_are_told() -> None:
    for how in ("mean", "weights"):
        union = replace(row("both", None, 0.5), ensemble=EnsembleOf(how, ["a", "b"]))
        table = Table("dev", [0], "full", [], "", [], [union], [], "")
        told = "The weights of both were chosen on these dev rows, so the scores are optimistic."
        assert (told in notes(table)) == (how == "weights")


# --- rank order --------------------------------------------------------------------------------

SCORES = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])


@given(st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=9))
def test_the_order_is_kendall_s_tau_b(pairs: list[tuple[float, float]]) -> None:
    (order,) = orders_of([row(str(i), a, b) for i, (a, b) in enumerate(pairs)])
    theirs, ours = zip(*pairs, strict=True)
    if len(set(theirs)) > 1 and len(set(ours)) > 1:
        assert order.tau_b == pytest.approx(float(kendalltau(theirs, ours)[0]), abs=1e-6)
    else:
        assert order.tau_b is None
    assert order.clear is not None
    assert order.clear_same is not None
    assert 0 <= order.clear_same <= order.clear <= order.pairs
    assert order.clear_same <= order.same <= order.pairs


def test_pairs_are_counted_by_hand() -> None:
    rows = [
        row("a", 0.50, 0.40, 0.03),
        row("b", 0.60, 0.44, 0.04),  # 0.04 above a, within sqrt(0.03² + 0.04²) = 0.05
        row("c", 0.70, 0.34, 0.04),  # 0.06 below a, more than 0.05: clear, and turned
        row("d", 0.70, 0.90, 0.00),  # as c in the report, clear of all here
        row("e", None, 0.99, 0.00),
    ]
    (order,) = orders_of(rows)
    assert order.recipes == ["a", "b", "c", "d"]
    # ab +, ac -, ad +, bc -, bd +; the report does not tell c from d.
    assert (order.pairs, order.same) == (5, 3)
    # ac -, ad +, bc - (0.10 against 0.057), bd +
    assert (order.clear, order.clear_same) == (4, 2)
    assert order.tau_b == pytest.approx(1 / 30**0.5)


def test_one_seed_knows_no_clear_pairs_and_one_row_no_order() -> None:
    (order,) = orders_of([row("a", 0.5, 0.4, None), row("b", 0.6, 0.5, None)])
    assert (order.pairs, order.same, order.clear) == (1, 1, None)
    assert order.tau_b == 1
    assert orders_of([row("a", 0.5, 0.4), row("b", None, 0.5)]) == []


def test_rows_that_are_judged_on_different_rows_are_not_ordered() -> None:
    films, other = "films.csv", "other.csv"
    rows = [
        row("a", 0.5, 0.9, dev=films),
        row("b", 0.6, 0.8, dev=films),
        row("c", 0.7, 0.1, dev=other),
    ]
    rows += [row("d", 0.8, 0.2, dev=other), row("e", 0.9, 0.2, dev="third.csv")]
    one, two = orders_of(rows)
    assert (one.title, one.recipes, one.tau_b) == ("mood (films.csv)", ["a", "b"], -1)
    assert (two.title, two.recipes, two.tau_b) == ("mood (other.csv)", ["c", "d"], 1)
    titles = [
        column.title for column in columns_of([replace(each, reported=None) for each in rows])
    ]
    assert titles[:2] == ["mood (films.csv) accuracy", "mood (other.csv) accuracy"]


# --- the table ---------------------------------------------------------------------------------


def test_reported_scores_stand_beside_ours_if_the_encoder_is_the_same(
    files: list[Path], tmp_path: Path
) -> None:
    table = table_of(files, tmp_path / "out", [[0.4, 0.5], [0.6, 0.7], [0.5, 0.58], [0.8], [0.9]])
    beside = [told.reported and told.reported.beside for told in table.recipes]
    assert beside == [True, True, True, False, None]
    text = as_markdown(table)
    a, b, c = written(text, "R1")
    assert [r["mood reported"] for r in (a, b, c)] == ["0.5", "0.6", "0.7"]
    assert [r["near reported"] for r in (a, b, c)] == ["0.9", "–", "–"]
    assert b["mood accuracy"] == "**0.6500 ± 0.0707**"  # the best of its report
    assert "same reported" not in a
    (d,) = written(text, "R2")
    assert "mood reported" not in d
    assert "R2 reached its scores with bert-base-uncased, but d is here with " in text
    (order,) = written(text, "Rank order")
    assert list(order.values())[:3] == ["R1", "mood accuracy", "3"]
    assert (order["tau-b"], order["pairs in its order"]) == ("0.333", "2 of 3")
    assert order["clear pairs in its order"] == "1 of 2"  # bc is clear, but turned
    assert [r["recipe"] for r in written(text, "Not reported elsewhere")] == ["e"]
    said = StringIO()
    print_table(table, Console(file=said, width=200))
    assert "Rank order" in said.getvalue()
    assert "2 of 3" in said.getvalue()


def test_a_row_is_told_apart_from_the_first_of_its_report(
    files: list[Path], tmp_path: Path
) -> None:
    table = summarise(plan_study(files, tmp_path / "out", 1, []), {})
    unlike = [told.unlike for told in table.recipes]
    assert unlike == [None, "a", "a", "a", "a"]  # d and e are the first of theirs
    assert list(groups_of(table.recipes)) == ["R1", "R2", None]
    text = as_markdown(table)
    assert "(R1, table 3); the same settings as a" in text
    assert "e.yaml`; the same settings as a" in text


def test_the_page_says_budget_day_and_machine(files: list[Path], tmp_path: Path) -> None:
    plan = plan_study(files, tmp_path / "out", 1, [], "quick")
    assert "--budget quick" in plan.command
    assert plan.runs[0].command[7:9] == ["--budget", "quick"]
    text = as_markdown(summarise(plan, {}))
    assert "Budget: quick. Last run: 20" in text
    assert " cores, " in text
    assert ", torch 2." in text
    assert "--budget" not in plan_study(files, tmp_path / "out", 1, []).command


def test_recipes_without_the_budget_are_all_named(files: list[Path], tmp_path: Path) -> None:
    for path in files[1:3]:
        values = yaml.safe_load(path.read_text())
        del values["budgets"]
        path.write_text(yaml.safe_dump(values))
    with pytest.raises(RecipeError) as caught:
        study(files, tmp_path / "out", seeds=1, budget="quick", console=Console(file=StringIO()))
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == list(map(str, files[1:3]))
    assert all("has no budget 'quick'; there are 'full'" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_what_was_judged_on_the_same_rows_is_compared_whatever_the_most_may_be(
    files: list[Path], tmp_path: Path
) -> None:
    judged = {2000: 1200, 1500: 1200, None: 1200, 1000: 1000}
    for path, most in zip(files, judged, strict=False):
        values = yaml.safe_load(path.read_text())
        for task in values["tasks"].values():
            task["dev"] = {"file": task["dev"], "rows": most}
        path.write_text(yaml.safe_dump(values))
    moods = {"mood": 0.5, "near": 0.5, "same": 0.5}
    for path, rows in zip(files, judged.values(), strict=False):
        finish_by_hand(path, tmp_path / "out", 0, moods, {}, rows)
    finish_by_hand(files[0], tmp_path / "out", 1, moods, {}, 1200)
    table = summarise(plan_study(files[:4], tmp_path / "out", 2, []), {})
    found = [row.tasks["mood"].dev for row in table.recipes]
    assert found == ["mood-dev.tsv, 1,200 rows"] * 3 + ["mood-dev.tsv, 1,000 rows"]
    plan = plan_study(files[:4], tmp_path / "none", 1, [])
    found = [row.tasks["mood"].dev for row in summarise(plan, {}).recipes]
    assert found[:3] == ["mood-dev.tsv, 2,000 rows", "mood-dev.tsv, 1,500 rows", "mood-dev.tsv"]


# --- ensembles ---------------------------------------------------------------------------------


def ensemble_file(path: Path, text: str) -> Path:
    path.write_text(f"ensemble: {text}\n")
    return path


def test_ensembles_come_after_their_seed_s_runs_and_wait_for_their_members(
    files: list[Path], tmp_path: Path
) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [b.yaml, a.yaml], how: vote}")
    plan = plan_study([both, *files[:2]], tmp_path / "out", 2, [])
    names = [f"{name} seed {seed}" for seed in (0, 1) for name in ("a", "b", "both")]
    assert list(map(str, plan.runs)) == names
    ensemble = plan.runs[2]
    assert isinstance(ensemble, EnsembleRun)
    assert list(map(str, ensemble.waits_for)) == ["b seed 0", "a seed 0"]
    folders = [str(tmp_path / "out" / name / "seed-0") for name in "ba"]
    assert ensemble.command[3:8] == ["ensemble", *folders, "--how", "vote"]
    table = summarise(plan, {})
    assert [told.name for told in table.recipes] == ["both", "a", "b"]
    assert [told.unlike for told in table.recipes] == [None, None, "a"]
    assert table.recipes[0].overall.mean.mean is None
    assert "b + a by vote" in as_markdown(table)


def test_an_ensemble_is_not_finished_while_a_member_is_gone(
    files: list[Path], tmp_path: Path
) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [a.yaml, b.yaml]}")
    out = tmp_path / "out"
    table_of(files[:2], out, [[0.5, 0.6], [0.6, 0.7]])
    plan = plan_study([*files[:2], both], out, 2, [])
    for seed in (0, 1):
        folder = out / "both" / f"seed-{seed}"
        folder.mkdir(parents=True)
        shutil.copy(out / "a" / f"seed-{seed}" / "scores.json", folder)
        (folder / "ensemble.json").write_text("{}")
    assert summarise(plan, {}).recipes[2].n == 2
    shutil.rmtree(out / "a" / "seed-1")
    a, _, row = summarise(plan, {}).recipes
    assert (a.n, row.n) == (1, 1)
    assert [run.state for run in row.runs] == ["done", "unfinished"]
    assert list(map(str, plan.runs[-1].waits_for)) == ["a seed 1"]


def test_an_ensemble_by_another_way_in_one_of_its_tasks_is_refused(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [a.yaml, b.yaml], how: vote}")
    out = tmp_path / "out"
    (out / "both" / "seed-0").mkdir(parents=True)
    (out / "both" / "seed-0" / "ensemble.json").write_text("{}")
    origins = [SimpleNamespace(folder=str(out / name / "seed-0" / "model")) for name in "ab"]
    panels = {
        "mood": SimpleNamespace(how="vote", members=(0, 1)),
        "near": SimpleNamespace(how="mean", members=(0,)),
    }
    contents = SimpleNamespace(members=origins, tasks=panels)
    monkeypatch.setattr(ensembles, "read_contents", lambda _: contents)
    plan_study([*files[:2], both], out, 1, [])
    panels["near"].members = (0, 1)
    with pytest.raises(RecipeError, match="a/seed-0, b/seed-0 by mean and vote, not what"):
        plan_study([*files[:2], both], out, 1, [])


def test_members_that_are_no_rows_are_refused(files: list[Path], tmp_path: Path) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [a.yaml, b.yaml]}")
    said = refusal(tmp_path, [files[0], both])
    assert "both.yaml: ensemble.members.1: " in said
    assert "b.yaml is no recipe that this study trains" in said
    more = ensemble_file(tmp_path / "more.yaml", "{members: [a.yaml, both.yaml]}")
    assert "both.yaml is no recipe that" in refusal(tmp_path, [*files, both, more])
    more.write_text(both.read_text() + "reported: {source: R3, encoder: x, scores: {moot: 1}}\n")
    assert "reported.scores: no task 'moot'; did you mean 'mood'?" in refusal(
        tmp_path, [*files, more]
    )


def test_what_stands_in_an_ensemble_s_place_is_refused(files: list[Path], tmp_path: Path) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [a.yaml, b.yaml]}")
    place = tmp_path / "out" / "both" / "seed-0"
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("")
    assert "holds 'thesis.txt' but no ensemble" in refusal(tmp_path, [*files, both])


def test_an_ensemble_is_neither_checked_nor_trained(tmp_path: Path) -> None:
    both = ensemble_file(tmp_path / "both.yaml", "{members: [a.yaml, b.yaml]}")
    for words in (["check", str(both)], ["train", str(both), "--out", str(tmp_path / "run")]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert "`trivium study` makes it" in " ".join(result.output.split())
