"""Recipes: what they may say, and what a wrong one is told."""

from pathlib import Path

import pytest

from tests.support.recipes import GOOD, load, refusal
from trivium.errors import RecipeError
from trivium.parts.samplers import Annealed
from trivium.parts.tasks import Classification
from trivium.recipe import Recipe, Stage, load_recipe, parse_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.recipe.renamed import HOMES, MEANT

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def labels(folder: Path, words: str) -> list[str]:
    task = load(folder, f"tasks.mood.labels={words}").tasks["mood"]
    assert isinstance(task, Classification)
    return task.names


# --- reading -----------------------------------------------------------------------------------


def test_a_recipe_means_what_it_says(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    assert list(recipe.tasks) == ["mood", "sim"]
    assert recipe.tasks["mood"].name == "mood"
    assert recipe.stages[0].sampler == Annealed()
    assert recipe.stage_tasks(recipe.stages[0]) == ["mood", "sim"]
    assert recipe.stage_tasks(recipe.stages[1]) == ["mood"]
    assert (recipe.stages[1].lr.encoder, recipe.stages[1].lr.heads) == (5e-5, 5e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("[yes, no, on, off]", ["yes", "no", "on", "off"]),
        ("[True, False]", ["True", "False"]),
        ("[true, false]", ["true", "false"]),
        ("[010, 0x10, 12:30, 1_000]", ["010", "0x10", "12:30", "1_000"]),
        ("[2024-01-31, 2024-13-45]", ["2024-01-31", "2024-13-45"]),
        ("[=, .]", ["=", "."]),
        ("['null', '1e3']", ["null", "1e3"]),
        ("[0, 1]", ["0", "1"]),
    ],
)
def test_labels_are_read_as_they_are_written(
    tmp_path: Path, words: str, expected: list[str]
) -> None:
    assert labels(tmp_path, words) == expected


@pytest.mark.parametrize("number", ["5e-5", "5E-5", "0.5e-4", "+5.e-5", ".00005", "0.00005"])
def test_numbers_are_numbers(tmp_path: Path, number: str) -> None:
    assert load(tmp_path, f"stages.0.lr={number}").stages[0].lr.encoder == pytest.approx(5e-5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "this is empty."),
        ("# only a comment\n", "this is empty."),
        ("- encoder\n- data\n", "this is a list."),
        ("minilm\n", "this is the single value 'minilm'."),
        (b"encoder: \xff\xfe\n", ": is not UTF-8 text (byte 9)."),
        ("tasks:\n\tmood: 1\n", ":2: not plain YAML: found character '\\t'"),
        ("seed: 1\ndata: .\nseed: 2\n", ":3: not plain YAML: the key 'seed' stands here twice"),
        ("tasks: {a: {text: b, text: c}}", ":1: not plain YAML: the key 'text' stands here twice"),
        ("seed: [1\n", ":2: not plain YAML: expected ',' or ']'"),
        ("seed: *other\n", ":1: not plain YAML: found undefined alias 'other'"),
        ("a: &a [*a]\n", ":1: not plain YAML: found unconstructable recursive node"),
        ("seed: 1\n---\nseed: 2\n", ":2: not plain YAML: but found another document"),
        ("? [a, b]\n: c\n", ":1: not plain YAML: a key is one word or number"),
        ("{a: 1}: 2\n", ":1: not plain YAML: a key is one word or number"),
        ("seed: \x07\n", ": not plain YAML: unacceptable character"),
        ("seed: !!int x\n", ":1: not plain YAML: a recipe has no use for the tag"),
        ("seed: " + "[" * 3000, ": not plain YAML: lists or tables stand too deep"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    (line,) = refusal(tmp_path, content=content)
    assert said in line


def test_no_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: no such recipe\.$"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"is a folder; name the recipe's YAML file\.$"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/apply:os.mkdir", "!run"]
)
def test_a_tag_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, tag: str) -> None:
    made = tmp_path / "made"
    argument = f"mkdir {made}" if tag.endswith("system") else str(made)
    (line,) = refusal(tmp_path, content=f"{GOOD}seed: {tag} ['{argument}']\n")
    assert "a recipe has no use for the tag" in line
    refusal(tmp_path, f"seed={tag} ['{argument}']")
    assert not made.exists()


