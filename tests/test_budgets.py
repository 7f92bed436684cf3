"""Budgets make a recipe shorter and nothing else; what was reported belongs to one recipe."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.recipes import GOOD, family, load, saved
from trivium.errors import RecipeError
from trivium.parts.tasks import Source
from trivium.recipe import (
    Recipe,
    RecipeFile,
    dump_recipe,
    load_recipe,
    load_recipe_file,
    parse_recipe,
)
from trivium.recipe.budget import Budget
from trivium.recipe.dumping import dump_file
from trivium.recipe.ensembles import load_ensemble
from trivium.recipe.loading import check_budgets
from trivium.recipe.parse import parse_file
from trivium.recipe.plain_yaml import parse_yaml, read_yaml
from trivium.recipe.schema import FILE_ONLY

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
    assert quick != whole
    assert whole == load(tmp_path, content=WITH_FILES), "the full budget changes nothing"


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
    train = "[a.csv, {file: b.csv, rows: 2}, {file: c.csv, relabel: {1: 4}, rows: 9}]"
    content = (
        f"tasks: {{mood: {{kind: classification, text: a, label: b, train: {train}, dev: d.csv, "
        "test: e.csv}}\nbudgets: {small: {rows: 10, dev_rows: 8}}\n"
    )
    task = spent(tmp_path, content, "small").tasks["mood"]
    assert [source.rows for source in task.sources("train")] == [4, 2, 3]
    assert task.sources("train")[2].relabel == {"1": "4"}
    assert [s.rows for split in ("dev", "test") for s in task.sources(split)] == [8, 8]


@pytest.mark.parametrize(
    ("cap", "shares"), [(3, [1, 1, 1]), (8, [3, 3, 2]), (9, [3, 3, 3]), (10, [4, 3, 3])]
)
def test_the_files_of_a_task_have_no_more_rows_together_than_the_cap(
    tmp_path: Path, cap: int, shares: list[int]
) -> None:
    task = "tasks: {mood: {kind: classification, text: a, label: b, train: [a, b, c]}}\n"
    found = spent(tmp_path, f"{task}budgets: {{small: {{rows: {cap}}}}}\n", "small")
    assert [source.rows for source in found.tasks["mood"].sources("train")] == shares
    assert sum(shares) == cap
    content = f"{task}budgets: {{small: {{rows: 2}}}}\n"
    assert (
        "budgets.small.rows: 2 rows cannot come from the 3 training files of mood; give it 3 or "
        "more"
    ) in refusal(tmp_path, content)


CAPPED = """
tasks: {m: {kind: classification, text: a, label: b, train: old.csv, dev: d.csv}}
stages: [{epochs: 4}]
budgets:
  small:
    rows: 5
    dev_rows: 3
    epochs: 2
    set:
      tasks.m.train: {file: new.csv, relabel: {1: 2}}
      tasks.m.dev.file: e.csv
      tasks.n: {kind: regression, text: a, label: c, range: [0, 1], train: [x, y], dev: z}
      stages.0.epochs: 9
      stages.1: {name: more, epochs: 7}
