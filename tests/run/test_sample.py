"""A sample of a task's rows: always the same, of good and labelled ones, and all accounted for."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.tables import sentence, write_table
from trivium.errors import RecipeError
from trivium.parts.tasks import Classification
from trivium.recipe import Recipe, parse_recipe
from trivium.run.rows.load import load_data
from trivium.run.rows.sample import sample
from trivium.run.rows.splits import Split


def recipe(folder: Path, rows: int | None, **settings: Any) -> Recipe:
    moods = ["up" if number % 5 else "down" for number in range(40)]
    cells: list[list[object]] = [[sentence(n), mood] for n, mood in enumerate(moods)]
    cells[3][1] = ""  # unlabelled
    write_table(folder / "rows.tsv", ["text", "mood"], [*cells, ["last", "rare"]])
    task = {"kind": "classification", "text": "text", "label": "mood"} | settings
    task |= {"missing_labels": "allow", "train": {"file": "rows.tsv", "rows": rows}}
    return parse_recipe({"data": str(folder), "tasks": {"mood": task}})


def train(found: Recipe) -> Split:
    return load_data(found)[1]["mood"]["train"]


@given(st.integers(0, 60), st.integers(1, 70), st.integers(1, 70))
def test_a_smaller_sample_is_part_of_a_larger_one_and_both_keep_the_order(
    rows: int, one: int, two: int
) -> None:
    small, large = sample(range(rows), min(one, two)), sample(range(rows), max(one, two))
    assert small == sorted(set(small))
    assert len(small) == min(rows, one, two)
    assert set(small) <= set(large)
    assert sample(range(rows), None) == list(range(rows))


def test_a_sample_is_drawn_from_the_whole_file_and_never_changes() -> None:
    assert max(sample(range(1000), 100)) > 500
    # A run of an older version is judged on the rows that it was judged on before.
    assert sample(range(40), 8) == [2, 3, 4, 11, 23, 24, 27, 34]


def test_a_sample_is_no_matter_of_the_seed_and_knows_its_lines(tmp_path: Path) -> None:
    few = train(recipe(tmp_path, 10))
    other = train(recipe(tmp_path, 10).model_copy(update={"seed": 5}))
    assert few.examples == other.examples
    whole = {example.line: example for example in train(recipe(tmp_path, None)).examples}
    assert all(whole[example.line] == example for example in few.examples)
    assert [e.line for e in few.examples] == sorted(e.line for e in few.examples)


def test_every_row_is_accounted_for_and_only_labelled_ones_count(tmp_path: Path) -> None:
    few = train(recipe(tmp_path, 10))
    assert (len(few.examples), few.labelled, few.unlabelled, few.rows) == (10, 40, 1, 41)
    assert few.is_sample
    enough = train(recipe(tmp_path, 40))
    assert (len(enough.examples), enough.is_sample) == (40, False)


def test_labels_and_bad_rows_are_found_in_the_whole_file(tmp_path: Path) -> None:
    found, data = load_data(recipe(tmp_path, 2))
    assert isinstance(task := found.tasks["mood"], Classification)
    assert task.names == ["down", "rare", "up"]
    assert len(data["mood"]["train"].examples) == 2
    with pytest.raises(RecipeError, match=r"rows.tsv:42: .*'rare'"):
        load_data(recipe(tmp_path, 2, labels=["down", "up"]))


def test_a_label_outside_the_sample_cannot_be_balanced(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has the label .*Or use more than 2 of its rows\."):
        load_data(recipe(tmp_path, 2, class_weights="balanced"))


def test_the_preview_says_that_it_is_a_sample(tiny: Path, tmp_path: Path) -> None:
    said = StringIO()
    found = recipe(tmp_path, 10).model_copy(update={"encoder": str(tiny)})
    trivium.check(found, Console(file=said, width=200))
    assert "train 10 of 40" in said.getvalue()
    assert "10 of 41 rows, a sample" in said.getvalue()
