"""Budgets make a recipe shorter and nothing else; what was reported belongs to one recipe."""

from pathlib import Path
from typing import Any

import pytest

from tests.test_recipe import GOOD, load, saved
from tests.test_recipe_files import family
from trivium.errors import RecipeError
from trivium.parts.tasks import Source
from trivium.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from trivium.recipe.files import check_budgets, read_yaml
from trivium.recipe.united import load_ensemble

BUDGETS = """
reported: {source: "R1, table 2", encoder: bert-base-uncased, scores: {mood: .529}}
budgets:
  quick:
    rows: 200
    dev_rows: {mood: 100}
    epochs: 1
    set: {stages.0.lr: 5e-5}
"""
WITH_FILES = GOOD.replace("good]}", "good], train: m.csv, dev: n.csv}").replace(
    "5]}", "5], train: s}"
)
SPENT = WITH_FILES + BUDGETS


def spent(folder: Path, content: str = SPENT, budget: str = "quick", *changes: str) -> Recipe:
    return load_recipe(saved(folder, content), changes, budget)


def refusal(folder: Path, content: str, budget: str = "full") -> str:
    path = saved(folder, content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, budget=budget)
    return str(caught.value).replace(f"{path}: ", "")


# --- what a budget changes ---------------------------------------------------------------------


def test_a_budget_caps_rows_and_epochs_and_changes_what_it_sets(tmp_path: Path) -> None:
    whole, quick = load(tmp_path, content=SPENT), spent(tmp_path)
    mood, sim = quick.tasks["mood"], quick.tasks["sim"]
    assert mood.train == (Source(file="m.csv", rows=200),)
    assert mood.dev == Source(file="n.csv", rows=100)
    assert sim.train == (Source(file="s", rows=200),)
    assert sim.dev is None
    assert all(stage.epochs == 1 for stage in quick.stages)
    assert quick.stages[0].lr.encoder == quick.stages[0].lr.heads == 5e-5
    assert quick.of_run() != whole.of_run()
    assert whole.of_run() == load(tmp_path, content=WITH_FILES), "the full budget changes nothing"


@pytest.mark.parametrize(
    ("stage", "cap", "found"),
    [
        ("{epochs: 5}", 2, (2, None)),
        ("{epochs: 1}", 2, (1, None)),
        ("{}", 2, (2, None)),
        ("{}", 7, (3, None)),  # the default stays the default
        ("{steps: 9}", 7, (7, 9)),  # whichever comes first
        ("{steps: 9, epochs: 4}", 2, (2, 9)),
    ],
)
def test_no_stage_gets_longer(
    tmp_path: Path, stage: str, cap: int, found: tuple[int, int | None]
) -> None:
    task = "tasks: {mood: {kind: classification, text: a, label: b, train: t}}\n"
    content = f"{task}stages: [{stage}]\nbudgets: {{short: {{epochs: {cap}}}}}\n"
    (short,) = spent(tmp_path, content, "short").stages
    assert (short.epochs, short.steps) == found


def test_stages_may_be_left_out_or_have_a_number_each(tmp_path: Path) -> None:
    task = "tasks: {mood: {kind: classification, text: a, label: b, train: t}}\n"
    content = task + "budgets: {short: {epochs: 2}}\n"
    assert spent(tmp_path, content, "short").stages[0].epochs == 2
    two = task + "stages: [{epochs: 5}, {name: more, epochs: 5}]\n"
    content = two + "budgets: {short: {epochs: [1, 4]}}\n"
    assert [s.epochs for s in spent(tmp_path, content, "short").stages] == [1, 4]


def test_several_files_share_a_cap_and_a_smaller_one_of_their_own_stays(tmp_path: Path) -> None:
    train = "[a.csv, {file: b.csv, rows: 3}, {file: c.csv, relabel: {1: 4}, rows: 9}]"
    content = (
        f"tasks: {{mood: {{kind: classification, text: a, label: b, train: {train}, dev: d.csv, "
        "test: e.csv}}\nbudgets: {small: {rows: 10, dev_rows: 8}}\n"
    )
    task = spent(tmp_path, content, "small").tasks["mood"]
    assert [source.rows for source in task.sources("train")] == [4, 3, 4]
    assert task.sources("train")[2].relabel == {"1": "4"}
    assert [s.rows for split in ("dev", "test") for s in task.sources(split)] == [8, 8]


def test_changes_come_after_the_budget_and_an_heir_has_its_base_s_budgets(tmp_path: Path) -> None:
    assert spent(tmp_path, SPENT, "quick", "stages.0.epochs=9").stages[0].epochs == 9
    child = family(tmp_path, "extends: ../base.yaml\nset: {seed: 7}\nbudgets: {tiny: {rows: 1}}\n")
    (tmp_path / "base.yaml").write_text(SPENT)
    quick = load_recipe(child, budget="quick")
    assert quick.model_copy(update={"seed": 0}).tasks == spent(tmp_path).tasks
    assert load_recipe(child, budget="tiny").tasks["mood"].sources("train")[0].rows == 1
    assert set(quick.budgets) == {"quick", "tiny"}


