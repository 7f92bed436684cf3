"""Files as people have them: Windows-1252 and UTF-16, JSON arrays, Excel workbooks."""

import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from trivium.errors import RecipeError
from trivium.text import excel
from trivium.text.tables import BadRow, open_table, write_table
from trivium.types import Row


def rows(path: Path, **how: Any) -> list[dict[str, str] | str]:
    return [
        dict(row.cells) if isinstance(row, Row) else f"{row.line}: {row.problem}"
        for row in open_table(path, **how)
    ]


def refusal(path: Path, **how: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        rows(path, **how)
    return str(caught.value)


# --- encodings ---------------------------------------------------------------------------------
GERMAN = "text,label\nplain,a\nnaïve “Größe” – 5 €,b\n"


def test_windows_1252_is_named_with_its_row_and_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(GERMAN.encode("cp1252"))
    said = refusal(path)
    assert said.startswith(f"{path}:3: byte 3 of the line is 0xef, which is not UTF-8")
    assert "Windows-1252" in said
    assert "'naïve “Größe”" in said
    assert "{file: t.csv, encoding: cp1252}" in said
    assert rows(path, encoding="cp1252")[1] == {"text": "naïve “Größe” – 5 €", "label": "b"}


@pytest.mark.parametrize("text", ["Привет, мир", "こんにちは"])
def test_bytes_of_other_alphabets_are_not_called_windows_1252(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"text,label\n{text},a\n".encode("cp1251" if "П" in text else "shift_jis"))
    said = refusal(path)
    assert "Windows-1252" not in said
    assert "{file: t.csv, encoding: ...}" in said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le-bom", "utf-16-be-bom"])
def test_utf_16_is_named_and_read_where_the_recipe_says_so(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    mark = "" if encoding == "utf-16" else "\ufeff"
    path.write_bytes((mark + GERMAN).encode(encoding.removesuffix("-bom")))
    assert "{file: t.csv, encoding: utf-16}" in refusal(path)
    table = open_table(path, encoding="utf-16")
    assert table.columns == ("text", "label")
    assert "utf-16" in table.dialect
    assert rows(path, encoding="utf-16")[1] == {"text": "naïve “Größe” – 5 €", "label": "b"}


def test_a_file_that_is_not_in_the_encoding_it_is_said_to_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(GERMAN.encode())
    assert "byte order mark" in refusal(path, encoding="utf-16")
    path.write_bytes(b"text,label\n\x81,a\n")
    assert ":2: byte 1 of the line is 0x81, which is not CP1252" in refusal(path, encoding="cp1252")


# --- JSON arrays -------------------------------------------------------------------------------
def test_an_array_is_read_as_json_lines_are(tmp_path: Path) -> None:
    array, lines = tmp_path / "t.json", tmp_path / "t.jsonl"
    objects = ['{"t": "a [\\"b\\"], {", "n": 0.10}', '{"t": null, "n": true}', '{"n": 1, "t": "é"}']
    array.write_text("[\n " + ",\n ".join(objects) + "\n]\n", encoding="utf-8")
    lines.write_text("".join(f"{each}\n" for each in objects), encoding="utf-8")
    assert rows(array) == rows(lines)
    assert [row.line for row in open_table(array)] == [2, 3, 4]
    array.write_text("[" + ",".join(objects) + "]", encoding="utf-8")
    assert rows(array) == rows(lines)


def test_a_bad_object_of_an_array_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('[{"t": "a"},\n {"t": ["b"]},\n {"s": "c"},\n 3,\n {"t": "d"}]')
    found = list(open_table(path))
    bad = {row.line: row.problem for row in found if isinstance(row, BadRow)}
    assert list(bad) == [2, 3, 4]
    assert "holds a list" in bad[2]
    assert "lacks ['t']" in bad[3]
    assert found[-1] == Row({"t": "d"}, 5, {"t": "d"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is an empty array"),
        ('{"version": 1, "data": [{"t": "a"}]}', "jq -c '.[\"data\"][]'"),
        ('{"t": "a"}\n{"t": "b"}\n', "end in .jsonl"),
        ('[{"t": "a"},\n{"t": "b"', ":2: is not JSON"),
        ('[{"t": "a"}\n{"t": "b"}]', ":2: is not JSON: there is no `,` or `]`"),
        ('[{"t": "a"}]\n\n[{"t": "b"}]', ":3: is not JSON: the array has ended, and another one"),
        ('[{"t": "a"}]\n[{"t": "b"}]', "> NEW.jsonl`, or leave them files of their own"),
        ('[{"t": "a"}]\n{"t": "b"}\n', ":2: is not JSON: the array has ended, and there is more"),
        ('[{"t": "a"}] ]', "there is more: ']'. Remove it"),
        ('[]\n[{"t": "a"}]', ":2: is not JSON: the array has ended, and another one begins"),
        ('[{"t": "a"},\n{"t": "b"},\n]\n', ":2: is not JSON: there is a `,` after the last"),
        ("[,]", ":1: is not JSON"),
        ('[{"t": 1, "t": 2}]', "has the key 't' twice"),
        ("[" * 100_000, "nested too deep"),
        ('"text"', "is no JSON array"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_array_of_objects_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    assert said in refusal(path)


# --- Excel -------------------------------------------------------------------------------------
Workbook = Callable[..., Path]


@pytest.fixture
def workbook(tmp_path: Path) -> Workbook:
    openpyxl = pytest.importorskip("openpyxl")

    def write(*cells: list[Any], sheets: int = 1) -> Path:
        book = openpyxl.Workbook()
        for row in cells:
            book.active.append(row)
        for number in range(1, sheets):
            book.create_sheet(f"more {number}")
        book.save(tmp_path / "t.xlsx")
        return tmp_path / "t.xlsx"

    return write


def test_the_first_sheet_of_a_workbook_is_a_table(workbook: Workbook) -> None:
    path = workbook(
        ["text", "label", "when", None],
        [" two\nlines", 1, datetime(2024, 5, 6)],
        ["=x", 0.5, date(2024, 5, 7)],
        [None, True, datetime(2024, 5, 6, 7, 8)],
        sheets=2,
    )
    table = open_table(path)
    assert table.columns == ("text", "label", "when")
    assert table.dialect == "Excel, sheet 'Sheet', the first of 2"
    assert [list(row.values()) for row in rows(path) if isinstance(row, dict)] == [
        [" two\nlines", "1", "2024-05-06"],
        ["", "0.5", "2024-05-07"],  # a formula that nobody computed
        ["", "true", "2024-05-06T07:08:00"],
    ]
    assert [row.line for row in table] == [2, 3, 4]


def test_blank_rows_and_cells_without_a_column_are_bad_rows(workbook: Workbook) -> None:
    path = workbook(["t"], ["a"], [None], ["b", "beside"], [""], [None])
    assert rows(path) == [
        {"t": "a"},
        "3: is blank. Remove the line, or fill it in.",
        "4: has a cell beside the 1 columns that row 1 names.",
    ]


def with_sheet(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The workbook, its first sheet's XML changed."""
    with ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = change(parts["xl/worksheets/sheet1.xml"])
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for entry, content in parts.items():
            archive.writestr(entry, content)
    return path


@pytest.mark.parametrize("said", ["A1:B3", "A1:A9", "A1", "B2:XFD9", "A1:C90000"])
def test_a_sheet_is_read_whatever_size_it_says_that_it_has(workbook: Workbook, said: str) -> None:
    cells: list[list[Any]] = [
        ["t", None, "label", "n", None], ["a", "b"], [None, None, None, 4], [None], ["c", "d", "e"],
    ]  # fmt: skip
    path = workbook(*cells, [None] * 4)
    whole = f'<dimension ref="{said}" />'.encode()
    assert b'ref="A1:E6"' in ZipFile(path).read("xl/worksheets/sheet1.xml")
    with_sheet(path, lambda xml: xml.replace(b'<dimension ref="A1:E6" />', whole))
    assert whole in ZipFile(path).read("xl/worksheets/sheet1.xml")
    assert open_table(path).columns == ("t", "", "label", "n")
    assert rows(path) == [
        {"t": "a", "": "b", "label": "", "n": ""},
        {"t": "", "": "", "label": "", "n": "4"},
        "4: is blank. Remove the line, or fill it in.",
        {"t": "c", "": "d", "label": "e", "n": ""},
    ]


def test_a_cell_beside_the_columns_is_found_where_the_sheet_says_it_is_narrower(
    workbook: Workbook,
) -> None:
    path = workbook(["t"], ["a"], ["b", None, "beside"])
    with_sheet(path, lambda xml: xml.replace(b'ref="A1:C3"', b'ref="A1:A3"'))
    assert rows(path) == [{"t": "a"}, "3: has a cell beside the 1 columns that row 1 names."]


def test_a_row_numbered_beyond_what_a_sheet_can_hold_is_refused(
    workbook: Workbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excel, "MOST_ROWS", 1000)
    path = workbook(["t"], ["a"])
    with_sheet(path, lambda xml: xml.replace(b'<row r="2"', b'<row r="1000"'))
    assert rows(path)[-1] == {"t": "a"}
    with_sheet(path, lambda xml: xml.replace(b'<row r="1000"', b'<row r="4000000000"'))
    assert "is not a readable Excel workbook (a row is numbered above 1,000)" in refusal(path)


def test_a_workbook_that_explodes_is_refused_before_it_is_unpacked(workbook: Workbook) -> None:
    path = workbook(["t"], ["a"])
    padding = b"<!--" + b" " * (excel.LARGE + 1) + b"-->"
    with_sheet(path, lambda xml: xml.replace(b"<sheetData>", padding + b"<sheetData>"))
    assert path.stat().st_size < 2**20
    said = refusal(path)
    assert said.startswith(f"{path}: would be 64 MiB unpacked, more than 100 times its 0.")
    assert "Save the sheet as `CSV UTF-8`" in said


def test_a_large_workbook_of_texts_is_read(
    workbook: Workbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excel, "LARGE", 1000)
    path = workbook(["t"], *([f"{number} is a text"] for number in range(300)))
    assert len(rows(path)) == 300


def test_what_is_no_workbook_is_refused(tmp_path: Path, workbook: Workbook) -> None:
    whole = workbook(["t"], ["a"]).read_bytes()
    for content in (b"text,label\n", b"", whole[:2000], b"PK\x03\x04" + bytes(100)):
        (tmp_path / "bad.xlsx").write_bytes(content)
        assert "is not a readable Excel workbook" in refusal(tmp_path / "bad.xlsx")
    assert ":1: is blank" in refusal(workbook([None, None]))


def test_without_the_package_the_message_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    assert "pip install 'trivium[excel]'" in refusal(tmp_path / "t.xlsx")


def test_old_workbooks_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    for ending in ("xls", "ods"):
        path = tmp_path / f"t.{ending}"
        path.write_bytes(b"\xd0\xcf\x11\xe0")
        assert f"`soffice --headless --convert-to xlsx {path}`" in refusal(path)


@pytest.mark.parametrize(
    ("ending", "command"), [("csv.gz", "gunzip -k"), ("tsv.zst", "unzstd"), ("csv.zip", "unzip")]
)
def test_packed_tables_are_refused_with_the_command_that_unpacks_them(
    tmp_path: Path, ending: str, command: str
) -> None:
    path = tmp_path / f"t.{ending}"
    path.write_bytes(b"\x1f\x8b")
    assert f"`{command} {path}`" in refusal(path)


@pytest.mark.parametrize("ending", ["json", "xlsx"])
def test_what_is_only_read_is_not_written(tmp_path: Path, ending: str) -> None:
    with (
        pytest.raises(RecipeError, match=r"read, but not written.*\.csv"),
        write_table(tmp_path / f"t.{ending}", ["t"]),
    ):
        pass
    assert not list(tmp_path.iterdir())
