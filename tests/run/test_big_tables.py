"""Tables that are read into files: the same rows, runs and errors as in memory."""

import dataclasses
import errno
import os
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from rich.console import Console

from tests.support.facts import facts
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.baselines.find import usual_of
from trivium.run.check import check
from trivium.run.rows import big, encoded, reading, shelf
from trivium.run.rows.arrays import Array, read_arrays, write_arrays
from trivium.run.rows.blocks import Job, read_block
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Data
from trivium.run.rows.stored import StoredRows, joined
from trivium.run.train import train
from trivium.run.training import loop, step
from trivium.text.parts import TornError, cut_file
from trivium.text.tables import open_table

Values = dict[str, Any]
CLASSES = {"kind": "classification", "text": "text", "label": "label"}
WRITTEN = [
    'one, "two"', "lines\nin a cell, of prose", "naïve café", "three", " four ", "five", "THREE",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(shelf.PLACE, str(tmp_path / "cache"))
    monkeypatch.setattr(big, "BLOCK_BYTES", 300)
    return tmp_path / "cache"


@pytest.fixture
def in_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether training files of any size are read into files from now on."""
    return lambda wanted: monkeypatch.setenv(big.BIG_HERE, "0" if wanted else str(10**12))


Ways = Callable[[bool], None]


def both(task: Values, folder: Path, in_files: Ways) -> tuple[Any, Any]:
    """What is loaded of one task's files, or what is said of them: in memory, and from files."""
    found: list[Any] = []
    for wanted in (False, True):
        in_files(wanted)
        recipe = parse_recipe({"data": str(folder), "tasks": {"it": task}})
        try:
            loaded, data = load_data(recipe)
        except RecipeError as error:
            found.append(str(error))
        else:
            assert isinstance(data["it"]["train"].examples, StoredRows) == wanted
            found.append((loaded, told(data)))
    return found[0], found[1]


def told(data: Data) -> dict[str, Any]:
    """All of some splits that can be compared."""
    return {
        name: (
            list(split.examples),
            list(split.targets),
            split.characters,
            sorted(split.twins.tolist()),
            split.drawn,
            [dataclasses.replace(file, table=file.table.name) for file in split.files],  # type: ignore[arg-type]
        )
        for name, split in data["it"].items()
    }


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in '",\n') else cell


def write_csv(path: Path, labels: Sequence[str], rows: int = 60, end: str = "\n") -> None:
    draw = random.Random(3)
    lines = ["id,text,label,part"]
    for number in range(rows):
        text = draw.choice(WRITTEN) + (f" {number}" if number % 3 else "")
        lines.append(f"{number},{quoted(text)},{quoted(draw.choice(labels))},{number % 2}")
    path.write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


# --- the same run --------------------------------------------------------------------------------


