"""Recipes: changed by dotted path, with folders made absolute, and written again."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.recipes import GOOD, family, load, refusal, saved
from trivium.errors import RecipeError
from trivium.parts.samplers import Annealed, SquareRoot
from trivium.recipe import dump_recipe, load_recipe, parse_recipe
from trivium.recipe.dotted import put, value_at
from trivium.recipe.plain_yaml import read_yaml, write_yaml

# --- changing ----------------------------------------------------------------------------------


def changed(folder: Path, *changes: str) -> Any:
    return load(folder, *changes).model_dump()


def test_changes_reach_into_tables_and_lists(tmp_path: Path) -> None:
    values = changed(
        tmp_path, "seed=7", "stages.1.epochs=9", "tasks.sim.range.1=10", "stages.0.lr.heads=1e-2"
    )
    assert values["seed"] == 7
    assert values["stages"][1]["epochs"] == 9
    assert values["tasks"]["sim"]["range"] == (0, 10)
    assert values["stages"][0]["lr"]["heads"] == 0.01


def test_a_change_may_add_what_the_file_leaves_out(tmp_path: Path) -> None:
    new = "{kind: regression, text: a, label: z}"
    recipe = load(tmp_path, f"tasks.new={new}", "stages.0.optimizer.eps=1e-6")
    assert recipe.tasks["new"].label == "z"
    assert recipe.stages[0].optimizer.eps == 1e-6
    only_tasks = GOOD.partition("stages")[0]
    assert load(tmp_path, "stages.0.epochs=4", content=only_tasks).stages[0].epochs == 4


def test_a_plain_word_is_short_for_its_kind(tmp_path: Path) -> None:
    assert load(tmp_path, "stages.0.sampler=sqrt").stages[0].sampler == SquareRoot()
    assert load(tmp_path, "stages.0.sampler.final=0.5").stages[0].sampler == Annealed(final=0.5)
    assert load(tmp_path, "stages.0.sampler.kind=sqrt").stages[0].sampler == SquareRoot()


def test_a_star_stands_for_every_name_and_every_number(tmp_path: Path) -> None:
    recipe = load(tmp_path, "stages.*.epochs=9", "tasks.*.label=z")
    assert [stage.epochs for stage in recipe.stages] == [9, 9]
    assert [task.label for task in recipe.tasks.values()] == ["z", "z"]
    with_rates = GOOD.replace("lr: 5e-5", "lr: {encoder: 5e-5, heads: 1}")
    found = load(tmp_path, "stages.*.lr.*=1e-4", content=with_rates).stages
    assert (found[1].lr.encoder, found[1].lr.heads) == (1e-4, 1e-4)
    assert found[0] == load(tmp_path, content=with_rates).stages[0]  # has no `lr` in the file


def test_a_star_reaches_only_tables_that_are_there(tmp_path: Path) -> None:
    content = GOOD.replace("range: [0, 5]}", "range: [0, 5], head: concat}")
    found = load(tmp_path, "tasks.*.head.dropout=0.4", content=content)
    assert found.tasks["sim"].resolved_head.dropout == 0.4
    assert found.tasks["mood"] == load(tmp_path).tasks["mood"]
    content = content.replace("label: y, labels", "label: y, head: linear, labels")
    found = load(tmp_path, "tasks.*.head={kind: mlp}", content=content)
    assert {task.resolved_head.kind for task in found.tasks.values()} == {"mlp"}


def test_a_star_stands_for_a_name_with_a_dot() -> None:
    values = {"a.b": {"x": 1}, "c": {"x": 2}}
    put(values, "*.x", 3, "")
    assert values == {"a.b": {"x": 3}, "c": {"x": 3}}


def test_the_last_change_wins(tmp_path: Path) -> None:
    assert load(tmp_path, "seed=1", "seed=2").seed == 2


def test_a_value_may_hold_an_equals_sign_and_be_empty(tmp_path: Path) -> None:
    assert load(tmp_path, "tasks.mood.label='a=b'").tasks["mood"].label == "a=b"
    assert load(tmp_path, "stages.0.clip=").stages[0].clip is None


def test_a_setting_that_is_null_may_become_a_table(tmp_path: Path) -> None:
    recipe = load(tmp_path, "tasks.sim.head=", "tasks.sim.head.kind=concat")
    assert recipe.tasks["sim"].resolved_head.kind == "concat"


SHARING = """
tasks:
  one: {kind: classification, text: [a, b], label: y, head: &pairs {kind: concat, dropout: 0.3}}
  two: {kind: regression, text: [a, b], label: y, range: [0, 5], head: *pairs}
