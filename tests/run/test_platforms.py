"""What works where the system is not POSIX: all but studies and searches, which say so.

There is no Windows here. A fresh interpreter is made to lack what Windows lacks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import trivium
from trivium.run.assembly.machine import memory_now, peak_memory

AS_ON_WINDOWS = """
import asyncio, errno, fcntl, json, os, pkgutil, shutil, signal, sys
from importlib import import_module
from pathlib import Path

# What others import in Linux's own way comes first. Then only our modules see what is missing.
import psutil, torch, typer
from huggingface_hub import snapshot_download

for name in ("fcntl", "resource", "grp", "pwd", "termios"):
    sys.modules[name] = None
for name in [n for n in dir(signal) if n in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGUSR2")]:
    delattr(signal, name)
for name in ("O_DIRECTORY", "fork", "getuid", "killpg", "setsid"):
    delattr(os, name)

plain_open, plain_fsync = os.open, os.fsync

def open_file(path, flags, *rest, **named):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "is a folder", str(path))
    return plain_open(path, flags, *rest, **named)

def sync_written(handle):
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "opened to read only")
    plain_fsync(handle)

os.open, os.fsync = open_file, sync_written
shutil._use_fd_functions = False  # by which it would open folders
"""


def on_windows(code: str) -> str:
    """What a program prints in an interpreter that lacks what Windows lacks."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AS_ON_WINDOWS + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="takes from POSIX what others lack")
@pytest.mark.whole_run
def test_without_posix_all_modules_load_and_a_run_is_trained_and_used(
    recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, run, again = recipe_file(steps=2), tmp_path / "run", tmp_path / "again"
    code = f"""
import trivium
for module in pkgutil.walk_packages(trivium.__path__, "trivium."):
    # Programs: ours, and the one that is copied into exported folders; and what needs Triton.
    if module.name not in (
        "trivium.__main__", "trivium.run.exporting.example", "trivium.model.fused.kernels",
    ):
        import_module(module.name)

trivium.train({str(recipe)!r}, {str(run)!r})
trivium.train({str(recipe)!r}, {str(run)!r}, overwrite=True)
trivium.train(trivium.load_recipe({str(recipe)!r}, ["seed=1"]), {str(again)!r})
dev = Path(trivium.load_recipe({str(recipe)!r}).data) / "mood-dev.tsv"
trivium.predict_file({str(run)!r}, "mood", dev, {str(tmp_path / "moods.csv")!r})
runs = [{str(run)!r}, {str(again)!r}]
trivium.ensemble(runs, {str(tmp_path / "both")!r})
trivium.soup(runs, {str(tmp_path / "soup")!r})
other = trivium.load_recipe({str(recipe)!r}, ["stages.0.steps=1"])
trivium.train(other, {str(tmp_path / "other")!r})
trivium.compare([*runs, {str(tmp_path / "other")!r}], time=False, resamples=100)
trivium.report(runs, {str(tmp_path / "report.html")!r})
print(json.dumps(trivium.evaluate({str(run)!r})["overall"]))
"""
    scores = json.loads((on_windows(code).splitlines())[-1])
    written = json.loads((run / "scores.json").read_text())
    assert scores == written["overall"] == trivium.evaluate(run)["overall"]
    assert written["cost"]["peak_memory_bytes"] > 2**20
    assert len((tmp_path / "moods.csv").read_text().splitlines()) == 33
    assert (tmp_path / "report.html").stat().st_size > 2**10


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="takes from POSIX what others lack")
@pytest.mark.whole_run
@pytest.mark.parametrize("command", ["study", "tune"])
def test_without_posix_studies_and_searches_are_refused_before_any_work(
    command: str, recipe_file: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, out = recipe_file(steps=2), tmp_path / "out"
    paths = [str(recipe)] if command == "study" else str(recipe)
    code = f"""
import trivium
try:
    trivium.{command}({paths!r}, {str(out)!r})
except trivium.RecipeError as error:
    print(error)
"""
    said = on_windows(code)
    assert said.startswith(f"trivium {command}: needs a POSIX system")
    assert "WSL" in said
    assert not out.exists()


def test_the_most_memory_held_is_no_less_than_what_is_held_now() -> None:
    now = memory_now()
    assert 2**24 < now < 1.02 * peak_memory()  # the kernel counts pages in batches