def test_a_run_from_files_is_the_run_from_memory(
    recipe_values: Values, tmp_path: Path, in_files: Ways
) -> None:
    """Of labels, scores and several labels, of texts and pairs, with dev rows that are drawn."""
    mood = recipe_values["tasks"]["mood"]
    tasks = recipe_values["tasks"] | {"mood": mood | {"dev": 0.3}}
    tasks |= {"tags": mood | {"kind": "multilabel"}}
    values = recipe_values | {"train_rows": 20, "tasks": tasks}
    values |= {"stages": [recipe_values["stages"][0] | {"steps": 8}]}
    said, known = {}, {}
    for wanted in (False, True):
        in_files(wanted)
        run, screen = tmp_path / f"run-{wanted}", StringIO()
        scores = train(values, run, console=Console(file=screen, width=150))
        said[wanted] = screen.getvalue().partition("the first step")[0]
        known[wanted] = scores["baselines"]
    one, two = tmp_path / "run-False", tmp_path / "run-True"
    assert facts(one) == facts(two)
    for name in ("recipe.yaml", "data.json", "predictions/mood-dev.csv", "model/trivium.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert said[True] == said[False]
    assert known[True] == known[False]
    assert "mood train: " in said[True]


@pytest.mark.thorough
def test_a_run_from_files_goes_on_as_if_never_stopped(
    recipe_values: Values, tmp_path: Path, in_files: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(True)
    changes, quiet = ["stages.0.steps=4", "stages.0.checkpoint_every=2"], Console(quiet=True)
    train(recipe_values, tmp_path / "whole", changes=changes, console=quiet)
    real = step.train_step

    def die(setup: Any, stage: Any, plan: Any, state: Any) -> Any:
        if state.counters.step == 3:
            raise KeyboardInterrupt
        return real(setup, stage, plan, state)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", die)
        with pytest.raises(KeyboardInterrupt):
            train(recipe_values, tmp_path / "halves", changes=changes, console=quiet)
    train(recipe_values, tmp_path / "halves", changes=changes, console=quiet, resume=True)
    assert facts(tmp_path / "whole") == facts(tmp_path / "halves")


# --- the same rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 40, 300, 10**6])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["a", "b", "c"], CLASSES),
        (["a", "b", "1.0", "2"], CLASSES | {"class_weights": "balanced"}),
        (["1.0", "2", "3"], CLASSES | {"kind": "ordinal"}),
        (["a", "A", " b"], CLASSES | {"train": {"file": "t.csv", "relabel": {"A": "a"}}}),
        (["a", "b"], CLASSES | {"train": {"file": "t.csv", "where": {"part": 1}, "rows": 7}}),
        (["a", "", "b"], CLASSES | {"missing_labels": "allow"}),
        (["a", "odd", "b"], CLASSES | {"labels": ["a", "b"], "bad_rows": "skip"}),
        (["a,b", "b", "", "[]"], CLASSES | {"kind": "multilabel", "empty_cell": "none_apply"}),
        (["0.25", "1", "1e-3"], CLASSES | {"kind": "regression"}),
        (["0.25", "x"], CLASSES | {"kind": "regression", "bad_rows": "skip"}),
        (["a", "b"], CLASSES | {"text": ["text", "id"]}),
        (["a", "b"], CLASSES | {"train": ["t.csv", {"file": "u.csv", "rows": 5}]}),
        (["a", "b"], CLASSES | {"dev": 0.2, "test": {"share": 0.3, "rows": 4}}),
        (["a", "b"], CLASSES | {"train": ["t.csv", "u.csv"], "dev": {"share": 0.4, "rows": 9}}),
        (["a", "b"], CLASSES | {"train": {"file": "t.csv", "rows": 9}, "test": 0.5}),
    ],
)
def test_rows_are_the_same(
    labels: list[str], task: Values, end: str, size: int, tmp_path: Path, in_files: Ways,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(big, "BLOCK_BYTES", size)
    write_csv(tmp_path / "t.csv", labels, end=end)
    write_csv(tmp_path / "u.csv", labels, rows=20)
    one, two = both({"train": "t.csv"} | task, tmp_path, in_files)
    assert one == two
    assert isinstance(one, tuple)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["a", "b", "c"], CLASSES | {"labels": ["a", "b", "c", "of no row"]}),
        (["a,b", "b"], CLASSES | {"kind": "multilabel"}),
        (["0.25", "0.7", "1e-3"], CLASSES | {"kind": "regression"}),
    ],
)
def test_the_usual_answer_is_the_same(
    labels: list[str], task: Values, tmp_path: Path, in_files: Ways
) -> None:
    write_csv(tmp_path / "t.csv", labels, rows=100)
    found = []
    for wanted in (False, True):
        in_files(wanted)
        values = {"data": str(tmp_path), "tasks": {"it": task | {"train": "t.csv"}}}
        recipe, data = load_data(parse_recipe(values))
        found.append(usual_of(recipe.tasks["it"], data["it"]["train"])[0].tolist())
    assert found[1][: len(found[0])] == found[0]
    assert not any(found[1][len(found[0]) :])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_rows_of_every_encoding_are_the_same(encoding: str, tmp_path: Path, in_files: Ways) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b"])
    text = (tmp_path / "t.csv").read_text("utf-8")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    source = {"file": "t.csv"} | ({} if "-8" in encoding else {"encoding": encoding})
    one, two = both(CLASSES | {"train": source}, tmp_path, in_files)
    assert one == two
    assert isinstance(one, tuple)


