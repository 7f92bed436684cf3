"""A task's rows from several files, each with labels of its own."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from tests.support.tables import sentence, write_table
from trivium.errors import RecipeError
from trivium.parts.tasks import Classification, Source
from trivium.recipe import Recipe, load_recipe, parse_recipe
from trivium.recipe.dumping import dump_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.folder.journal import read_journal
from trivium.run.folder.start import check_same_recipe, start_run
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import data_digest

FIVE = ["0", "1", "2", "3", "4"]

STARS = "text,label\none,0\ntwo,4\nthree,2\n"

BINARY = "text,label\nfour,0\nfive,1\nsix,1.0\n"

MIXED = ["stars.csv", {"file": "binary.csv", "relabel": {0: 0, 1: 4}}]


def recipe(folder: Path, train: Any = MIXED, **settings: Any) -> Recipe:
    (folder / "stars.csv").write_text(STARS)
    (folder / "binary.csv").write_text(BINARY)
    task = {"kind": "classification", "text": "text", "label": "label", "train": train} | settings
    return parse_recipe({"data": str(folder), "tasks": {"mood": task}})


def told(folder: Path, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        load_data(recipe(folder, *arguments, **settings))
    return str(caught.value).replace(f"{folder}/", "")


# --- what a recipe may say ---------------------------------------------------------------------


def test_a_plain_name_is_written_out_as_it_was_read(tmp_path: Path) -> None:
    plain = recipe(tmp_path, "stars.csv", dev="binary.csv")
    assert "train: stars.csv\n    dev: binary.csv\n    test: null\n" in dump_recipe(plain)
    assert plain.tasks["mood"].train == (Source(file="stars.csv"),)
    assert recipe(tmp_path, ["stars.csv"], dev={"file": "binary.csv"}) == plain


def test_several_files_come_back_from_the_run_s_own_recipe(tmp_path: Path) -> None:
    mixed, _ = load_data(recipe(tmp_path, dev={"file": "binary.csv", "relabel": {1: 4}}))
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(mixed))
    assert parse_recipe(read_yaml(path)) == mixed
    written = read_yaml(path)["tasks"]["mood"]
    assert written["train"] == [
        "stars.csv",
        {"file": "binary.csv", "relabel": {"0": "0", "1": "4"}},
    ]
    assert written["dev"] == {"file": "binary.csv", "relabel": {"1": "4"}}


def test_a_plain_name_can_be_given_a_relabelling_by_its_dotted_path(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe(tmp_path, "binary.csv")))
    changed = load_recipe(path, ["tasks.mood.train.relabel.1=4"])
    assert changed.tasks["mood"].train == (Source(file="binary.csv", relabel={"1": "4"}),)
    longer = load_recipe(path, ["tasks.mood.train=[stars.csv, {file: binary.csv}]"])
    assert [source.file for source in longer.tasks["mood"].sources("train")] == [
        "stars.csv",
        "binary.csv",
    ]


WHERE = {"file": "a", "where": {"s": "x"}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train": []}, "tasks.mood.train: should have 1 or more items"),
        ({"train": ["a", "b", "a"]}, "tasks.mood.train: names a twice"),
        ({"train": ["a", "./a"]}, "tasks.mood.train: names a twice, once as ./a"),
        ({"train": [WHERE, WHERE | {"where": {"s": ["x"]}}]}, "train: names a, s: x twice"),
        (
            {"train": [{"hub": "x/y", "split": "z", "rows": 9}, {"hub": "x/y", "split": "z"}]},
            "train: names hub:x/y:z twice",
        ),
        ({"train": ["a", 3]}, "tasks.mood.train: is a file's name, or a table of `file`, "),
        ({"train": {"fil": "a"}}, "tasks.mood.train.0.fil: no such setting; did you mean 'file'?"),
        ({"train": ["a", {"file": "b", "relabel": {1: 4, "1.0": 3}}]}, "1.relabel: names a label"),
        ({"train": {"file": "a", "relabel": {1: None}}}, "0.relabel: holds an empty label"),
        ({"dev": ["a", "b"]}, "tasks.mood.dev: is one file; only `train` may be several"),
        ({"test": 3}, "tasks.mood.test.share: input should be less than 1, found 3"),
        ({"test": True}, "tasks.mood.test: is a file's name, or a table of `file`, `relabel`, `ro"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_list_of_files_is_refused_by_its_place(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, **settings)
    assert said in str(caught.value)


# --- what is read ------------------------------------------------------------------------------


def test_files_are_read_in_order_each_in_its_own_words(tmp_path: Path) -> None:
    _, data = load_data(recipe(tmp_path, labels=FIVE))
    train = data["mood"]["train"]
    assert [(e.texts[0], e.target) for e in train.examples] == [
        ("one", 0), ("two", 4), ("three", 2), ("four", 0), ("five", 4), ("six", 4),
    ]  # fmt: skip
    assert train.rows == 6
    assert [(Path(f.table.name).name, f.rows) for f in train.files] == [
        ("stars.csv", 3),
        ("binary.csv", 3),
    ]


def test_labels_are_found_in_all_files_after_relabelling(tmp_path: Path) -> None:
    words = {"0": "negative", "1": "positive"}
    found, data = load_data(
        recipe(tmp_path, ["stars.csv", {"file": "binary.csv", "relabel": words}])
    )
    task = found.tasks["mood"]
    assert isinstance(task, Classification)
    assert task.names == ["0", "2", "4", "negative", "positive"]
    assert [e.target for e in data["mood"]["train"].examples] == [0, 2, 1, 3, 4, 4]


def test_a_value_that_the_map_does_not_name_stays(tmp_path: Path) -> None:
    train = {"file": "stars.csv", "relabel": {2: 0}}
    found, data = load_data(recipe(tmp_path, train))
    assert [e.target for e in data["mood"]["train"].examples] == [0, 1, 0]
    assert isinstance(task := found.tasks["mood"], Classification)
    assert task.names == ["0", "4"]


def test_rows_can_be_left_out_by_an_empty_label(tmp_path: Path) -> None:
    train = {"file": "stars.csv", "relabel": {2: ""}}
    _, data = load_data(recipe(tmp_path, train, missing_labels="allow"))
    assert [e.texts[0] for e in data["mood"]["train"].examples] == ["one", "two"]
    assert data["mood"]["train"].unlabelled == 1


def test_scores_and_sets_of_labels_are_relabelled_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,tags,score\na,"x, y",low\nb,y,2\n')
    common = {"text": "text"}
    tags = {
        "kind": "multilabel",
        "label": "tags",
        "train": {"file": "t.csv", "relabel": {"y": "z"}},
    }
    score = {
        "kind": "regression",
        "label": "score",
        "range": [0, 5],
        "train": {"file": "t.csv", "relabel": {"low": 0.5}},
    }
    found, data = load_data(
        parse_recipe({"data": str(tmp_path), "tasks": {"t": common | tags, "s": common | score}})
    )
    assert [e.target for e in data["t"]["train"].examples] == [(0, 1), (1,)]
    assert found.tasks["t"].model_dump()["labels"] == {"x": "x", "z": "z"}
    assert [e.target for e in data["s"]["train"].examples] == [0.5, 2]


def test_a_label_of_the_map_that_is_nowhere_is_refused_with_those_that_are(tmp_path: Path) -> None:
    train = ["stars.csv", {"file": "binary.csv", "relabel": {"neg": 0, 1: 4}}]
    assert told(tmp_path, train) == (
        "task 'mood': train: binary.csv: relabel: 'neg' is nowhere in column 'label', which holds "
        "'0', '1'. Name one of those, or leave it out."
    )
    assert told(tmp_path, train, labels=FIVE) == told(tmp_path, train)


def test_bad_rows_are_told_by_their_own_file_and_line(tmp_path: Path) -> None:
    train = ["stars.csv", {"file": "binary.csv", "relabel": {1: 7}}]
    said = told(tmp_path, train, labels=FIVE).splitlines()
    assert [line.split(": column")[0] for line in said] == [
        "task 'mood': train: binary.csv:3",
        "binary.csv:4",
    ]
    assert "holds '7', which is not one of its labels" in said[0]
    assert said[0].endswith("; this is after its `relabel`")


@pytest.fixture
def one_and_two(recipe_values: dict[str, Any]) -> list[Recipe]:
    """The same rows from one file, and from two that differ in columns and labels."""
    data = Path(recipe_values["data"])
    rows = [(sentence(11 * n), "up" if n % 2 else "down") for n in range(60)]
    write_table(data / "all.tsv", ["text", "mood"], [[*row] for row in rows])
    write_table(data / "one.tsv", ["text", "mood"], [[*row] for row in rows[:40]])
    write_table(data / "two.tsv", ["mood", "text"], [[int(m == "up"), t] for t, m in rows[40:]])
    write_table(
        data / "dev.tsv", ["text", "mood"], [[t, m.replace("up", "+")] for t, m in rows[:20]]
    )
    two = ["one.tsv", {"file": "two.tsv", "relabel": {0: "down", 1: "up"}}]
    task = recipe_values["tasks"]["mood"] | {"dev": {"file": "dev.tsv", "relabel": {"+": "up"}}}
    return [
        parse_recipe(recipe_values | {"tasks": {"mood": task | {"train": train}}})
        for train in ("all.tsv", two)
    ]


def test_several_files_train_as_one_file_of_all_their_rows(
    one_and_two: list[Recipe], tmp_path: Path
) -> None:
    """To the bit; judged again they score the same, and a model says nothing of its files."""
    scores, steps = [], []
    for recipe in one_and_two:
        run = tmp_path / recipe.tasks["mood"].sources("train")[0].file
        scores.append(trivium.train(recipe, run, console=Console(file=StringIO()))["tasks"])
        steps.append([line for line in read_journal(run) if line["event"] == "step"])
        assert trivium.evaluate(run)["tasks"] == scores[-1]
        kept = json.loads((run / "model" / "trivium.json").read_text())["tasks"]["mood"]
        assert {"train", "dev", "test"}.isdisjoint(kept)
    assert steps[0] == steps[1]
    assert scores[0] == scores[1]
    assert scores[0]["mood"]["dev"]["rows"] == 20


def test_the_digest_of_the_data_knows_rows_and_not_files(one_and_two: list[Recipe]) -> None:
    one, two = (load_data(recipe)[1] for recipe in one_and_two)
    assert data_digest(one) == data_digest(two)
    examples = two["mood"]["train"].examples
    assert isinstance(examples, list)
    examples.reverse()
    assert data_digest(one) != data_digest(two)


def test_resuming_with_another_relabelling_is_refused(tmp_path: Path) -> None:
    start_run(tmp_path / "run", recipe(tmp_path), overwrite=False)
    check_same_recipe(tmp_path / "run", recipe(tmp_path))
    other = recipe(tmp_path, ["stars.csv", {"file": "binary.csv", "relabel": {0: 0, 1: 3}}])
    with pytest.raises(RecipeError, match=r"relabel\.1 was '4' and is now '3'"):
        check_same_recipe(tmp_path / "run", other)


def test_resuming_with_labels_in_another_order_is_refused(tmp_path: Path) -> None:
    start_run(tmp_path / "run", recipe(tmp_path, labels=FIVE), overwrite=False)
    other = recipe(tmp_path, labels=FIVE[::-1])
    with pytest.raises(RecipeError, match=r"labels was \['0', .*'4'\] and is now \['4', "):
        check_same_recipe(tmp_path / "run", other)


def test_check_shows_every_file_and_the_rows_left_out_of_each(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    data = Path(recipe_values["data"])
    (data / "more.csv").write_text("text,mood\ngood cat,yes\n ,yes\nbad cat,no\n")
    more = {"file": "more.csv", "relabel": {"yes": "up", "no": "down"}}
    task = recipe_values["tasks"]["mood"] | {"train": ["mood-train.tsv", more], "bad_rows": "skip"}
    out = StringIO()
    console = Console(file=out, width=400)
    trivium.check(parse_recipe(recipe_values | {"tasks": {"mood": task}}), console)
    said = out.getvalue()
    assert f"mood train: {data}/mood-train.tsv, 96 rows, tab-separated" in said
    assert f"mood train: {data}/more.csv, 3 rows, comma-separated" in said
    assert f"mood train: row left out: {data}/more.csv:3: column 'text' is empty" in said
    assert "train 98" in said
