"""Compiled kernels that are there and cannot be used are told of; others are no news."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.native import switched
from trivium.model.native import library as opened


@pytest.fixture(autouse=True)
def opened_anew() -> Iterator[None]:
    opened._opened.cache_clear()
    with switched("1"):
        yield
    opened._opened.cache_clear()


def test_kernels_that_cannot_be_opened_are_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "kernels.so"
    broken.write_bytes(b"of another system")
    monkeypatch.setattr(opened, "FILES", (broken,))
    with caplog.at_level(logging.WARNING, "trivium.model"):
        assert opened.library() is None
        assert opened.library() is None
    (line,) = caplog.messages
    assert line.startswith(f"{broken}: these compiled kernels cannot be used (")
    assert "TRIVIUM_NATIVE=0" in line


@pytest.mark.parametrize("named", [False, True])
def test_kernels_that_are_not_there_are_told_of_where_somebody_named_them(
    *, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(opened, "FILES", (tmp_path / "kernels.so",))
    if named:
        monkeypatch.setenv(opened.NAMED, str(tmp_path / "kernels.so"))
    else:
        monkeypatch.delenv(opened.NAMED, raising=False)
    with caplog.at_level(logging.WARNING, "trivium.model"):
        assert opened.library() is None
    assert ["No such file" in line for line in caplog.messages] == [True] * named


def test_nobody_is_told_who_does_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "kernels.so"
    broken.touch()
    monkeypatch.setattr(opened, "FILES", (broken,))
    with switched("0"), caplog.at_level(logging.WARNING, "trivium.model"):
        assert opened.library() is None
    assert not caplog.messages
