"""DataFrames whose columns have other names, and other kinds of numbers, than a table's file could
have."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium.errors import RecipeError
from trivium.text.frames import columns_of, is_frame, is_missing, with_columns
from trivium.text.tables import open_table
from trivium.types import Row

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


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


def tables() -> dict[str, Any]:
    """Numbers of 32 bits, and one that is missing, in tables of every library."""
    numbers = [0.1, 0.7, None]
    arrow = pa.table({"grade": pa.array(numbers, pa.float32())})
    return {
        "pandas": pd.DataFrame({"grade": np.array([0.1, 0.7, np.nan], np.float32)}),
        "pandas' own": pd.DataFrame({"grade": pd.array(numbers, "Float32")}),
        "polars": pl.DataFrame({"grade": pl.Series(numbers, dtype=pl.Float32)}),
        "arrow": arrow,
        "arrays": {"grade": np.array([0.1, 0.7, np.nan], np.float32)},
        "numbers": [{"grade": np.float32(0.1)}, {"grade": np.float32(0.7)}, {"grade": None}],
        "halves": {"grade": np.array([0.1, 0.7, np.nan], np.float16)},
    }


@pytest.mark.parametrize("library", tables())
def test_a_number_of_few_bits_is_the_text_that_a_file_has_of_it(
    library: str, tmp_path: Path
) -> None:
    """0.1, not 0.10000000149011612: labels of a table are those of the same table in a file."""
    (given,) = columns_of(tables()[library], "t").values()
    assert given[:2] == [0.1, 0.7]
    assert is_missing(given[2])
    pq.write_table(tables()["arrow"], tmp_path / "t.parquet")
    rows = [row for row in open_table(tmp_path / "t.parquet") if isinstance(row, Row)]
    assert [row.cells["grade"] for row in rows] == [*map(str, given[:2]), ""]


def test_a_data_set_of_the_hub_gives_the_same() -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"grade": datasets.Value("float32"), "n": datasets.Value("int64")})
    found = columns_of(datasets.Dataset.from_dict({"grade": [0.1], "n": [3]}, features=kinds), "t")
    assert found == {"grade": [0.1], "n": [3]}
