"""`trivium init` on tables that are nearly what they should be: what it says of them is true."""

from pathlib import Path

import pytest

from tests.support.drafts import Rows, drafted, moods, only, table, texts
from tests.support.tables import sentence
from trivium.errors import RecipeError


def answered(folder: Path, column: str, cells: list[str], rows: int = 60) -> Path:
    """A table whose answers are these, again and again."""
    each = [[text, cells[n % len(cells)]] for n, text in enumerate(texts(rows))]
    return table(folder / "t.csv", ["text", column], each)


def tenths(count: int, end: str = "") -> list[str]:
    return [f"{n / 10}{end}" for n in range(count)]


def test_scores_with_a_word_for_nothing_are_scores_without_these_rows(tmp_path: Path) -> None:
    values, said = drafted(tmp_path, answered(tmp_path, "score", ["n/a", *tenths(29)]))
    assert only(values)["kind"] == "regression"
    assert only(values)["range"] == [0, 3]
    assert only(values)["bad_rows"] == "skip"
    assert "counts as a label" not in said
    assert "(bad_rows: skip)" in said


def test_stars_with_a_word_for_nothing_stay_in_order(tmp_path: Path) -> None:
    values, said = drafted(tmp_path, answered(tmp_path, "stars", ["10", "2", "1", "NaN"]))
    assert only(values)["kind"] == "ordinal"
    assert only(values)["labels"] == ["1", "2", "10"]
    assert only(values)["bad_rows"] == "skip"
    assert "3 numbers in order" in said


@pytest.mark.parametrize("cells", [["1", "1.0", "2", "3", "n/a"], ["01", "1", "2", "3", "-"]])
def test_a_number_in_order_that_is_written_in_two_ways_is_one(
    tmp_path: Path, cells: list[str]
) -> None:
    values, _ = drafted(tmp_path, answered(tmp_path, "stars", cells))
    assert only(values)["kind"] == "ordinal"
    assert only(values)["labels"] == [cells[0], "2", "3"]


def test_few_numbers_and_a_word_for_nothing_are_labels_that_are_told(tmp_path: Path) -> None:
    values, said = drafted(tmp_path, answered(tmp_path, "label", ["0", "1", "nan"]))
    assert only(values)["kind"] == "classification"
    assert "'nan' counts as a label; empty the cell if it is none" in said


def test_words_for_nothing_alone_are_no_numbers(tmp_path: Path) -> None:
    values, _ = drafted(tmp_path, answered(tmp_path, "stars", ["nan", "n/a", "-"]))
    assert only(values)["kind"] == "classification"


@pytest.mark.parametrize("end", ["%", "€", ",0"])
def test_numbers_that_are_written_with_a_sign_are_labels_that_are_told(
    tmp_path: Path, end: str
) -> None:
    cells = [f"{n}{end}" for n in range(30)]
    values, said = drafted(tmp_path, answered(tmp_path, "score", cells), label=["score"])
    assert only(values)["kind"] == "classification"
    assert f"column 'score' has 30 labels, since '0{end}' is no number; for scores write" in said


def test_names_of_many_labels_are_not_taken_for_numbers(tmp_path: Path) -> None:
    cells = [f"room {n}" for n in range(30)]
    assert "no number" not in drafted(tmp_path, answered(tmp_path, "label", cells))[1]


def test_labels_that_are_one_count_once(tmp_path: Path) -> None:
    values, said = drafted(tmp_path, answered(tmp_path, "label", ["yes", "Yes", "no", "NO "]))
    assert "by 'label', 2 labels" in said
    assert "# 2 labels" in (tmp_path / "recipe.yaml").read_text()
    assert len(only(values)["train"]["relabel"]) == 2


def test_what_is_not_held_out_is_not_said_to_be(tmp_path: Path) -> None:
    _, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "mood"], moods(3)))
    assert "too few rows to hold some out" in said
    assert "are held out" not in said


def test_several_columns_that_are_not_used_are_named_in_a_sentence(tmp_path: Path) -> None:
    rows: Rows = [[t, n % 2, n % 3, n % 2, n % 2] for n, t in enumerate(texts(60))]
    columns = ["comment_text", "toxic", "obscene", "threat", "insult"]
    _, said = drafted(tmp_path, table(tmp_path / "t.csv", columns, rows))
    assert "stands in 'toxic'; 'obscene', 'threat' and 'insult' are not used" in said


@pytest.mark.parametrize(
    "names",
    [
        ("source_text", "target_text"), ("left title", "right title"), ("first", "second"),
        ("claim", "evidence"), ("hypothesis", "premise"), ("context", "question"),
    ],
)  # fmt: skip
def test_a_pair_is_known_by_the_sides_of_its_names(tmp_path: Path, names: tuple[str, str]) -> None:
    rows: Rows = [[t, sentence(3 * n), n % 2] for n, t in enumerate(texts(60))]
    values, _ = drafted(tmp_path, table(tmp_path / "t.csv", [*names, "label"], rows))
    assert only(values)["text"] == list(names)


@pytest.mark.parametrize(
    "names", [("title", "body"), ("left_title", "right_body"), ("source", "text")]
)
def test_two_texts_whose_names_differ_otherwise_are_no_pair(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    rows: Rows = [[t, sentence(3 * n), n % 2] for n, t in enumerate(texts(60))]
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", [*names, "label"], rows))
    assert isinstance(only(values)["text"], str)
    assert "is not read" in said


# --- what is refused -----------------------------------------------------------------------------
def lines(folder: Path, *rows: str) -> Path:
    (folder / "t.csv").write_text("".join(f"{row}\n" for row in ("text,label", *rows)))
    return folder / "t.csv"


def test_a_table_of_which_no_row_can_be_read_is_not_said_to_have_none(tmp_path: Path) -> None:
    file = lines(tmp_path, "well, a fine day,up", "no, a dog,down")
    with pytest.raises(RecipeError, match=r"t.csv:2: none of its 2 rows can be read; .* 3 cells"):
        drafted(tmp_path, file)
    with pytest.raises(RecipeError, match=r"t.csv:2: its only row cannot be read: has 3 cells"):
        drafted(tmp_path, lines(tmp_path, "well, a fine day,up"))


def test_rows_that_cannot_be_read_are_named_where_answers_are_missing(tmp_path: Path) -> None:
    """All rows of one label have a comma too many."""
    rows = [f"{text},up" if n % 3 else f"well, {text},down" for n, text in enumerate(texts(30))]
    with pytest.raises(RecipeError) as told:
        drafted(tmp_path, lines(tmp_path, *rows))
    assert "'label' holds one value only" in str(told.value)
    assert "10 rows were not looked at: line 2 has 3 cells" in str(told.value)


def test_numbers_with_a_comma_are_named_where_answers_are_missing(tmp_path: Path) -> None:
    cells = [f"{n // 10},{n % 10}" for n in range(60)]
    with pytest.raises(RecipeError, match=r"'Note' holds cells such as '0,0'; for scores write"):
        drafted(tmp_path, answered(tmp_path, "Note", cells))
