"""Files that are no tables: each is named for what it is, with what to do."""

import gzip
from pathlib import Path

import pytest

from tests.support.samples import refusal, saved


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    saved(tmp_path, "a\n", "train.tsv")
    message = refusal(tmp_path / "trian.tsv")
    assert message == f"{tmp_path / 'trian.tsv'}: no such file. Did you mean 'train.tsv'?"
    assert "no folder" in refusal(tmp_path / "none" / "train.tsv")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_an_unreadable_file_says_to_check_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path, "a\n")
    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == (
        f"{path}: cannot be read (Permission denied). Check the permissions of the file."
    )


@pytest.mark.parametrize(
    ("content", "line", "found", "remedy"),
    [
        (b"", None, "is empty", "must name the columns"),
        (b"\xef\xbb\xbf\n1\n", 1, "is blank", "must name the columns"),
        (b"a\tb\n1\t2\n1\tcaf\xe9\n", 3, "byte 6 of the line is 0xe9", "iconv -f cp1252 -t utf-8"),
        (b"a\tb\n1\t2\n1\tcaf\x81\n", 3, "0x81, which is not UTF-8", "iconv -f latin1 -t utf-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), 1, "is UTF-16", "iconv -f utf-16 -t utf-8"),
        ("a\tb\n1\t2\n".encode("utf-16-le"), 1, "NUL byte", "iconv -f utf-16 -t utf-8"),
        (b"a\tb\n1\t2\0\n", 2, "NUL byte", "remove the byte"),
        (gzip.compress(b"a\tb\n", mtime=0), 1, "is gzip", "gunzip"),
        (b"PK\x03\x04rest", 1, "a zip archive or an Excel workbook", "save the sheet as CSV UTF-8"),
        (b"PAR1\x15rest", 1, "is Parquet", "end in .parquet"),
        (b"a\n" + b"x" * 2**26, 2, "is longer than 64 MiB", "end with LF"),
    ],
)
@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_a_file_that_is_no_utf8_text_is_named_for_what_it_is(
    content: bytes, line: int | None, found: str, remedy: str, ending: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, content, f"t.{ending}")
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert found in message
    assert remedy in message