stages:
  - &alone {name: first, lr: {encoder: 1e-5, heads: 1e-4}}
  - {<<: *alone, name: second}
"""


def test_a_change_reaches_one_of_the_places_that_an_alias_fills(tmp_path: Path) -> None:
    same = load(tmp_path, content=SHARING)
    changes = ("tasks.two.head.dropout=0.1", "stages.1.lr.heads=1")
    found = load(tmp_path, *changes, content=SHARING)
    assert found.tasks["one"] == same.tasks["one"]
    assert found.tasks["two"].resolved_head.dropout == 0.1
    assert [stage.lr.heads for stage in found.stages] == [1e-4, 1]
    budget = "budgets: {b: {set: {tasks.two.head.dropout: 0.1, stages.1.lr.heads: 1}}}\n"
    assert load_recipe(saved(tmp_path, SHARING + budget), budget="b") == found
    child = "extends: ../base.yaml\nset: {tasks.two.head.dropout: 0.1, stages.1.lr.heads: 1}\n"
    path = family(tmp_path, child)
    (tmp_path / "base.yaml").write_text(SHARING)
    assert load_recipe(path) == found


def test_what_is_set_by_an_alias_is_changed_alone(tmp_path: Path) -> None:
    table = "{tasks.one.head: &h {kind: concat, dropout: 0.3}, tasks.two.head: *h}"
    path = family(tmp_path, f"extends: ../base.yaml\nset: {table}\n")
    (tmp_path / "base.yaml").write_text(f"{SHARING}budgets: {{b: {{set: {table}}}}}\n")
    for found in (
        load_recipe(path, ["tasks.two.head.dropout=0.1"]),
        load_recipe(tmp_path / "base.yaml", ["tasks.two.head.dropout=0.1"], "b"),
    ):
        heads = [task.resolved_head for task in found.tasks.values()]
        assert [head.dropout for head in heads] == [0.3, 0.1]


def test_a_list_within_itself_is_refused(tmp_path: Path) -> None:
    for content in ("stages: &a [*a]\n", "&a [*a]\n"):
        with pytest.raises(RecipeError, match="not plain YAML"):
            load(tmp_path, content=content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "--set seed: write dotted.path=value, such as stages.0.epochs=1."),
        ("=1", "--set =1: write dotted.path=value, such as stages.0.epochs=1."),
        ("stages.2.epochs=1", "--set stages.2.epochs=1: '2' is not one of 0…1, the list's items."),
        ("stages.x.epochs=1", "--set stages.x.epochs=1: 'x' is not one of 0…1, the list's items."),
        ("stages.².epochs=1", "--set stages.².epochs=1: '²' is not one of 0…1, the list's items."),
        (
            "stages.-1.epochs=1",
            "--set stages.-1.epochs=1: '-1' is not one of 0…1, the list's items.",
        ),
        ("stages.5=1", "--set stages.5=1: '5' is not one of 0…1, the list's items."),
        (
            "stages.1.lr.heads=1",
            "--set stages.1.lr.heads=1: stages.1.lr is a single value, not a table.",
        ),
        ("stages.1.lr.a.b=1", "--set stages.1.lr.a.b=1: there is no table at 'a'."),
        (
            "tasks.*.head.pooling=mean",
            "--set tasks.*.head.pooling=mean: no setting that is written in the recipe has this "
            "path.",
        ),
        ("seed=[1", "--set seed=[1: '[1' is not a YAML value."),
        ("seed={a: 1, a: 2}", "--set seed={a: 1, a: 2}: '{a: 1, a: 2}' is not a YAML value."),
    ],
)
def test_a_change_that_leads_nowhere_is_refused(tmp_path: Path, change: str, said: str) -> None:
    assert refusal(tmp_path, change) == [said]


# --- folders -----------------------------------------------------------------------------------


def test_data_starts_at_the_recipe_or_else_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    (work / "tables").mkdir(parents=True)
    home.mkdir()
    monkeypatch.chdir(work)
    content = GOOD + "data: tables\nencoder: bert\n"
    assert load(home, content=content).data == str((work / "tables").resolve())
    (home / "tables").mkdir()
    (home / "bert").mkdir()
    recipe = load(home, content=content)
    assert recipe.data == str((home / "tables").resolve())
    assert recipe.encoder == str((home / "bert").resolve())
    assert load(home, f"data={tmp_path}", content=content).data == str(tmp_path.resolve())
    (line,) = refusal(home, "data=nowhere", content=content)
    tried = [str((folder / "nowhere").resolve()) for folder in (home, work)]
    assert line == f": data: no folder {tried[0]} or {tried[1]}."


def test_a_name_on_the_hub_is_left_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, "encoder=google/bert-tiny").encoder == "google/bert-tiny"


# --- writing -----------------------------------------------------------------------------------


def test_a_written_recipe_reads_the_same(tmp_path: Path) -> None:
    recipe = load(tmp_path, 'tasks.mood.delimiter="\\t"', "stages.0.batch_size={mood: 8}")
    text = dump_recipe(recipe)
    assert load_recipe(saved(tmp_path, text, "again.yaml")) == recipe
    assert "name: mood" not in text
    assert "kind: annealed" in text
    assert "final: 0.2" in text


TRAPS = [
    "1e3",
    "5e-5",
    "yes",
    "True",
    "true",
    "null",
    "~",
    "010",
    "12:30",
    "=",
    "<<",
    "2024-01-01",
    "1_0",
    ".5",
    "-",
    "!x",
    "&a",
    "*a",
    "# c",
    "a: b",
    "",
    " x",
    "\ufeff",
    "\x85",
    "'",
    '"',
]


NAMES = (st.sampled_from(TRAPS) | st.text(max_size=5)).map(
    lambda name: name if name.strip() else f"{name}x"  # an empty name is refused
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_labels_survive_writing_and_reading(tmp_path: Path, names: list[str]) -> None:
    # Distinct numbers as keys; anything as names.
    task = {"kind": "classification", "text": "a", "label": "y"}
    task_labels = {str(index): name for index, name in enumerate(names)}
    recipe = parse_recipe({"tasks": {"mood": task | {"labels": task_labels}}})
    path = saved(tmp_path, dump_recipe(recipe), "written.yaml")
    assert parse_recipe(read_yaml(path)) == recipe


def test_characters_that_json_writes_as_two_halves_are_one(tmp_path: Path) -> None:
    path = saved(tmp_path, '{"data": "/runs \\ud83d\\ude00", "\\ud83d\\ude00": ["\\u00e9", 1]}')
    assert read_yaml(path) == {"data": "/runs \U0001f600", "\U0001f600": ["\xe9", 1]}
    of_a_file = saved(tmp_path, write_yaml({"data": "/runs \udcff"}))  # a byte that is not UTF-8
    assert read_yaml(of_a_file) == {"data": "/runs \udcff"}


@pytest.mark.parametrize("half", ["ud83d", "ude00"])
def test_half_a_character_is_refused_by_its_line(tmp_path: Path, half: str) -> None:
    path = saved(tmp_path, f'seed: 1\ndata: "/runs \\{half}"\n')
    with pytest.raises(RecipeError, match=rf":2: not plain YAML: \\{half} is half a character"):
        read_yaml(path)


# --- extending ---------------------------------------------------------------------------------


def test_a_recipe_that_extends_another_changes_only_what_it_sets(tmp_path: Path) -> None:
    path = family(
        tmp_path, "extends: ../base.yaml\nset:\n  seed: 7\n  stages.0.sampler.final: 0.5\n"
    )
    base, child = load_recipe(tmp_path / "base.yaml"), load_recipe(path)
    assert child.seed == 7
    assert child.stages[0].sampler == Annealed(final=0.5)
    assert child.tasks == base.tasks
    assert child.data == base.data, "relative to the file that names it"
    assert load_recipe(path, ["seed=9"]).seed == 9


def test_an_heir_may_be_extended_in_turn(tmp_path: Path) -> None:
    path = family(tmp_path, "extends: ../base.yaml\nset: {seed: 7}\n")
    grandchild = path.with_name("grandchild.yaml")
    grandchild.write_text("extends: child.yaml\nset: {stages.0.epochs: 9}\n")
    recipe = load_recipe(grandchild)
    assert (recipe.seed, recipe.stages[0].epochs) == (7, 9)


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("extends: ../base.yaml\nseed: 3\n", "seed: a recipe that extends another says its"),
        ("extends: [a]\n", "`extends` names a recipe file"),
        ("extends: ../base.yaml\nset: [a]\n", "`set` is a table"),
        ("extends: child.yaml\n", "child.yaml extends this recipe in turn"),
        ("extends: nobody.yaml\n", "extends: no recipe"),
        ("extends: ../base.yaml\nset: {stages.7.epochs: 1}\n", "set: stages.7.epochs: '7' is not"),
        ("extends: ../base.yaml\nset: {stages.0.epoch: 1}\n", "did you mean 'epochs'?"),
    ],
)
def test_what_extends_wrongly_is_refused_by_its_file(
    child: str, message: str, tmp_path: Path
) -> None:
    path = family(tmp_path, child)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "child.yaml" in str(caught.value) or "nobody.yaml" in str(caught.value)


def test_folders_that_parts_name_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    for folder in ("x", "y/z", "teacher", "adapter", "data"):
        (tmp_path / folder).mkdir(parents=True)
    base = """