"""


def test_the_caps_of_a_budget_hold_for_what_it_sets(tmp_path: Path) -> None:
    found = spent(tmp_path, CAPPED, "small")
    m, n = found.tasks["m"], found.tasks["n"]
    assert m.train == (Source(file="new.csv", relabel={"1": "2"}, rows=5),)
    assert m.dev == Source(file="e.csv", rows=3)
    assert [source.rows for source in n.sources("train")] == [3, 2]
    assert n.dev == Source(file="z", rows=3)
    assert [stage.epochs for stage in found.stages] == [2, 2]


def test_what_a_budget_sets_decides_what_its_caps_may_name(tmp_path: Path) -> None:
    content = CAPPED.replace("rows: 5", "rows: {n: 4}").replace("epochs: 2\n", "epochs: [1, 3]\n")
    found = spent(tmp_path, content, "small")
    assert [source.rows for source in found.tasks["n"].sources("train")] == [2, 2]
    assert found.tasks["m"].sources("train")[0].rows is None
    assert [stage.epochs for stage in found.stages] == [1, 3]
    said = refusal(tmp_path, content.replace("[1, 3]", "[1]"), "small")
    assert said.startswith("budgets.small.epochs: holds 1 numbers, but there are 2 stages")
    said = refusal(tmp_path, content.replace("{n: 4}", "{k: 4}"), "small")
    assert said.startswith("budgets.small.rows: no task 'k'")


# --- beside --set ------------------------------------------------------------------------------


def test_budgets_and_what_was_reported_fit_the_file_and_not_what_changes_make_of_it(
    tmp_path: Path,
) -> None:
    content = SPENT.replace("epochs: 1\n    set", "epochs: [1, 1]\n    set")
    change = "stages.2={name: third, tasks: [sim]}"
    longer = load_recipe_file(saved(tmp_path, content), [change])
    assert [stage.name for stage in longer.recipe.stages] == ["both", "more", "third"]
    assert longer.reported is not None
    assert set(longer.budgets) == {"quick"}
    only = "{sim: {kind: regression, text: [a, b], label: y, range: [0, 5], train: s}}"
    fewer = load(tmp_path, f"tasks={only}", "stages=[{epochs: 1}]", content=content)
    assert list(fewer.tasks) == ["sim"], "although scores of mood are reported"
    quick = spent(tmp_path, content, "quick", "stages.2={name: third, epochs: 4, tasks: [sim]}")
    assert [stage.epochs for stage in quick.stages] == [1, 1, 4]
    wrong = content.replace("{mood: .529}", "{moot: .529}")
    with pytest.raises(RecipeError, match=r"reported\.scores: no task 'moot'"):
        load(tmp_path, "seed=1", content=wrong)


@pytest.mark.parametrize("change", ["budgets.quick.rows=5", "reported=", "reported.source=R9"])
def test_what_a_file_says_of_itself_is_not_changed_for_a_run(tmp_path: Path, change: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, change, content=SPENT)
    name = change.partition(".")[0].partition("=")[0]
    assert f"--set {change}: `{name}` is no setting of a run" in str(caught.value)
    assert load_recipe_file(saved(tmp_path, SPENT), ["search="]).search is None


def test_a_recipe_that_leaves_something_to_a_change_has_budgets_too(tmp_path: Path) -> None:
    content = SPENT.replace(", label: y, labels: [bad", ", labels: [bad")
    assert "tasks.mood.label" in refusal(tmp_path, content, "quick")
    found = spent(tmp_path, content, "quick", "tasks.mood.label=y")
    assert found == spent(tmp_path)
    path = saved(tmp_path, content)
    file = load_recipe_file(path, ["tasks.mood.label=y"])
    with pytest.raises(RecipeError, match=r"with the budget quick: tasks\.mood\.label"):
        check_budgets(file, path)
    check_budgets(file, path, ["tasks.mood.label=y"])
    added = "tasks.new={kind: regression, text: a, label: c, range: [0, 1], train: x}"
    more = spent(tmp_path, content, "quick", "tasks.mood.label=y", added, "stages.2={name: third}")
    assert more.tasks["mood"].sources("train")[0].rows == 200
    assert more.tasks["new"].sources("train")[0].rows is None, "changes come after the budget"


def test_changes_come_after_the_budget_and_an_heir_has_its_base_s_budgets(tmp_path: Path) -> None:
    assert spent(tmp_path, SPENT, "quick", "stages.0.epochs=9").stages[0].epochs == 9
    child = family(tmp_path, "extends: ../base.yaml\nset: {seed: 7}\nbudgets: {tiny: {rows: 1}}\n")
    (tmp_path / "base.yaml").write_text(SPENT)
    file = load_recipe_file(child, budget="quick")
    assert file.recipe.model_copy(update={"seed": 0}).tasks == spent(tmp_path).tasks
    assert load_recipe(child, budget="tiny").tasks["mood"].sources("train")[0].rows == 1
    assert set(file.budgets) == {"quick", "tiny"}


def test_what_was_reported_of_a_base_says_nothing_of_its_heirs(tmp_path: Path) -> None:
    child = family(tmp_path, "extends: ../base.yaml\n")
    (tmp_path / "base.yaml").write_text(SPENT)
    assert load_recipe_file(child).reported is None
    child.write_text(
        "extends: ../base.yaml\nreported: {source: R2, encoder: b, scores: {mood: 1}}\n"
    )
    reported = load_recipe_file(child).reported
    assert reported is not None
    assert (reported.source, reported.scores) == ("R2", {"mood": 1.0})


def test_a_run_s_own_recipe_says_neither_budgets_nor_what_was_reported(tmp_path: Path) -> None:
    quick = load_recipe_file(saved(tmp_path, SPENT), budget="quick")
    assert quick.reported is not None
    assert quick.reported.report == "R1"
    path = tmp_path / "run.yaml"
    path.write_text(dump_recipe(quick.recipe))
    assert not {"reported", "budgets", "search"} & set(read_yaml(path))
    assert parse_recipe(read_yaml(path)) == quick.recipe
    path.write_text(dump_file(quick))
    assert parse_file(read_yaml(path)) == quick


def test_a_recipe_is_a_run_and_what_its_file_says_beside_it_is_refused() -> None:
    values = parse_yaml(SPENT)
    del values["budgets"]
    assert set(FILE_ONLY) == set(RecipeFile.model_fields) - {"recipe"}
    assert not set(FILE_ONLY) & set(Recipe.model_fields)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(values)
    assert str(caught.value).startswith("recipe: reported: is no setting of a run; `search`, ")
    with pytest.raises(ValueError, match="budgets: is no setting of a run"):
        Recipe(tasks=values["tasks"], budgets={})  # type: ignore[call-arg]


def test_a_file_as_data_is_refused_like_one_that_is_read() -> None:
    recipe = parse_recipe(parse_yaml(WITH_FILES))
    assert RecipeFile(recipe=recipe, budgets={"b": Budget(rows=9)}).table()["budgets"]["b"]["rows"]
    with pytest.raises(ValueError, match=r"budgets\.b\.rows: no task 'moot'"):
        RecipeFile(recipe=recipe, budgets={"b": Budget(rows={"moot": 9})})


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
            check_budgets(load_recipe_file(path), path)


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
