"""What was said of a row is remembered in little memory, however many rows a table has."""

import gc
import os
import random
import tracemalloc
from collections import OrderedDict
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trivium
from tests.support.shell import call
from tests.support.tables import make_recipe, sentence
from trivium.answering.says import Floats
from trivium.recipe import parse_recipe
from trivium.run.assembly.machine import keep_memory
from trivium.run.predictor.remembered import Remembered
from trivium.run.predictor.trained import load_trained

Rows = list[tuple[str, ...]]


def said_of(rows: Rows, when: int) -> Floats:
    """Another answer each time: whoever remembers gives the first."""
    return np.array([[len(row[0]), when, hash(row) % 97] for row in rows], np.float32)


class Plain:
    """The same rule, written with a dictionary of rows."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: OrderedDict[tuple[str, ...], Floats] = OrderedDict()

    def asked(self, rows: Rows) -> Rows:
        return list(dict.fromkeys(row for row in rows if row not in self.known))

    def answered(self, rows: Rows, new: Rows, said: Floats) -> Floats:
        self.known.update(zip(new, said, strict=True))
        found = np.stack([self.known[row] for row in rows])
        while len(self.known) > self.most:
            self.known.popitem(last=False)
        return found


@pytest.mark.parametrize(("most", "kinds"), [(1, 3), (7, 20), (10, 9), (40, 60), (1000, 60)])
def test_rows_are_remembered_and_forgotten_as_by_a_dictionary(most: int, kinds: int) -> None:
    rng = random.Random(most)
    remembered, plain = Remembered(most), Plain(most)
    for when in range(60):
        numbers = [rng.randrange(kinds) for _ in range(rng.randrange(1, 12))]
        rows: Rows = [("a" * n, "b") if n % 2 else ("b" * n,) for n in numbers]
        recalled = remembered.recall(rows)
        assert recalled.new == plain.asked(rows)
        said = said_of(recalled.new, when)
        wanted = plain.answered(rows, recalled.new, said)
        found = remembered.answered(recalled, said if recalled.new else None)
        np.testing.assert_array_equal(found, wanted)


def test_texts_are_told_apart_wherever_one_ends_and_the_next_begins() -> None:
    rows: Rows = [
        ("ab", "c"),
        ("a", "bc"),
        ("ab1:c",),
        ("ab", "1:c"),
        ("", "ab"),
        ("ab", ""),
        ("\ud800",),
    ]
    remembered = Remembered()
    recalled = remembered.recall(rows)
    assert recalled.new == rows
    remembered.answered(recalled, said_of(rows, 0))
    again = remembered.recall(rows[::-1])
    assert again.new == []
    np.testing.assert_array_equal(remembered.answered(again, None), said_of(rows[::-1], 0))


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remembered")
    values: dict[str, Any] = make_recipe(tiny, folder)
    values |= {"stages": [{"steps": 1, "batch_size": 8}]}
    trivium.train(parse_recipe(values), folder / "run", console=Console(file=StringIO()))
    return folder / "run"


@pytest.mark.thorough
def test_six_times_as_many_rows_take_no_more_memory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.run.predict.ROWS_AT_ONCE", 64)
    predictor = load_trained(run)

    def peak(rows: int) -> int:
        source = tmp_path / f"{rows}.csv"
        lines = (f"{n},{sentence(n)} {sentence(n // 7)}\n" for n in range(rows))
        source.write_text("id,text\n" + "".join(lines))
        gc.collect()
        tracemalloc.start()
        trivium.predict_file(predictor, "mood", source, tmp_path / f"{rows}.out.csv")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(64)  # what is computed once and kept
    few, many = peak(500), peak(3000)
    assert (
        many - few < 250_000
    )  # bytes; each row's text, with what holds it, would be four times that


def test_a_command_that_only_answers_keeps_fewer_kernels_than_a_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    for name in caches:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert call("predict", "nowhere", "--all", "--file", "in.csv")[0] == 2
    told = [int(os.environ[name]) for name in caches]
    for name in caches:
        monkeypatch.delenv(name)
    keep_memory.__wrapped__()
    assert told < [int(os.environ[name]) for name in caches]
