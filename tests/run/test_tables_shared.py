"""A big table that several processes of a machine want at once is read, and cut, by one of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.rows import big, shelf, tokens
from trivium.run.rows.arrays import Array, write_arrays
from trivium.run.rows.blocks import Job
from trivium.run.rows.load import load_data
from trivium.run.rows.reading import Outcome, read_blocks, remove_unfinished
from trivium.run.rows.shelf import alone_with
from trivium.run.rows.stored import StoredRows
from trivium.run.rows.tokens import mapped_tokens
from trivium.text.tokenizer import Tokenizer
from trivium.types import Example

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(shelf.PLACE, str(tmp_path / "cache"))
    monkeypatch.setenv(big.BIG_HERE, "0")
    monkeypatch.setattr(big, "BLOCK_BYTES", 300)
    lines = (f"good text {n},{'ab'[n % 2]}" for n in range(60))
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]))


def rows_of(folder: Path) -> StoredRows:
    task = {"kind": "classification", "text": "text", "label": "label", "train": "t.csv"}
    recipe = parse_recipe({"data": str(folder), "tasks": {"it": task}})
    rows = load_data(recipe)[1]["it"]["train"].examples
    assert isinstance(rows, StoredRows)
    return rows


class Second:
    """Another reader, which comes in the midst of the first one's work."""

    def __init__(self, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.waits = False, threading.Event()
        self.thread = threading.Thread(target=do)
        waiting = self.waits

        def told(folder: Path, on_wait: Callable[[], object]) -> AbstractContextManager[None]:
            def heard() -> None:
                waiting.set()
                on_wait()

            return alone_with(folder, heard)

        monkeypatch.setattr(big, "alone_with", told)
        monkeypatch.setattr(tokens, "alone_with", told)

    def comes(self) -> None:
        """Once, and the first goes on when the second waits for it, or is done without waiting."""
        if self.came:
            return
        self.came = True
        self.thread.start()
        while not self.waits.wait(0.01) and self.thread.is_alive():
            pass


def test_who_comes_second_finds_what_the_first_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[Example]] = []
    second = Second(lambda: found.append(list(rows_of(tmp_path))), monkeypatch)
    read: list[int] = []

    def counted(jobs: Sequence[Job], on_read: Callable[[Job], object]) -> list[Outcome]:
        second.comes()
        read.append(len(jobs))
        return read_blocks(jobs, on_read)

    monkeypatch.setattr(big, "read_blocks", counted)
    rows = rows_of(tmp_path)
    second.thread.join(PATIENCE_S)
    assert read == [len(rows.blocks), 0]
    assert found == [list(rows)]
    assert len(rows) == 60


def test_who_comes_second_finds_the_word_pieces_too(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, tokenizer, found = rows_of(tmp_path), Tokenizer(tiny), []
    second = Second(lambda: found.append(mapped_tokens(rows, tokenizer, "it", None)), monkeypatch)
    written: list[Path] = []

    def counted(path: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        second.comes()
        written.append(path)
        write_arrays(path, arrays, facts)

    monkeypatch.setattr(tokens, "write_arrays", counted)
    pieces = mapped_tokens(rows, tokenizer, "it", None)
    second.thread.join(PATIENCE_S)
    assert len(written) == len(set(written)) == len(rows.blocks)
    (other,) = found
    for row in (0, 31, 59):
        assert other.several([row])[0].tolist() == pieces.several([row])[0].tolist()


KILLED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from trivium.run.rows.arrays import write_arrays

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as it is but for Python
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_arrays(Path(sys.argv[1]), {"a": np.zeros(10_000)}, {})
"""
"""A process that the system ends in the midst of its write."""


def test_what_a_killed_writer_was_writing_is_swept_by_the_next(tmp_path: Path) -> None:
    home = tmp_path / "table"
    home.mkdir()
    ended = subprocess.run([sys.executable, "-c", KILLED, home / "00000.rows"], check=False)
    assert ended.returncode == -signal.SIGXFSZ
    assert list(home.iterdir())
    remove_unfinished(home)
    assert not list(home.iterdir())


def test_a_size_that_is_no_number_of_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(big.BIG_HERE, "32M")
    with pytest.raises(RecipeError, match="TRIVIUM_BIG_TABLE=32M: is a number of bytes, such as 3"):
        rows_of(tmp_path)
    monkeypatch.setenv(big.BIG_HERE, " 0 ")
    assert len(rows_of(tmp_path)) == 60


def test_big_tables_of_several_tasks_stay_however_much_they_are_together(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"kind": "classification", "text": "text", "label": "label"}
    files = {"one": "t.csv", "two": "u.csv"}
    (tmp_path / "u.csv").write_text((tmp_path / "t.csv").read_text().replace("good", "other"))
    (shelf.shelf("of before") / "file").write_bytes(bytes(1000))
    monkeypatch.setattr(shelf, "MOST_BYTES", 1000)  # less than either of them
    tasks = {name: task | {"train": file} for name, file in files.items()}
    _, data = load_data(parse_recipe({"data": str(tmp_path), "tasks": tasks}))
    for name in files:
        rows = data[name]["train"].examples
        assert isinstance(rows, StoredRows)
        mapped_tokens(rows, Tokenizer(tiny), name, None)
        assert len(list(rows)) == 60
    left = [path.name for path in (tmp_path / "cache" / "tables").iterdir()]
    assert len(left) == 2
    assert "of before" not in left


def test_a_table_that_another_process_uses_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MOST_BYTES", 0)
    monkeypatch.setattr(shelf, "_IN_USE", {})
    used, other = shelf.own_shelf("used"), shelf.shelf("other")
    for folder in (used, other):
        (folder / "file").write_bytes(bytes(10))
    # Such a lock keeps away everybody who opens the file anew, this process, too.
    shelf.make_room(set())
    assert (used / "file").exists()
    assert not other.exists()
    os.close(shelf._IN_USE.pop(used))  # as the system does at a process's end
    shelf.make_room(set())
    assert not used.exists()
    assert shelf.own_shelf("used").is_dir()
