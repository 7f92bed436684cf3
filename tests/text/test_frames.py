"""DataFrames whose columns have other names than a table's file could have."""

import pytest

from trivium.errors import RecipeError
from trivium.text.frames import columns_of, is_frame, with_columns

pd = pytest.importorskip("pandas")


def test_columns_that_are_numbers_or_levels_are_named_as_they_are_written() -> None:
    numbered = pd.DataFrame([["a", "b"], ["c", "d"]])
    assert columns_of(numbered, "t") == {"0": ["a", "c"], "1": ["b", "d"]}
    assert list(with_columns(numbered, {"p": [1, 2]}, {"p": 1}).columns) == [0, 1, "p"]
    levels = pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("review", "x")]))
    assert columns_of(levels, "t") == {"('review', 'x')": ["a"]}


def test_two_columns_of_one_name_are_refused_by_that_name() -> None:
    twice = pd.DataFrame([["a", "b", "c"]], columns=["text", "label", "text"])
    for use in (lambda: columns_of(twice, "t"), lambda: is_frame(twice)):
        with pytest.raises(RecipeError, match=r"two columns of one name \('text'\); rename one"):
            use()
    with pytest.raises(RecipeError, match="two columns of one name"):
        columns_of(pd.DataFrame([["a", "b"]], columns=[0, "0"]), "t")