# --- checking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sed=1", "sed: no such setting; did you mean 'seed'?"),
        (
            "stages.0.frozen_encoder=true",
            "stages.0.frozen_encoder: no such setting; write `trains: frozen`",
        ),
        ("stages.0.learning_rate=1", "stages.0.learning_rate: no such setting; write `lr`"),
        ("stages.0.max-grad-norm=1", "stages.0.max-grad-norm: no such setting; write `clip`"),
        ("tasks.mood.validation=a.tsv", "tasks.mood.validation: no such setting; write `dev`"),
        ("model=bert", "model: no such setting; write `encoder`"),
        ("epochs=3", "epochs: no such setting here; write `epochs` in a stage (`stages`)"),
        (
            "frozen_encoder=true",
            "frozen_encoder: no such setting here; write `trains: frozen` in a stage (`stages`)",
        ),
        (
            "stages.0.max_seq_length=9",
            "stages.0.max_seq_length: no such setting here; write `max_length` in a task "
            "(`tasks.NAME`)",
        ),
        (
            "stages.0.lora=true",
            "stages.0.lora: no such setting here; write `adapters: lora` in the recipe itself, "
            "beside `tasks` and `stages`",
        ),
        ("stages.0.stps=1", "stages.0.stps: no such setting; did you mean 'steps'?"),
        ("tasks.sim.lable=y", "tasks.sim.lable: no such setting; did you mean 'label'?"),
        (
            "stages.0.sampler.finl=1",
            "stages.0.sampler.finl: no such setting; did you mean 'final'?",
        ),
        (
            "stages.0.sampler=anealed",
            "stages.0.sampler: no such kind 'anealed'; did you mean 'annealed'?",
        ),
        ("tasks.sim.head=cosin", "tasks.sim.head: no such kind 'cosin'; did you mean 'cosine'?"),
        (
            "tasks.sim.kind=x",
            "tasks.sim: no such kind 'x'; there are 'classification', 'ordinal', 'multilabel', "
            "'regression', 'mlm', 'matching', 'simcse'",
        ),
        (
            "stages.0.schedule={warmup: 1}",
            "stages.0.schedule: says no `kind`; there are 'constant', 'linear', 'cosine', 'step'",
        ),
        ("tasks.new={kind: regression, text: a}", "tasks.new.label: is missing"),
        ("stages.0.epochs=x", "stages.0.epochs: should be a whole number, found 'x'"),
        ("stages.0.epochs=1.5", "stages.0.epochs: should be a whole number, found 1.5"),
        ("stages.0.epochs=0", "stages.0.epochs: input should be greater than 0, found 0"),
        ("stages.0.clip=x", "stages.0.clip: should be a number, found 'x'"),
        (
            "stages.0.checkpoint_every=maybe",
            "stages.0.checkpoint_every: should be a whole number, found 'maybe'",
        ),
        (
            "stages.0.batch_size=x",
            "stages.0.batch_size: should be a whole number or should be a table of settings, "
            "found 'x'",
        ),
        (
            "stages.0.batch_size={mood: x}",
            "stages.0.batch_size.mood: should be a whole number, found 'x'",
        ),
        ("stages.0.batch_size=0", "stages.0.batch_size: must be at least 1"),
        ("stages.0.rows_per_epoch={mood: 0}", "stages.0: rows_per_epoch: must be at least 1"),
        (
            "stages.0.weights={mood: -1}",
            "stages.0.weights.mood: input should be greater than or equal to 0, found -1",
        ),
        (
            "stages.0.optimizer.betas=[0.9, 1.5]",
            "stages.0.optimizer.betas.1: input should be less than 1, found 1.5",
        ),
        ("tasks.mood.text=3", "tasks.mood.text: should be text or should be a list, found 3"),
        ("tasks.mood.text=[a]", "tasks.mood.text.1: is missing"),
        (
            "tasks.mood.labels=[a, null]",
            "tasks.mood.labels: holds an empty label; put null in quotes if it is the label's name",
        ),
        (
            "tasks.sim.range=[5, 0]",
            "tasks.sim.range: must be two numbers, the lower one first, found [5.0, 0.0]",
        ),
        ("tasks.mood.name=x", "tasks.mood.name: a task's name is its key, 'mood'"),
        ("tasks.1x={}", "tasks: '1x' is no name for a task; use letters, digits, _ and -"),
        (
            "tasks.mod.weight=2",
            "tasks.mod: there is no such task; did you mean 'mood'? One more task would say its "
            "`kind`",
        ),
        (
            "tasks.other.weight=2",
            "tasks.other: says no `kind`; there are 'classification', 'ordinal', 'multilabel', "
            "'regression', 'mlm', 'matching', 'simcse'",
        ),
        ("tasks.mood=x", "tasks.mood: should be a table of settings, found 'x'"),
        ("tasks={}", "tasks: should have 1 or more items, found {}"),
        ("stages=[]", "stages: should have 1 or more items, found []"),
        ("stages=x", "stages: should be a list, found 'x'"),
        ("stages.0.tasks=[mod]", "stages.0.tasks: no task 'mod'; did you mean 'mood'?"),
        ("stages.1.tasks=[mood, mood]", "stages.1.tasks: names a task twice"),
        (
            "stages.1.batch_size={mod: 1}",
            "stages.1.batch_size: no task 'mod'; did you mean 'mood'?",
        ),
        (
            "stages.0.rows_per_epoch={x: 1}",
            "stages.0.rows_per_epoch: no task 'x'; there are 'mood', 'sim'",
        ),
        ("stages.0.weights={mod: 1}", "stages.0.weights: no task 'mod'; did you mean 'mood'?"),
        ("stages.0.select=mod", "stages.0.select: no task 'mod'; did you mean 'mood'?"),
        ("stages.0.name=more", "stages: every stage needs a name of its own"),
        (
            "tasks.sim.head=linear",
            "tasks.sim: head: linear does not fit two texts, encoded apart a row; use concat, "
            "cosine, or `encode: joint`",
        ),
    ],
)
def test_a_wrong_setting_is_told_where_and_what(tmp_path: Path, change: str, said: str) -> None:
    assert refusal(tmp_path, change) == [f": {said}"]


