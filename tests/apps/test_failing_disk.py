"""Studies and searches on a disk that has no room: one message, and what was there stays whole."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import trivium
from tests.support.limits import files_up_to
from tests.support.searches import SPACE, run_by_hand, worker
from tests.support.shell import spoken
from tests.support.studies import finish_by_hand
from tests.support.thorough import some_of
from trivium.apps.tune.search import tune


def contents(folder: Path) -> dict[Path, bytes]:
    """Of all files but Optuna's own log, into which every look at a search goes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "journal.log")
    return {path: path.read_bytes() for path in files}


def test_a_table_of_a_study_that_cannot_be_written_is_as_it_was(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    recipe, out = tmp_path / "base.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(recipe_values))
    finish_by_hand(recipe, out, 0, {"mood": 0.5, "same": 0.5, "near": 0.25}, {})
    trivium.study([recipe], out, seeds=1, console=spoken()[0])
    finish_by_hand(recipe, out, 1, {"mood": 0.7, "same": 0.5, "near": 0.25}, {})
    before = contents(out)
    with files_up_to(100), pytest.raises(trivium.NotWrittenError) as told:
        trivium.study([recipe], out, seeds=2, console=spoken()[0])
    assert f"{out}: File too large ({out / 'table.json'})" in str(told.value)
    assert f"go on with: trivium study {recipe}" in str(told.value)
    assert contents(out) == before
    trivium.study([recipe], out, seeds=2, console=spoken()[0])
    assert contents(out) != before


@pytest.mark.parametrize("room", some_of([10, 12_000], (12_000).__eq__))
def test_results_and_pictures_of_a_search_that_cannot_be_written_are_as_they_were(
    room: int, recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    """In the second case there is room for tables, and for no picture."""
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    search = {"trials": 2, "space": SPACE}
    recipe.write_text(yaml.safe_dump(recipe_values | {"search": search}))
    run_by_hand(worker(recipe, out), lambda number: 0.1 * number)
    tune(recipe, out, storage="journal", console=spoken()[0])
    assert (out / "history.png").stat().st_size > 12_000
    before = contents(out)
    with files_up_to(room), pytest.raises(trivium.NotWrittenError) as told:
        tune(recipe, out, storage="journal", console=spoken()[0])
    assert f"{out}: File too large" in str(told.value)
    assert ("the same command goes on" in str(told.value)) == (room == 10)
    assert (f"go on with: trivium tune {recipe}" in str(told.value)) == (room > 10)
    assert ("history.png" in str(told.value)) == (room > 10)
    assert contents(out) == before
