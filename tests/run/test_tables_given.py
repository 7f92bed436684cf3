"""Trained on tables that Python holds: the run is whole, and no different from one of files."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.recipe import Recipe, load_recipe
from trivium.run.folder.given import hold
from trivium.run.folder.start import run_recipe
from trivium.run.rows.load import load_data

pandas = pytest.importorskip("pandas")

FILES = {"mood": "mood", "same": "pairs", "near": "near"}


def quiet() -> Console:
    return Console(file=StringIO())


def read(folder: Path, task: str, split: str) -> list[dict[str, str]]:
    with (folder / "data" / f"{FILES[task]}-{split}.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of rows, a recipe over them, and one that names no files."""
    folder = tmp_path_factory.mktemp("given")
    values = make_recipe(tiny, folder)
    values["stages"] = [values["stages"][0] | {"steps": 3, "select": "mood"}]
    (folder / "files.yaml").write_text(yaml.safe_dump(values))
    for task in values["tasks"].values():
        del task["train"], task["dev"]
    (folder / "bare.yaml").write_text(yaml.safe_dump(values | {"data": "."}))
    return folder


def tables(home: Path) -> dict[str, Any]:
    """A DataFrame, a list of dictionaries and a dictionary of columns."""
    mood, same, near = (
        {split: read(home, task, split) for split in ("train", "dev")} for task in FILES
    )
    return {
        "mood": {split: pandas.DataFrame(rows) for split, rows in mood.items()},
        "same": {"train": same["train"], "validation": same["dev"]},
        "near": {
            split: {c: [row[c] for row in rows] for c in rows[0]} for split, rows in near.items()
        },
    }


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    trivium.train(home / "bare.yaml", home / "run", tables=tables(home), console=quiet())
    return home / "run"