data: ../data
tasks: {mood: {kind: classification, text: a, label: b, labels: [c, d], train: t, dev: t}}
adapters: {kind: lora, start: ../adapter}
stages:
  - regularizers: [{kind: distill, teachers: {mood: [{run: ../teacher, task: ../teacher}]}}]
  - {name: more, regularizers: {kind: distill, teachers: ../teacher}}
"""
    (tmp_path / "x" / "base.yaml").write_text(base)
    (tmp_path / "y" / "z" / "heir.yaml").write_text("extends: ../../x/base.yaml\n")
    here = tmp_path.resolve()
    for name in ("x/base.yaml", "y/z/heir.yaml"):
        found = load_recipe(tmp_path / name).model_dump(mode="json")
        assert found["adapters"][0]["start"] == str(here / "adapter")
        first, second = (stage["regularizers"][0]["teachers"] for stage in found["stages"])
        assert first == {"mood": {"run": str(here / "teacher"), "task": "../teacher"}}
        assert second == str(here / "teacher")


def test_folders_in_the_budgets_of_a_base_start_at_its_file(tmp_path: Path) -> None:
    for folder in ("x", "y/z", "teacher", "adapter", "data", "bert"):
        (tmp_path / folder).mkdir(parents=True)
    base = """
tasks: {mood: {kind: classification, text: a, label: b, labels: [c, d], train: t, dev: t}}
adapters: {kind: lora}
stages: [{epochs: 2}]
budgets:
  quick:
    set:
      data: ../data
      encoder: ../bert
      adapters.start: ../adapter
      stages.0.regularizers: {kind: distill}
      stages.0.regularizers.teachers: {mood: ../teacher}
      stages.1: {name: more, regularizers: {kind: distill, teachers: ../teacher}}