def test_json_lines_are_the_same(tmp_path: Path, in_files: Ways) -> None:
    lines = [f'{{"text": "text {n}", "label": {n % 3}}}\n' for n in range(50)]
    (tmp_path / "t.jsonl").write_text("".join(lines), encoding="utf-8")
    one, two = both(CLASSES | {"train": "t.jsonl"}, tmp_path, in_files)
    assert one == two
    assert isinstance(one, tuple)


def test_parquet_is_the_same(tmp_path: Path, in_files: Ways) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"text": [f"text {n}" for n in range(50)], "label": [n % 2 for n in range(50)]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    one, two = both(CLASSES | {"train": "t.parquet"}, tmp_path, in_files)
    assert one == two
    assert isinstance(one, tuple)


def test_a_quote_that_opens_nothing_tears_no_row(tmp_path: Path, in_files: Ways) -> None:
    """Counted, the lone quote makes the ends of all lines after it look as if within a cell, and
    those within one as if ends."""
    lines = ['5" disk,a', *(f'"line {n}, of prose\nand more, {n}",b' for n in range(40))]
    text = "text,label\n" + "".join(f"{line}\n" for line in lines)
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert len(cut_file(tmp_path / "t.csv", 300, quoted=True)) > 3
    one, two = both(CLASSES | {"train": "t.csv"}, tmp_path, in_files)
    assert one == two
    assert len(one[1]["train"][0]) == 41
    before = made(tmp_path / "cache")
    assert both(CLASSES | {"train": "t.csv"}, tmp_path, in_files)[1] == two
    assert made(tmp_path / "cache") == before