def values(home: Path, *tasks: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((home / "bare.yaml").read_text())
    chosen = {name: found["tasks"][name] for name in tasks}
    stage = found["stages"][0] | {"select": "last", "steps": 1}
    return found | {"tasks": chosen, "stages": [stage]}


def test_a_run_of_tables_is_that_of_files_with_the_same_rows(home: Path, run: Path) -> None:
    trivium.train(home / "files.yaml", home / "of-files", console=quiet())
    of_files, of_tables = (
        json.loads((folder / "scores.json").read_text())["tasks"]
        for folder in (home / "of-files", run)
    )
    assert of_tables == of_files
    weights = [folder / "model" / "model.safetensors" for folder in (home / "of-files", run)]
    assert sha256(weights[0]) == sha256(weights[1])


def test_the_run_is_whole_and_can_be_moved(home: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved")
    first, moved = (trivium.evaluate(folder) for folder in (run, tmp_path / "moved"))
    assert first == moved
    assert Path(run_recipe(tmp_path / "moved").data) == tmp_path / "moved" / "tables"
    told = json.loads((run / "data.json").read_text())["files"]
    assert len(told) == 6
    for name, facts in told.items():
        assert facts["sha256"] == sha256(run / "tables" / name)
        assert facts["sha256"].startswith(name.split("-")[-1].removesuffix(".jsonl"))


@pytest.mark.thorough
def test_the_run_s_own_recipe_trains_it_again(run: Path, tmp_path: Path) -> None:
    trivium.train(run / "recipe.yaml", tmp_path / "again", console=quiet())
    assert trivium.evaluate(tmp_path / "again") == trivium.evaluate(run)


def test_a_finished_run_is_resumed_with_the_same_tables_only(home: Path, run: Path) -> None:
    again: dict[str, Any] = {"tables": tables(home), "resume": True, "console": quiet()}
    assert trivium.train(home / "bare.yaml", run, **again)["tasks"].keys() == FILES.keys()
    again["tables"]["mood"]["train"] = again["tables"]["mood"]["train"].iloc[1:]
    before = sorted(path.name for path in (run / "tables").iterdir())
    with pytest.raises(RecipeError, match=r"not the one this run began with: tasks\.mood\.train"):
        trivium.train(home / "bare.yaml", run, **again)
    assert sorted(path.name for path in (run / "tables").iterdir()) == before


def test_other_tasks_keep_their_files(home: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((home / "files.yaml").read_text())
    table = pandas.DataFrame(read(home, "mood", "train"))
    trivium.train(
        recipe,
        tmp_path / "run",
        tables={"mood": table},
        changes=["stages.0.steps=1"],
        console=quiet(),
    )
    found = run_recipe(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "tables").iterdir()] == [
        source.file for source in found.tasks["mood"].sources("train")
    ]
    for split in ("train", "dev"):
        (source,) = found.tasks["same"].sources(split)
        assert Path(source.file) == home / "data" / f"pairs-{split}.tsv"


def lines(recipe: Recipe) -> dict[str, dict[str, list[int | None]]]:
    """By task and split, which lines of its files are in it."""
    _, data = load_data(recipe)
    return {
        task: {name: [row.line for row in split.examples] for name, split in splits.items()}
        for task, splits in data.items()
    }


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize(
    "drawn", [0.3, {"share": 0.3, "by": "id"}, {"share": 0.3, "stratify": True}]
)
def test_what_is_drawn_of_a_table_or_of_a_file_beside_it_stays_apart_from_training(
    home: Path, tmp_path: Path, drawn: Any, split: str
) -> None:
    tasks = values(home, "mood")["tasks"]
    beside = {"train": str(home / "data" / "mood-train.tsv"), split: drawn}
    tasks = {"mood": tasks["mood"] | {split: drawn}, "other": tasks["mood"] | beside}
    recipe = {"encoder": values(home)["encoder"], "tasks": tasks}
    held = hold(recipe, {"mood": read(home, "mood", "train")}, tmp_path)
    with held.kept(tmp_path, writes=True):
        as_checked, as_trained = (
            lines(loaded)
            for loaded in (load_recipe(held.recipe), held.placed(load_recipe(held.recipe)))
        )
    assert as_trained == as_checked
    for splits in as_trained.values():
        assert splits[split]
        assert not set(splits["train"]) & set(splits[split])


def test_a_run_of_a_table_is_judged_on_rows_that_it_was_not_trained_on(
    home: Path, tmp_path: Path
) -> None:
    recipe, rows = values(home, "mood"), read(home, "mood", "train")
    recipe["tasks"]["mood"] |= {"dev": 0.3, "test": 0.2}
    trivium.train(recipe, tmp_path, tables={"mood": rows}, console=quiet())
    told = json.loads((tmp_path / "data.json").read_text())["tasks"]["mood"]
    assert told["dev"]["drawn"] == {"share": 0.3}
    assert sum(told[split]["rows"] for split in ("train", "dev", "test")) == len(rows)
    found = lines(run_recipe(tmp_path))["mood"]
    assert not set(found["train"]) & (set(found["dev"]) | set(found["test"]))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"file": "a.csv", "encoding": "cp1252", "rows": 5}, {"rows": 5}),
        ({"relabel": {"bad": "good"}}, {"relabel": {"bad": "good"}}),
        (
            {"hub": "x/y", "split": "train", "revision": "main", "where": {"mood": "good"}},
            {"where": {"mood": "good"}},
        ),
        ([{"file": "a.csv", "rows": 5}, {"file": "b.csv", "rows": 5}], {"rows": 5}),
        (["a.csv", "b.csv"], {}),
        ([], {}),
    ],
    ids=str,
)
def test_a_table_is_read_as_the_recipe_says_of_the_file_whose_place_it_takes(
    home: Path, tmp_path: Path, said: Any, kept: dict[str, Any]
) -> None:
    recipe = values(home, "mood")
    recipe["tasks"]["mood"] |= {"train": said}
    held = hold(recipe, {"mood": read(home, "mood", "train")}, tmp_path)
    (source,) = held.placed(load_recipe(held.recipe)).tasks["mood"].sources("train")
    plain = source.plain()
    assert plain == (kept | {"file": source.file} if kept else source.file)
    assert source.file.startswith("mood-train-")


def test_a_table_takes_the_place_of_rows_that_were_to_be_drawn(home: Path, tmp_path: Path) -> None:
    recipe, rows = values(home, "mood"), read(home, "mood", "train")
    recipe["tasks"]["mood"] |= {"dev": {"share": 0.2, "stratify": True}}
    held = hold(recipe, {"mood": {"train": rows[:50], "dev": rows[50:]}}, tmp_path)
    task = load_recipe(held.recipe).tasks["mood"]
    assert task.drawn("dev") is None
    assert [Path(source.file).name[:9] for source in task.sources("dev")] == ["mood-dev-"]


