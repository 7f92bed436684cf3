"""Many tables are answered as each of them is alone; what is done is not done again."""

import errno
import io
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

import trivium
from tests.support.shell import call
from tests.support.tables import make_recipe, sentence, write_table
from trivium.apps.batch import answering, crowd, done, predict
from trivium.apps.batch.files import are_many, dealt, parts_of, shard_of
from trivium.errors import RecipeError
from trivium.run.cluster.asked import OnRay


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    values = make_recipe(tiny, folder)
    values["stages"] = [{"steps": 2, "batch_size": 8, "lr": 1e-3}]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | {"probe": False}))
    trivium.train(folder / "recipe.yaml", folder / "run")
    return folder / "run"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder of five tables of eight rows."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        rows: list[list[object]] = [[i, sentence(11 * number + i)] for i in range(8)]
        write_table(folder / f"{number}.tsv", ["id", "text"], rows)
    return folder


def asked_for(run: Path, tables: Path, out: Path, **more: Any) -> dict[str, int]:
    return trivium.predict_files(run, "mood", tables, out, probabilities=True, **more)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.*")) if p.is_file()}


def test_each_tables_answers_are_those_that_it_has_alone(
    run: Path, tables: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    for path in tables.iterdir():
        alone = tmp_path / "alone" / path.name
        trivium.predict_file(run, "mood", path, alone, probabilities=True)
    found = asked_for(run, tables, tmp_path / "out")
    assert found == {"files": 5, "rows": 40, "skipped": 0}
    assert content(tmp_path / "out") == content(tmp_path / "alone")


@pytest.mark.thorough
def test_shards_are_all_files_once(run: Path, tables: Path, tmp_path: Path) -> None:
    shares = [asked_for(run, tables, tmp_path / "out", shard=(k, 3))["files"] for k in (1, 2, 3)]
    assert shares == [2, 2, 1]
    asked_for(run, tables, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    again = asked_for(run, tables, tmp_path / "out", shard=(2, 3))
    assert again == {"files": 0, "rows": 0, "skipped": 2}
    parts = parts_of([tables], tmp_path / "out")
    assert [part.name for part in dealt(parts, (2, 3))] == ["1.tsv", "4.tsv"]


def test_what_is_answered_is_known_by_content_and_needs_no_model(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    asked_for(run, tables, out)
    for path in tables.iterdir():
        os.utime(path, (0, 0))
    with monkeypatch.context() as patch:
        patch.delattr(predict, "load")
        assert asked_for(run, tables, out)["skipped"] == 5
    (out / "2.tsv").unlink()
    assert asked_for(run, tables, out) == {"files": 1, "rows": 8, "skipped": 4}


def test_other_answers_are_replaced_when_that_is_asked_for_and_only_then(
    run: Path, tables: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked_for(run, tables, out)
    write_table(tables / "1.tsv", ["id", "text"], [[1, "good cat"]])  # another table by now
    (out / "3.tsv").write_text("mine\n")
    with pytest.raises(RecipeError, match=r"2 of 5 files have no answers") as error:
        asked_for(run, tables, out)
    assert "--overwrite" in str(error.value)
    assert (out / "3.tsv").read_text() == "mine\n"
    with pytest.raises(RecipeError, match=r"5 of 5 files"):
        asked_for(run, tables, out, top_k=1)  # other columns
    assert asked_for(run, tables, out, overwrite=True) == {"files": 2, "rows": 9, "skipped": 3}


def test_another_model_answers_anew(run: Path, tables: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    asked_for(run, tables, tmp_path / "out")
    assert asked_for(other, tables, tmp_path / "out")["skipped"] == 5  # the same, elsewhere
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"seed": 5}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    trivium.train(tmp_path / "recipe.yaml", tmp_path / "another")
    with pytest.raises(RecipeError, match=r"5 of 5 files"):
        asked_for(tmp_path / "another", tables, tmp_path / "out")


def test_a_try_that_was_killed_between_answers_and_their_record_is_made_again(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(done.Ledger, "end", dies)
        with pytest.raises(KeyboardInterrupt):
            asked_for(run, tables, tmp_path / "out")
    assert list(content(tmp_path / "out")) == ["0.tsv"]
    for name in ("0.tsv", "foreign.tsv"):  # as if it had been killed in writing, too
        (tmp_path / "out" / ".done" / f".{name}.json.0df6c2e0.new").touch()
    assert asked_for(run, tables, tmp_path / "out") == {"files": 5, "rows": 40, "skipped": 0}
    left = [path.name for path in (tmp_path / "out" / ".done").glob(".*")]
    assert left == [".foreign.tsv.json.0df6c2e0.new"]  # whose writer may be another shard


@pytest.mark.parametrize("noted", [True, False], ids=["another model's", "a person's"])
def test_a_try_that_was_killed_before_it_wrote_makes_what_it_should_replace_nobody_elses(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    out = tmp_path / "out"
    if noted:
        asked_for(run, tables, out)
    else:
        out.mkdir()
        shutil.copyfile(tables / "0.tsv", out / "0.tsv")
    kept = (out / "0.tsv").read_bytes()

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(answering, "predict_file", dies)
        with pytest.raises(KeyboardInterrupt):
            asked_for(run, tables, out, top_k=1, overwrite=True)
    with pytest.raises(RecipeError, match=r"is there already"):
        asked_for(run, tables / "0.tsv", out, top_k=1)
    assert (out / "0.tsv").read_bytes() == kept
    if noted:
        assert asked_for(run, tables, out)["skipped"] == 5  # still its own
    assert asked_for(run, tables / "0.tsv", out, top_k=1, overwrite=True)["files"] == 1
    assert asked_for(run, tables / "0.tsv", out, top_k=1)["skipped"] == 1


def test_of_two_commands_at_once_the_second_waits_for_a_table_and_takes_it_as_answered(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "out", io.StringIO()
    [part] = parts_of([tables / "0.tsv"], out)
    answers: list[dict[str, int]] = []

    def looks() -> None:  # when the second sees that the first is at work, that comes to its end
        if not answers:
            answers.append(asked_for(run, tables / "0.tsv", tmp_path / "same"))
            shutil.copytree(tmp_path / "same", out, dirs_exist_ok=True)
            first.close()

    first = ExitStack()
    first.enter_context(done.Ledger(out, {}).alone(part, lambda: None))
    monkeypatch.setattr("trivium.run.folder.locks.time.sleep", lambda _: looks())
    console = Console(file=said, width=200)
    assert asked_for(run, tables / "0.tsv", out, console=console)["files"] == 1
    assert said.getvalue().count("another process is answering it, and is waited for") == 1
    assert content(out) == content(tmp_path / "same")
    assert not list((out / ".done").glob("*.lock"))


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_model_is_loaded(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.delattr(predict, "load")
    monkeypatch.setattr(Path, "touch", is_read_only)
    with pytest.raises(RecipeError, match=r"out: cannot be written to: Read-only file system"):
        asked_for(run, tables, tmp_path / "out")


def test_a_bad_row_is_named_and_costs_its_own_table_only(
    run: Path, tables: Path, tmp_path: Path
) -> None:
    with (tables / "2.tsv").open("a") as file:
        file.write("9\tgood cat\ttoo much\n")
    code, said = call(
        "predict", run, "--task", "mood", "--file", f"{tables}/*.tsv", "--out", tmp_path / "out"
    )
    assert code == 2
    assert f"{tables}/2.tsv:10: " in said
    assert "1 of 5 files have no answers" in said
    assert list(content(tmp_path / "out")) == ["0.tsv", "1.tsv", "3.tsv", "4.tsv"]
    with (tables / "2.tsv").open("w") as file:
        file.write("id\ttext\n9\tgood cat\n")
    code, said = call("predict", run, "--task", "mood", "--file", tables, "--out", tmp_path / "out")
    assert code == 0
    assert "1 files answered, 4 were there, 1 rows" in said


def test_a_table_that_ends_its_workers_is_not_begun_for_ever(tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def remote(**options: Any) -> Any:
        asked.update(options)
        return lambda _: SimpleNamespace(remote=lambda *_: object())

    ray = SimpleNamespace(remote=remote, cluster_resources=dict)
    on = OnRay(cpus=1, memory=1, at_once=1)
    crowd._Crowd(ray, on, tmp_path, answering.Asked("mood", {"device": "cpu"}), 1)
    assert asked["max_restarts"] == -1  # for the next table
    assert asked["max_task_retries"] == crowd.MOST_LOST - 1 >= 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_where_a_try_wrote_nothing_what_appears_is_not_taken_for_its_answers(
    run: Path, tables: Path, tmp_path: Path, *, overwrite: bool
) -> None:
    out, good = tmp_path / "out", (tables / "2.tsv").read_text()
    asked_for(run, tables, out)
    told = (out / ".done" / "2.tsv.json").read_text()
    (out / ".done" / "3.tsv.json").unlink()
    (out / "3.tsv").unlink()
    for name in ("2.tsv", "3.tsv"):
        (tables / name).write_text("id\ttext\n9\tgood cat\ttoo much\n")
    with pytest.raises(RecipeError, match=r"2 of 5 files have no answers"):
        asked_for(run, tables, out, overwrite=overwrite)
    assert (out / ".done" / "2.tsv.json").read_text() == told
    assert not (out / ".done" / "3.tsv.json").exists()
    (out / "3.tsv").write_text("mine\n")
    for name in ("2.tsv", "3.tsv"):
        (tables / name).write_text(good)
    with pytest.raises(RecipeError, match=r"1 of 5 files have no answers"):
        asked_for(run, tables, out)
    assert (out / "3.tsv").read_text() == "mine\n"


def test_a_table_that_is_gone_costs_no_other_one(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for tables and its turn: the first time, and once it has answers."""
    found = parts_of([tables], tmp_path / "out")
    monkeypatch.setattr(predict, "parts_of", lambda *_: found)
    (tables / "2.tsv").rename(tmp_path / "2.tsv")
    with pytest.raises(RecipeError, match=r"1 of 5 files .*\n.*2\.tsv: cannot be read: No such"):
        asked_for(run, tables, tmp_path / "out")
    assert list(content(tmp_path / "out")) == ["0.tsv", "1.tsv", "3.tsv", "4.tsv"]
    (tables / "3.tsv").unlink()
    (tmp_path / "2.tsv").rename(tables / "2.tsv")
    with pytest.raises(RecipeError, match=r"1 of 5 files .*\n.*3\.tsv: cannot be read: No such"):
        asked_for(run, tables, tmp_path / "out")


@pytest.mark.thorough
def test_a_table_that_changes_while_it_is_answered_is_answered_again(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*given: Any, **named: Any) -> int:
        rows = trivium.predict_file(*given, **named)
        if given[2].name == "1.tsv":
            given[2].write_text("id\ttext\n9\tgood cat\n")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(answering, "predict_file", changed)
        assert asked_for(run, tables, tmp_path / "out")["rows"] == 40
    again = asked_for(run, tables, tmp_path / "out", overwrite=True)
    assert again == {"files": 1, "rows": 1, "skipped": 4}


# --- which files -------------------------------------------------------------------------------


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(*sources: Path | str, out: Path | str) -> list[str]:
    return [part.name for part in parts_of(sources, out)]


def test_files_folders_and_patterns_say_which_tables_are_meant(tmp_path: Path) -> None:
    make(tmp_path, "a/x.csv", "a/y.parquet", "a/.hidden.csv", "a/notes.md", "a/b/z.jsonl", "w.xlsx")
    out = tmp_path / "out"
    assert names(tmp_path / "a", out=out) == ["x.csv", "y.parquet"]
    assert names(f"{tmp_path}/a/*.csv", out=out) == ["x.csv"]
    assert names(f"{tmp_path}/**/*.*[vl]", out=out) == ["a/b/z.jsonl", "a/x.csv"]
    assert names(tmp_path / "w.xlsx", tmp_path / "a" / "x.csv", out=out) == ["w.csv", "x.csv"]
    make(tmp_path, "a/out/x.csv")  # answers of an earlier call
    assert names(f"{tmp_path}/a/**/*.csv", out=tmp_path / "a" / "out") == ["x.csv"]
    make(tmp_path, "odd[1].csv")
    assert not are_many([str(tmp_path / "odd[1].csv")])  # a file of that name is no pattern
    assert are_many([tmp_path / "a"])
    assert are_many([f"{tmp_path}/*.csv"])
    assert not are_many(["-"])


def test_tables_below_the_folder_of_answers_are_answered(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = {"files": 5, "rows": 40, "skipped": 0}
    assert trivium.predict_files(run, "mood", "in", ".") == whole
    assert list(content(tmp_path)) == [f"{number}.tsv" for number in range(5)]
    assert trivium.predict_files(run, "mood", "in", ".") == whole | {
        "files": 0,
        "rows": 0,
        "skipped": 5,
    }
    assert names("in/*.tsv", out=".") == [f"{number}.tsv" for number in range(5)]


@pytest.mark.parametrize("out", ["a/out", "a/../a/out"])
def test_answers_of_earlier_calls_are_left_out_with_their_tables_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "a/x.csv", "a/out/x.csv", "a/out/gone.csv", "a/out/.done/gone.csv.json")
    assert names("a/**/*.csv", out=out) == ["x.csv"]
    with pytest.raises(RecipeError, match=r"holds answers only, of earlier calls with this --out"):
        names("a/out/gone.csv", out=out)
    make(tmp_path, "a/out/deeper/table.csv")
    assert names("a/**/*.csv", out=out) == ["out/deeper/table.csv", "x.csv"]


def test_answers_never_take_the_place_of_their_table(
    run: Path, tables: Path, tmp_path: Path
) -> None:
    before = content(tables)
    for sources in (tables, f"{tables}/*.tsv", f"{tmp_path}/in/**/*.tsv", tables.as_uri()):
        out = tables.as_uri() if str(sources).startswith("file:") else tables
        with pytest.raises(RecipeError, match=r"0\.tsv: its answers would take its place; name an"):
            trivium.predict_files(run, "mood", sources, out, overwrite=True)
    (tmp_path / "link").symlink_to(tables)
    with pytest.raises(RecipeError, match="would take its place"):
        names(tables, out=tmp_path / "link")
    assert content(tables) == before
    assert not (tables / ".done").exists()


def test_only_what_was_typed_is_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "desk [2024]*"
    make(home, "in/x.csv", "in/deep/y.csv", "z.csv")
    monkeypatch.chdir(home)
    out = tmp_path / "out"
    assert names("in/*.csv", out=out) == ["x.csv"]
    assert names("*.csv", out=out) == ["z.csv"]
    assert names("**/*.csv", out=out) == ["in/deep/y.csv", "in/x.csv", "z.csv"]
    assert names("./in/../i?/*.csv", out=out) == ["in/x.csv"]
    assert names(f"{home}/in/[xy].csv", out=out) == ["x.csv"]  # a folder of that name is there
    monkeypatch.chdir(home / "in")
    assert names("../*.csv", out=out) == ["z.csv"]
    assert [part.source for part in parts_of(["../*.csv"], out)] == [home / "z.csv"]


def test_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a/x.csv", "b/x.csv", "c/notes.md")
    with pytest.raises(RecipeError, match=r"b/x\.csv: its answers would be called x\.csv"):
        names(tmp_path / "a", tmp_path / "b", out=tmp_path / "out")
    with pytest.raises(RecipeError, match="no such table"):
        names(tmp_path / "nowhere.csv", out=tmp_path / "out")
    with pytest.raises(RecipeError, match="no table in it"):
        names(tmp_path / "c", out=tmp_path / "out")
    with pytest.raises(RecipeError, match="the ending"):
        names(tmp_path / "c" / "notes.md", out=tmp_path / "out")


def test_a_shard_is_one_of_as_many_as_there_are() -> None:
    assert shard_of("3/8") == (3, 8)
    for wrong in ("0/8", "9/8", "3", "a/b", "1/0"):
        with pytest.raises(RecipeError, match="the third of eight"):
            shard_of(wrong)


def test_many_tables_have_no_single_file_of_answers(run: Path, tables: Path) -> None:
    code, said = call("predict", run, "--task", "mood", "--file", tables)
    assert code == 2
    assert "in a folder; name it with --out" in said


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [("", "is a file; name a folder for the answers"), ("deeper", "no folder can be made in it")],
)
def test_a_file_in_the_place_of_the_folder_of_answers_is_refused(
    run: Path, tables: Path, tmp_path: Path, inside: str, wanted: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    out = tmp_path / "taken" / inside
    code, said = call("predict", run, "--task", "mood", "--file", tables, "--out", out)
    assert (code, wanted in said) == (2, True), said
    assert (tmp_path / "taken").read_text() == "mine"


def test_the_record_tells_what_the_answers_were_made_of(
    run: Path, tables: Path, tmp_path: Path
) -> None:
    asked_for(run, tables, tmp_path / "out")
    told = json.loads((tmp_path / "out" / ".done" / "1.tsv.json").read_text())
    assert told["rows"] == 8
    assert told["source"]["bytes"] == (tables / "1.tsv").stat().st_size
    assert told["answers"]["bytes"] == (tmp_path / "out" / "1.tsv").stat().st_size
    assert told["asked"]["task"] == "mood"
    assert len(told["asked"]["model"]) == 64
