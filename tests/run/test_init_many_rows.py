"""`trivium init` on files of more rows than it keeps: what it says is true of all of them."""

from pathlib import Path

import pytest

from tests.support.drafts import drafted, moods, only, table, texts
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.drafting import files, rest
from trivium.run.drafting.columns import Column
from trivium.run.drafting.rest import Rest
from trivium.run.rows.load import load_data

KEPT = 40


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_ROWS", KEPT)


def test_a_range_is_of_the_scores_of_all_rows(tmp_path: Path) -> None:
    scores = [n / 16 for n in range(KEPT)] + [3.5, 4.5] * 10
    rows = list(zip(texts(len(scores)), scores, strict=True))
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "score"], rows))
    assert only(values)["range"] == [0, 5]
    assert "bad_rows" not in only(values)
    assert f"{len(rows)} rows" in said


def test_a_file_that_is_sorted_by_split_is_trained_on_as_it_says(tmp_path: Path) -> None:
    split = ["train"] * (KEPT + 10) + ["dev"] * 8 + ["test"] * 6
    rows = [[*row, name] for row, name in zip(moods(len(split)), split, strict=True)]
    rows[-1][1] = "Up"  # a spelling that only test has
    file = table(tmp_path / "t.csv", ["text", "mood", "split"], rows)
    values, _ = drafted(tmp_path, file)
    for name in ("train", "dev", "test"):
        assert only(values)[name]["where"] == {"split": name}
    assert only(values)["test"]["relabel"] == {"Up": "up"}
    assert "relabel" not in only(values)["train"]
    _, data = load_data(parse_recipe(values | {"data": str(tmp_path)}))
    (splits,) = data.values()
    assert {name: len(each.examples) for name, each in splits.items()} == {
        "train": KEPT + 10, "dev": 8, "test": 6,
    }  # fmt: skip


def test_labels_and_empty_cells_are_counted_in_all_rows(tmp_path: Path) -> None:
    rows = moods(KEPT) + [[text, "sideways"] for text in texts(9, KEPT)] + [["a last one", ""]]
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "mood"], rows))
    assert "by 'mood', 3 labels" in said
    assert only(values)["missing_labels"] == "allow"
    assert "column 'mood': 1 cell is empty" in said


@pytest.mark.parametrize(("word", "is_told"), [("train", True), ("test", True), ("all", False)])
def test_a_column_that_says_the_same_split_of_every_row_is_told(
    tmp_path: Path, word: str, is_told: bool
) -> None:
    rows = [[*row, word] for row in moods(60)]
    _, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "mood", "split"], rows))
    assert (f"column 'split' says '{word}' of every row, so it holds none out" in said) is is_told


def test_a_column_that_says_what_the_file_s_name_does_needs_no_words(tmp_path: Path) -> None:
    both = [
        table(
            tmp_path / f"t-{split}.csv",
            ["text", "mood", "split"],
            [[*row, split] for row in moods(30, first)],
        )
        for split, first in (("train", 0), ("dev", 30))
    ]
    _, said = drafted(tmp_path, *both)
    assert "of every row" not in said


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = table(tmp_path / "t.csv", ["text", "mood"], moods(9))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RecipeError, match=r"t\.csv: cannot be read \(Permission denied\)\. Check"):
        drafted(tmp_path, file)


def test_of_many_numbers_their_range_is_kept_and_what_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rest, "MOST_CELLS", 5)
    counted = Rest(Column("score", ["1", "2"]))
    for cell in ["7", "x", "n/a", "-3", "4", "5", "6", "8", "", "9", "10"]:
        counted.add(cell)
    column = counted.column
    assert {"-3", "10", "x", "n/a"} <= column.counts.keys()
    assert len(counted.counts) <= 7
    assert column.empty == 1
    words = Rest(Column("mood", ["a", "b"]))
    for n in range(20):
        words.add(f"word {n}")
    assert len(words.counts) == 6