# --- the same errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "task"),
    [
        ({3: "x,y,z", 41: "only one"}, {}),
        ({0: "", 17: "", 30: ""}, {}),
        ({59: "", 58: ""}, {}),
        (dict.fromkeys(range(20, 45), ""), {}),
        ({5: '"never closed,a'}, {}),
        ({44: '"closed" and more,a'}, {}),
        ({2: "  ,a", 50: "text,"}, {}),
        ({2: "  ,a", 50: "text,odd"}, {"labels": ["a", "b"]}),
        (dict.fromkeys(range(20, 40), "t,odd"), {"labels": ["a", "b"]}),
        ({2: "x,1,2", 7: "t,odd", 9: ","}, {"labels": ["a", "b"], "bad_rows": "skip"}),
        ({}, {"train": {"file": "t.csv", "relabel": {"z": "a"}}}),
        ({}, {"train": {"file": "t.csv", "relabel": {"b": "odd"}}, "labels": ["a", "c"]}),
        ({}, {"label": "nowhere"}),
        ({}, {"train": {"file": "t.csv", "where": {"text": "nothing"}}}),
        ({}, {"dev": 1e-9}),
        ({}, {"kind": "ordinal"}),
    ],
)
def test_what_is_wrong_is_said_in_the_same_words(
    bad: dict[int, str], task: Values, tmp_path: Path, in_files: Ways,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(big, "BLOCK_BYTES", 40)  # so that some parts end with a blank line
    lines = [bad.get(n, f"some text {n},{'ab'[n % 2]}") for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    one, two = both(CLASSES | {"train": "t.csv"} | task, tmp_path, in_files)
    assert one == two
    assert isinstance(one, str) or "skip" in task.values() or 59 in bad


def test_bytes_that_are_no_text_are_told_by_their_line(tmp_path: Path, in_files: Ways) -> None:
    rows = b"".join(b"text %d,a\n" % n for n in range(100)) + b"caf\xe9,b\n"
    (tmp_path / "t.csv").write_bytes(b"text,label\n" + rows)
    one, two = both(CLASSES | {"train": "t.csv"}, tmp_path, in_files)
    assert one == two
    assert "t.csv:102: " in one


# --- kept, and going on --------------------------------------------------------------------------


def read(folder: Path) -> StoredRows:
    task = CLASSES | {"train": "t.csv"}
    recipe = parse_recipe({"data": str(folder), "tasks": {"it": task}})
    rows = load_data(recipe)[1]["it"]["train"].examples
    assert isinstance(rows, StoredRows)
    return rows


def made(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in cache.glob("tables/*/*")}


def test_blocks_that_are_there_are_not_read_again(
    tmp_path: Path, own_cache: Path, in_files: Ways
) -> None:
    in_files(True)
    write_csv(tmp_path / "t.csv", ["a", "b"])
    whole = list(read(tmp_path))
    before = made(own_cache)
    assert len(before) > 4
    assert made(own_cache) == before
    (table,) = (own_cache / "tables").iterdir()
    (table / "00001.rows").unlink()
    damaged = (table / "00003.rows").read_bytes()
    (table / "00003.rows").unlink()
    (table / "00003.rows").write_bytes(damaged[:-1])
    # A file that a process which is gone was writing is nobody's.
    left = table / "00001.rows.999999999.abcd.new"
    left.write_bytes(b"half")
    assert list(read(tmp_path)) == whole
    after = made(own_cache)
    assert after.keys() == before.keys()
    kept = {name for name in before if after[name] == before[name]}
    assert kept == before.keys() - {"00001.rows", "00003.rows"}


def test_another_content_is_another_table(tmp_path: Path, own_cache: Path, in_files: Ways) -> None:
    in_files(True)
    write_csv(tmp_path / "t.csv", ["a", "b"])
    first = read(tmp_path)
    text = (tmp_path / "t.csv").read_text("utf-8")
    (tmp_path / "t.csv").write_text(text.replace("five", "FIVE"), encoding="utf-8")
    second = read(tmp_path)
    assert first.key != second.key
    assert [e.texts for e in first] != [e.texts for e in second]
    assert len(list((own_cache / "tables").iterdir())) == 2


def test_what_is_not_to_be_kept_is_gone_with_the_process(
    tmp_path: Path, own_cache: Path, in_files: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(True)
    monkeypatch.setenv(shelf.PLACE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    write_csv(tmp_path / "t.csv", ["a", "b"])
    assert len(read(tmp_path)) == 60
    assert not own_cache.exists()
    assert not (tmp_path / "usual").exists()


def test_tables_that_are_too_much_go_the_oldest_first(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MOST_BYTES", 25)
    for age, name in enumerate("abc"):
        folder = shelf.shelf(name)
        (folder / "file").write_bytes(bytes(10))
        os.utime(folder, (1000 + age, 1000 + age))
    # As one that another process removes between the look into the folder and at what is in it.
    (own_cache / "tables" / "gone").symlink_to("nowhere")
    shelf.make_room({own_cache / "tables" / "a"})
    left = sorted(path.name for path in (own_cache / "tables").iterdir())
    assert left == ["a", "c", "gone"]


def test_a_file_of_arrays_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    arrays: dict[str, Array] = {
        "a": np.arange(5, dtype=np.int64),
        "b": np.asarray([7], np.uint16),
        "none": np.zeros(0, np.uint8),
    }
    write_arrays(tmp_path / "x", arrays, {"told": [1, "é"]})
    found = read_arrays(tmp_path / "x")
    assert found is not None
    assert found.facts == {"told": [1, "é"]}
    assert {name: found[name].tolist() for name in "ab"} == {"a": [0, 1, 2, 3, 4], "b": [7]}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    content = (tmp_path / "x").read_bytes()
    for damaged in (b"", content[:7], content[:40], content[:-1], content + b"x"):
        (tmp_path / "x").write_bytes(damaged)
        assert read_arrays(tmp_path / "x") is None


def test_where_nothing_can_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be written there .* TRIVIUM_CACHE"):
        write_arrays(tmp_path / "nowhere" / "x", {"a": np.zeros(3, np.int64)}, {})


def test_where_no_other_process_can_be_started_this_one_reads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    write_csv(tmp_path / "t.csv", ["a", "b"])
    values = CLASSES | {"train": "t.csv"}
    task = parse_recipe({"data": str(tmp_path), "tasks": {"it": values}}).tasks["it"]
    (source,) = task.sources("train")
    parts = cut_file(tmp_path / "t.csv", 200, quoted=True)
    jobs = [
        Job(task, tmp_path / "t.csv", source, part, tmp_path / f"{n}")
        for n, part in enumerate(parts)
    ]
    monkeypatch.setattr(reading, "_process", refused)
    monkeypatch.setattr(reading, "_others", lambda _: 2)
    found = reading.read_blocks(jobs, lambda _: None)
    assert sum(rows for rows in found if isinstance(rows, int)) == 60


@pytest.mark.thorough
@pytest.mark.whole_run
def test_another_process_reads_the_same_and_says_the_same(tmp_path: Path) -> None:
    lines = [*(f"text {n},{'ab'[n % 2]}" for n in range(60)), '"never closed,a', "more,b"]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    values = CLASSES | {"train": {"file": "t.csv", "relabel": {"a": "c"}}}
    task = parse_recipe({"data": str(tmp_path), "tasks": {"it": values}}).tasks["it"]
    parts = cut_file(tmp_path / "t.csv", 200, quoted=True)
    assert len(parts) == 3
    (source,) = task.sources("train")
    jobs = [
        Job(task, tmp_path / "t.csv", source, part, tmp_path / f"{n}", drawn=True)
        for n, part in enumerate([*parts, dataclasses.replace(parts[-1], last=parts[-1].last - 7)])
    ]
    (torn, broken), found = (jobs.pop(), jobs.pop()), []
    for some in (jobs, [torn], [broken]):  # after one that fails, nothing is read
        work = reading._Work(deque(enumerate(some)), [None] * len(some))
        with reading._beside(work, 1):
            pass  # this process reads nothing
        found += work.found
    assert all(isinstance(outcome, int) for outcome in found[:2])
    assert isinstance(found[2], TornError)
    assert isinstance(found[3], RecipeError)
    assert str(found[3]).startswith(f"{tmp_path / 't.csv'}:62: the quoted cell that opens here")
    for job in jobs:
        theirs = job.target.read_bytes()
        read_block(job)
        assert job.target.read_bytes() == theirs


# --- pieces of it --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 10**6])
def test_parts_are_a_file_s_lines_and_no_more(size: int, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b"])
    parts = cut_file(tmp_path / "t.csv", size, quoted=True)
    content = (tmp_path / "t.csv").read_bytes()
    assert b"".join(content[part.first : part.last] for part in parts) == content
    for part in parts:
        assert content[part.last - 1 : part.last] == b"\n"
        assert part.last - part.first >= size or part is parts[-1]
        assert part.line == 1 + content[: part.first].count(b"\n")
    table = open_table(tmp_path / "t.csv")
    assert [row for part in parts for row in table.within(part)] == list(table)


def test_rows_can_be_had_in_any_order(tmp_path: Path, in_files: Ways) -> None:
    in_files(True)
    write_csv(tmp_path / "t.csv", ["a", "b"])
    rows = read(tmp_path)
    whole = list(rows)
    order = np.random.default_rng(0).permutation(60)
    assert rows.examples(order) == [whole[place] for place in order]
    picked = joined([rows.pick(np.asarray([3, 50]), "two"), rows])
    assert list(picked) == [whole[3], whole[50], *whole]
    assert (picked[1], picked[-1], picked[1:3]) == (whole[50], whole[-1], [whole[50], whole[0]])
    with pytest.raises(IndexError):
        picked[62]


# --- what is told of it --------------------------------------------------------------------------


def test_of_a_big_table_lengths_are_told_of_a_sample(
    recipe_values: Values, in_files: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(True)
    monkeypatch.setattr(encoded, "LOOKED_AT", 10)
    screen = StringIO()
    preview = check(recipe_values, Console(file=screen, width=150))
    assert "of 10 rows" in screen.getvalue()
    assert "some 0" in screen.getvalue()
    assert len(preview.encoded["mood"].lengths()) == 10
    assert preview.repeated("mood") == 0
    assert "train 96" in screen.getvalue()


def test_the_first_step_s_time_is_told(recipe_values: Values, tmp_path: Path) -> None:
    screen = StringIO()
    changes = ["stages.0.steps=2"]
    scores = train(recipe_values, tmp_path / "run", changes=changes, console=Console(file=screen))
    cost = scores["cost"]
    assert cost["first_step_s"] > 0
    assert re.search(r"the first step was done \d+\.\d s after the start", screen.getvalue())
