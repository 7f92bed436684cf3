"""Compiled kernels that are there and cannot be used are told of; others are no news."""

import logging
import platform
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.native import switched
from trivium.model.native import library as opened

WITH_COMPILER = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64") or shutil.which("cc") is None,
    reason="no C compiler for x86-64 Linux",
)


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


@WITH_COMPILER
def test_older_kernels_that_are_not_for_this_processor_are_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "cpu.c"
    for able, told in ((0, 0), (opened.AVX2, 1)):
        file = tmp_path / f"able_{able}.so"
        source.write_text(
            f"int trivium_supports(void) {{ return {able}; }}\n"
            "int trivium_interface(void) { return -1; }\n"
        )
        subprocess.run(["cc", "-shared", "-o", str(file), str(source)], check=True)
        monkeypatch.setattr(opened, "FILES", (file,))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "trivium.model"):
            assert opened.library() is None
        assert ["other sources" in line for line in caplog.messages] == [True] * told


@pytest.mark.thorough
@WITH_COMPILER
def test_where_one_kind_cannot_be_built_the_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-mavx512bf16*) echo "unknown option -mavx512bf16" >&2; exit 1;; esac\n'
        'exec cc "$@" -O0\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    build = runpy.run_path(str(Path(__file__).parents[2] / "native" / "build.py"))
    made, missing = build["build_all"](tmp_path / "native")
    assert made == [tmp_path / "native" / "kernels_avx2.so"]
    assert made[0].stat().st_size > 0
    (why,) = missing
    assert "unknown option -mavx512bf16" in str(why)
