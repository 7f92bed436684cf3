"""JSON lines: numbers keep their text, and each line has the same flat keys."""

from pathlib import Path

import pytest

from tests.support.samples import bad_rows, cells, refusal, saved
from trivium.text.tables import open_table


def test_json_numbers_keep_their_text(tmp_path: Path) -> None:
    path = saved(tmp_path, '{"a": 1.0, "b": 0.10}\n{"b": 1e3, "a": -5}\n', "t.jsonl")
    assert cells(open_table(path)) == [("1.0", "0.10"), ("-5", "1e3")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"a": [1], "b": 2}', "key 'a' holds a list"),
        ('{"a": {"c": 1}, "b": 2}', "key 'a' holds an object"),
        ('{"a": 1}', "lacks ['b']; the first line has ['a', 'b']"),
        ('{"a": 1, "b": 2, "c": 3}', "has other keys too, ['c']"),
        ('{"a": 1, "a": 2, "b": 3}', "has the key 'a' twice"),
        ('{"a": 1, "b": }', "is not JSON: Expecting value, at column 15"),
        ('{"a": NaN, "b": 1}', "holds NaN, which is not JSON"),
        ('{"a": "\\ud800", "b": 1}', "half a surrogate pair"),
        ("[1, 2]", "is not an object"),
        ("[" * 100_000, "is nested too deep"),
        ("", "is blank"),
    ],
)
def test_a_json_line_that_is_no_flat_record_is_a_bad_row(
    line: str, found: str, tmp_path: Path
) -> None:
    good = '{"a": 1, "b": 2}'
    table = open_table(saved(tmp_path, f"{good}\n{line}\n{good}\n\n", "t.jsonl"))
    assert len(list(table)) == 3
    ((number, problem),) = bad_rows(table)
    assert number == 2
    assert found in problem
    assert problem.endswith(".")


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"a": []}', "[]"])
def test_a_first_json_line_that_names_no_columns_is_an_error_of_the_file(
    line: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, f"{line}\n", "t.jsonl")
    assert refusal(path).startswith(f"{path}:1: ")