def test_a_table_in_the_place_of_files_that_are_read_in_several_ways_is_refused(
    home: Path, tmp_path: Path
) -> None:
    recipe = values(home, "mood")
    recipe["tasks"]["mood"] |= {"train": ["a.csv", {"file": "b.csv", "rows": 5}]}
    with pytest.raises(RecipeError, match=r"tasks\.mood\.train: a table takes the place of its 2"):
        hold(recipe, {"mood": read(home, "mood", "train")}, tmp_path)


def test_what_replaces_a_run_has_its_own_tables_alone(home: Path, tmp_path: Path) -> None:
    rows = read(home, "mood", "train")
    for part in (rows[:50], rows[50:]):
        trivium.train(
            values(home, "mood"), tmp_path, tables={"mood": part}, overwrite=True, console=quiet()
        )
    (path,) = (tmp_path / "tables").iterdir()
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == [
        row["text"] for row in rows[50:]
    ]


def test_an_earlier_run_is_left_as_it_is_where_the_new_table_is_wrong(
    home: Path, run: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    wrong = {"mood": [{"text": "good", "mood": "up"}]}
    with pytest.raises(RecipeError, match=r"tables\['mood'\]"):
        trivium.train(values(home, "mood"), run, tables=wrong, overwrite=True, console=quiet())
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_labels_of_numbers_stay_whole_beside_missing_ones(home: Path, tmp_path: Path) -> None:
    table = pandas.DataFrame({"text": list("abc"), "mood": [0, 1, None], "vector": [[1], [2], [3]]})
    recipe = values(home, "mood")
    recipe["tasks"]["mood"] |= {"missing_labels": "allow"}
    trivium.train(recipe, tmp_path / "run", tables={"mood": table}, console=quiet())
    assert trivium.load(tmp_path / "run").forms["mood"].says.labels == {"0": "0", "1": "1"}  # type: ignore[union-attr]
    (path,) = (tmp_path / "run" / "tables").iterdir()
    assert json.loads(path.read_text().splitlines()[2]) == {"text": "c", "mood": None}


GOOD = {"text": ["good", "bad"], "mood": ["up", "down"]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"moods": GOOD}, "has no task 'moods'.*did you mean 'mood'"),
        ({"mood": 3}, r"tables\['mood'\]: must be a DataFrame.*found int"),
        ({"mood": {"trian": [{"text": "a"}]}}, "no split is called 'trian'.*did you mean 'train'"),
        ({"mood": {"dev": [GOOD], "validation": [GOOD]}}, "has both 'dev' and 'validation'"),
        ({"mood": {"txt": ["a"], "mood": ["up"]}}, "no column 'text'.*did you mean 'txt'"),
        ({"mood": GOOD | {"text": ["good", None]}}, r"row 1: column 'text' is empty"),
        ({"mood": GOOD | {"mood": ["up"]}}, "different numbers of rows: 'text' 2, 'mood' 1"),
        (
            {"mood": {"text": list("abc"), "mood": ["up", None, "down"]}},
            r"tables\['mood'\]: row 1: column 'mood' is empty",
        ),
        ({"mood": {"text": [], "mood": []}}, "has no rows"),
        (
            {"mood": {"train": [{"text": "a", "mood": "up"}, {"text": "b", "mood": "down"}],
                      "dev": [{"text": "c", "mood": "sideways"}]}},
            r"tables\['mood'\]\['dev'\]: row 0: .*'sideways'",
        ),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_leaves_no_trace(
    home: Path, tmp_path: Path, given: Any, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        trivium.train(
            values(home, "mood"), tmp_path / "deep" / "run", tables=given, console=quiet()
        )
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("as_table", [list, pandas.DataFrame])
def test_tables_without_their_tasks_names_are_refused(
    home: Path, tmp_path: Path, as_table: Any
) -> None:
    rows = as_table(read(home, "mood", "train"))
    for work in (
        lambda: trivium.train(values(home, "mood"), tmp_path / "run", tables=rows),
        lambda: trivium.check(values(home, "mood"), tables=rows),
    ):
        with pytest.raises(RecipeError, match="tables: is a dictionary that has a table by the na"):
            work()


def test_a_row_is_named_as_pandas_calls_it(home: Path, tmp_path: Path) -> None:
    table = pandas.DataFrame({"text": ["a", None], "mood": ["up", "down"]}, index=["p", "q"])
    with pytest.raises(RecipeError, match=r"tables\['mood'\]: row 1 \(index 'q'\): column 'text'"):
        trivium.train(values(home, "mood"), tmp_path / "run", tables={"mood": table})