"""
    (tmp_path / "x" / "base.yaml").write_text(base)
    (tmp_path / "y" / "z" / "heir.yaml").write_text("extends: ../../x/base.yaml\n")
    here = tmp_path.resolve()
    for name in ("x/base.yaml", "y/z/heir.yaml"):
        found = load_recipe(tmp_path / name, budget="quick").model_dump(mode="json")
        assert (found["data"], found["encoder"]) == (str(here / "data"), str(here / "bert"))
        assert found["adapters"][0]["start"] == str(here / "adapter")
        first, second = (stage["regularizers"][0]["teachers"] for stage in found["stages"])
        assert first == {"mood": str(here / "teacher")}
        assert second == str(here / "teacher")


def test_a_path_finds_keys_that_yaml_reads_as_numbers_or_truths() -> None:
    values: dict[str, Any] = {"class_weights": {1: 5}, "by": {2: {"rate": 1}}}
    put(values, "class_weights.1", 2, "here")
    assert values["class_weights"] == {1: 2}
    put(values, "by.2.rate", 4, "here")
    put(values, "by.*.rate", 5, "here")
    assert values["by"] == {2: {"rate": 5}}
    assert value_at(values, ["by", "2", "rate"]) == 5
    answers = {"labels": {True: "yes", False: "no"}}
    put(answers, "labels.true", "y", "here")
    put(answers, "labels.new", "n", "here")
    assert answers == {"labels": {True: "y", False: "no", "new": "n"}}
