"""Tables that Python holds, for a check or an evaluation: read as files are, and not kept."""

import csv
import tempfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.errors import RecipeError

pandas = pytest.importorskip("pandas")


def heard() -> Console:
    return Console(file=StringIO(), width=300)


def said(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "data" / f"{name}.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lent")
    values = make_recipe(tiny, folder) | {"probe": False}
    del values["tasks"]["near"]
    values["tasks"]["mood"] |= {"bad_rows": "skip", "missing_labels": "allow"}
    values["stages"] = [values["stages"][0] | {"steps": 2}]
    (folder / "files.yaml").write_text(yaml.safe_dump(values))
    trivium.train(values, folder / "run", console=heard())
    for task in values["tasks"].values():
        del task["train"], task["dev"]
    (folder / "bare.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def tables(home: Path) -> dict[str, Any]:
    return {
        "mood": {
            "train": pandas.DataFrame(read(home, "mood-train")), "dev": read(home, "mood-dev"),
        },
        "same": {"train": read(home, "pairs-train"), "dev": read(home, "pairs-dev")},
    }  # fmt: skip


# --- check -------------------------------------------------------------------------------------


def test_check_sees_in_tables_what_it_sees_in_files(home: Path) -> None:
    of_tables = trivium.check(home / "bare.yaml", heard(), tables=tables(home))
    of_files = trivium.check(home / "files.yaml", heard())
    for task, splits in of_files.data.items():
        for name, split in splits.items():
            ours = of_tables.data[task][name].examples
            assert [(e.texts, e.target) for e in ours] == [
                (e.texts, e.target) for e in split.examples
            ]
    (stage,) = of_files.recipe.stages
    assert of_tables.plan(stage) == of_files.plan(stage)


def test_check_calls_tables_by_what_they_are(home: Path) -> None:
    console = heard()
    trivium.check(home / "bare.yaml", console, tables=tables(home), probe=True)
    assert "mood train: tables['mood']['train'], JSON lines" in said(console)
    assert tempfile.gettempdir() not in said(console)


def test_check_refuses_a_row_by_table_and_place(home: Path) -> None:
    wrong = tables(home)
    wrong["same"]["dev"][3]["same"] = "perhaps"
    with pytest.raises(RecipeError, match=r"tables\['same'\]\['dev'\]: row 3: .*perhaps"):
        trivium.check(home / "bare.yaml", heard(), tables=wrong)


# --- evaluate ----------------------------------------------------------------------------------


def test_a_table_is_scored_as_the_file_with_its_rows(home: Path) -> None:
    dev = pandas.DataFrame(read(home, "mood-dev"))
    found = trivium.evaluate(home / "run", tables={"mood": dev}, console=heard())
    of_file = trivium.evaluate(
        home / "run", task="mood", file=home / "data" / "mood-dev.tsv", console=heard()
    )
    assert found["tasks"] == {"mood": {"table": of_file["tasks"]["mood"]["file"]}}


def test_splits_of_all_tasks_have_the_scores_of_the_runs_own(home: Path) -> None:
    dev = {task: {"validation": splits["dev"]} for task, splits in tables(home).items()}
    found = trivium.evaluate(home / "run", tables=dev, console=heard())
    own = trivium.evaluate(home / "run", split="dev", console=heard())
    assert (found["tasks"], found["overall"]) == (own["tasks"], own["overall"])


def test_rows_that_are_not_scored_are_told_by_their_place_and_counted(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dev = read(home, "mood-dev")
    for row in dev[:20]:
        row["mood"] = row["mood"].title()  # of another case than the labels that were learned
    dev[25]["mood"] = ""
    told, table = heard(), {"mood": pandas.DataFrame(dev)}
    found = trivium.evaluate(home / "run", tables=table, console=told)
    assert found["tasks"]["mood"]["table"]["rows"] == len(dev) - 21
    assert "row left out: tables['mood']: row 0: " in said(told)
    assert "15 more rows left out" in said(told)
    assert "bad_rows" not in said(told)  # which is set
    summary = f"{len(dev) - 21} of {len(dev)} rows of {{}} are used: 20 cannot be used and 1 have"
    assert summary.format("tables['mood']") in said(told)

    file = tmp_path_factory.mktemp("asked") / "other.tsv"
    file.write_text("\n".join(["\t".join(dev[0]), *("\t".join(r.values()) for r in dev)]) + "\n")
    ways: list[Callable[[Console], object]] = [
        lambda told: trivium.evaluate(home / "run", task="mood", file=file, console=told),
        lambda told: trivium.calibrate(
            home / "run", task="mood", on=file, dry_run=True, console=told
        ),
    ]
    for ask in ways:
        told = heard()
        ask(told)
        assert f"row left out: {file}:2: " in said(told)
        assert summary.format(file) in said(told)


def test_a_table_whose_every_row_is_scored_is_spoken_of_no_further(home: Path) -> None:
    told = heard()
    trivium.evaluate(home / "run", tables={"mood": read(home, "mood-dev")}, console=told)
    assert "left out" not in said(told)
    assert "are used" not in said(told)


def test_what_cannot_be_scored_is_refused_in_words(home: Path) -> None:
    run, dev = home / "run", read(home, "mood-dev")
    with pytest.raises(RecipeError, match="did you mean 'mood'"):
        trivium.evaluate(run, tables={"moods": dev})
    with pytest.raises(RecipeError, match=r"`tables` names no task; give a table for .*'mood'"):
        trivium.evaluate(run, tables={})
    with pytest.raises(RecipeError, match="--file: must be the path of a file, found list"):
        trivium.evaluate(run, task="mood", file=dev)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="mood"):
        trivium.evaluate(run, tables={"mood": {}})
    with pytest.raises(RecipeError, match="says which tasks"):
        trivium.evaluate(run, tables={"mood": dev}, task="mood")
    pairs = tables(home)["same"]["dev"]
    with pytest.raises(RecipeError, match=r"tables\['same'\]: row 2: .*sideways"):
        trivium.evaluate(run, tables={"same": [*pairs[:2], pairs[2] | {"same": "sideways"}]})
    with pytest.raises(RecipeError, match=r"tables: is a dictionary that .*; found list"):
        trivium.evaluate(run, tables=[dev])  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="no column 'text'"):
        trivium.evaluate(run, tables={"mood": [{"mood": "up"}]})