@pytest.mark.parametrize("meant", sorted(set(MEANT.values())))
def test_what_is_meant_by_another_name_can_be_written(tmp_path: Path, meant: str) -> None:
    setting = meant.partition(":")[0]
    homes = [home for _, parts in HOMES for home in parts if setting in home.model_fields]
    assert homes
    if ":" in meant:
        place = {Recipe: "", Stage: "stages.0."}.get(homes[0], "tasks.mood.")
        change = f"{place}{setting}={meant.partition(': ')[2]}"
        load(tmp_path, "tasks.mood.train=mood.tsv", change)


def test_every_problem_has_a_line_of_its_own(tmp_path: Path) -> None:
    changes = ["sed=1", "tasks.mood.txt=a", "stages.1.epochs=x", "stages.0.sampler=annealt"]
    assert sorted(refusal(tmp_path, *changes)) == [
        ": sed: no such setting; did you mean 'seed'?",
        ": stages.0.sampler: no such kind 'annealt'; did you mean 'annealed'?",
        ": stages.1.epochs: should be a whole number, found 'x'",
        ": tasks.mood.txt: no such setting; did you mean 'text'?",
    ]


def test_a_long_value_is_not_printed_whole(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, f"seed={'x' * 5000}")
    assert len(line) < 150


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LAUGHS, "not plain YAML: holds more than 1,000,000 values, aliases written out"),
        (f"seed: {'9' * 6000}\n", "not plain YAML: Exceeds the limit"),
        ("a: " + "[" * 20_000, "not plain YAML: lists or tables stand too deep inside one another"),
        (b"#" * (2**24 + 1), "has 16 MiB, which no recipe needs"),
    ],
    ids=["aliases", "digits", "deep", "long"],
)
def test_a_recipe_that_would_fill_the_memory_is_refused(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    (line,) = refusal(tmp_path, content=content)
    assert said in line


def test_aliases_of_a_recipe_are_written_out(tmp_path: Path) -> None:
    again = GOOD.replace("{name: more,", "{<<: &more {lr: 1e-5}, name: more,").replace(
        ", lr: 5e-5", ""
    )
    assert load(tmp_path, content=again).stages[1].lr.encoder == 1e-5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_published_recipe_is_right(path: Path) -> None:
    values = read_yaml(path)
    if "extends" not in values:  # or else it holds changes only
        parse_recipe(values, path.name)
    if (path.parent / str(values.get("data", "."))).is_dir():
        recipe = load_recipe(path)
        assert Path(recipe.data).is_absolute()


def test_there_are_published_recipes() -> None:
    assert RECIPES