def test_what_was_reported_of_a_base_says_nothing_of_its_heirs(tmp_path: Path) -> None:
    child = family(tmp_path, "extends: ../base.yaml\n")
    (tmp_path / "base.yaml").write_text(SPENT)
    assert load_recipe(child).reported is None
    child.write_text(
        "extends: ../base.yaml\nreported: {source: R2, encoder: b, scores: {mood: 1}}\n"
    )
    reported = load_recipe(child).reported
    assert reported is not None
    assert (reported.source, reported.scores) == ("R2", {"mood": 1.0})


def test_a_run_s_own_recipe_says_neither_budgets_nor_what_was_reported(tmp_path: Path) -> None:
    quick = spent(tmp_path)
    assert quick.reported is not None
    assert quick.reported.report == "R1"
    path = tmp_path / "run.yaml"
    path.write_text(dump_recipe(quick.of_run()))
    assert not {"reported", "budgets", "search"} & set(read_yaml(path))
    assert parse_recipe(read_yaml(path)) == quick.of_run()
    path.write_text(dump_recipe(quick))
    assert parse_recipe(read_yaml(path)) == quick


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"{mood: .529}": "{moot: .529}"}, "reported.scores: no task 'moot'; did you mean 'mood'?"),
        ({"{mood: .529}": "{}"}, "reported.scores: should have 1 or more items"),
        ({"source": "sauce"}, "reported.sauce: no such setting; did you mean 'source'?"),
        ({"rows: 200": "rows: {moot: 3}"}, "budgets.quick.rows: no task 'moot'; did you mean"),
        ({"{mood: 100}": "{moot: 3}"}, "budgets.quick.dev_rows: no task 'moot'"),
        ({"rows: 200": "rows: 0"}, "budgets.quick.rows"),
        ({"rows: 200": "row: 9"}, "budgets.quick.row: no such setting; did you mean 'rows'?"),
        ({"epochs: 1\n": "epochs: [1]\n"}, "budgets.quick.epochs: holds 1 numbers, but there are"),
        ({"stages.0.lr:": "seed:"}, "budgets.quick.set: 'seed' is nothing that a budget changes"),
        ({"  quick:": "  full:"}, "budgets.full: is the recipe as it stands, and changes nothing"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_recipe_is_refused_by_its_place(
    tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    content = SPENT
    for old, new in changed.items():
        assert content.count(old) == 1 or old == "epochs: 1\n"
        head, _, tail = content.rpartition(old)
        content = head + new + tail
    assert said in refusal(tmp_path, content)


def test_a_budget_that_sets_what_the_recipe_does_not_know_is_refused(tmp_path: Path) -> None:
    for setting, said in (
        ("stages.0.lrr: 1", "with the budget quick: stages.0.lrr: no such setting"),
        ("stages.7.lr: 1", "budgets.quick.set.stages.7.lr: '7' is not one of 0…1"),
    ):
        content = SPENT.replace("stages.0.lr: 5e-5", setting)
        assert said in refusal(tmp_path, content, "quick")
        path = saved(tmp_path, content)
        with pytest.raises(RecipeError, match="budget"):
            check_budgets(load_recipe(path), path)


def test_an_unknown_budget_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert refusal(tmp_path, SPENT, "quik") == "has no budget 'quik'; did you mean 'quick'?"
    assert refusal(tmp_path, GOOD, "night") == "has no budget 'night'; there are 'full'"


# --- ensembles ---------------------------------------------------------------------------------


def test_an_ensemble_s_recipe_names_recipes_beside_it(tmp_path: Path) -> None:
    path = saved(tmp_path, "ensemble: {members: [a.yaml, b/c.yaml], how: vote}\n")
    found = load_ensemble(path)
    assert found is not None
    home = tmp_path.resolve()
    assert found.ensemble.members == (str(home / "a.yaml"), str(home / "b" / "c.yaml"))
    assert load_ensemble(saved(tmp_path, GOOD)) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{members: [a.yaml]}", "ensemble.members: should have 2 or more items"),
        ("{members: [a.yaml, a.yaml]}", "ensemble.members: names a.yaml twice"),
        ("{members: [a, b], how: mode}", "ensemble.how: "),
        ("{member: [a, b]}", "ensemble.member: no such setting; did you mean 'members'?"),
        ("{members: [a, b]}\nseed: 1", "seed: no such setting"),
    ],
)
def test_what_is_no_ensemble_is_refused(tmp_path: Path, values: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_ensemble(saved(tmp_path, f"ensemble: {values}\n"))
    assert said in str(caught.value)


def test_an_ensemble_is_not_trained_like_a_recipe(tmp_path: Path) -> None:
    said: Any = refusal(tmp_path, "ensemble: {members: [a.yaml, b.yaml]}\n")
    assert "`trivium study`" in said
    assert "`trivium ensemble`" in said
