"""A disk that is full, or fails: one message, and what was kept can be gone on with."""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.facts import facts
from tests.support.faulty import Ended, FaultyDisk, faulty_disk
from tests.support.forks import Forks
from tests.support.tables import make_recipe
from tests.support.thorough import some_of

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("full disk")]

STAGE = {"steps": 4, "batch_size": 8, "lr": 1e-3, "evaluate_every": 2, "checkpoint_every": 1}
TRIED = 5
"""Places at which a run's disk fails, of some hundreds, drawn with a fixed seed; besides the first
ones. TRIVIUM_EVERY_WRITE tries all."""


@pytest.fixture(scope="module")
def recipe(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    values = make_recipe(tiny, folder)
    values["stages"] = [STAGE, STAGE | {"name": "more", "steps": 2}]
    values["adapters"] = ["lora"]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyDisk]:
    library, home = (tmp_path_factory.mktemp(name) for name in ("library", "disk"))
    disk = faulty_disk(library, home, ["pandas"])  # which pyarrow loads to write a file
    yield disk
    disk.close()


@pytest.fixture(scope="module")
def whole(recipe: Path, disk: FaultyDisk) -> tuple[Path, int]:
    """A run on a sound disk, and how often it wrote."""
    run = disk.home / "whole"
    ended = disk.run(["train", recipe, "--out", run])
    assert ended.code == 0, ended.said
    return run, ended.seen


def places(count: int) -> list[int]:
    if os.environ.get("TRIVIUM_EVERY_WRITE"):
        return list(range(count))
    first = list(range(min(2, count)))
    return sorted({*first, *random.Random(7).sample(range(count), min(TRIED, count)), count - 1})


def refused(ended: Ended, number: int) -> bool:
    """Whether it ended with one message, which names what the system refused."""
    lines = [line for line in ended.said.splitlines() if line.startswith("error ")]
    return (
        ended.code == 1
        and len(lines) == 1
        and os.strerror(number) in lines[0]
        and "Traceback" not in ended.said
    )


@pytest.mark.parametrize("number", some_of([errno.ENOSPC, errno.EIO], errno.ENOSPC.__eq__))
def test_a_training_whose_disk_fails_says_so_and_goes_on_from_what_was_kept(
    number: int, recipe: Path, disk: FaultyDisk, whole: tuple[Path, int]
) -> None:
    """A full disk stays full until somebody makes room; one that fails may fail once."""
    command = ["train", str(recipe), "--out", str(disk.home / "run")]
    for nth in places(whole[1]):
        shutil.rmtree(disk.home / "run", ignore_errors=True)
        ended = disk.run(command, nth, number, stays=number == errno.ENOSPC)
        if ended.code == 0:  # nothing was lost by it: a lock, say, or tidying up
            assert facts(disk.home / "run") == facts(whole[0]), nth
            continue
        assert refused(ended, number), (nth, ended)
        resumes = "--resume" in ended.said
        assert resumes or "Nothing was kept" in ended.said, (nth, ended.said)
        again = disk.run([*command, *(["--resume"] if resumes else [])])
        assert again.code == 0, (nth, ended.said, again.said)
        assert facts(disk.home / "run") == facts(whole[0]), nth
        assert not list((disk.home / "run").rglob(".*")), nth
        assert not list(disk.home.glob(".*")), nth


@pytest.mark.thorough
def test_a_run_that_was_to_be_replaced_can_be_after_its_disk_failed(
    recipe: Path, disk: FaultyDisk, whole: tuple[Path, int]
) -> None:
    run = disk.home / "replaced"
    command = ["train", str(recipe), "--out", str(run), "--overwrite"]
    for nth in places(whole[1])[:6]:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole[0], run)
        ended = disk.run(command, nth, errno.ENOSPC, stays=True)
        assert refused(ended, errno.ENOSPC), (nth, ended)
        if "--resume" in ended.said:
            command = [*command[:-1], "--resume"]
        again = disk.run(command)
        assert again.code == 0, (nth, ended.said, again.said)
        assert facts(run) == facts(whole[0])
        command = [*command[:-1], "--overwrite"]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "is_there"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_what_is_made_of_runs_is_there_whole_or_as_it_was(
    number: int, is_there: bool, recipe: Path, disk: FaultyDisk, whole: tuple[Path, int]
) -> None:
    run, out = whole[0], disk.home / "made"
    other = disk.home / "other"
    if not other.exists():
        assert disk.run(["train", recipe, "--out", other, "--set", "seed=1"]).code == 0
    table = recipe.parent / "data" / "mood-dev.tsv"
    commands: list[list[str | Path]] = [
        ["ensemble", run, other, "--out", out / "e", "--overwrite"],
        ["soup", run, other, "--out", out / "s", "--overwrite"],
        ["report", run, "--out", out / "r.html", "--overwrite"],
        ["predict", run, "--task", "mood", "--file", table, "--out", out / "p.csv", "--overwrite"],
        [
            "predict",
            run,
            "--task",
            "mood",
            "--file",
            table,
            "--out",
            out / "p.parquet",
            "--overwrite",
        ],
        ["export", run, "--to", "sentence-transformers", "--out", out / "x", "--overwrite"],
    ]
    commands += [] if is_there else [["lora", run, "--peft", out / "a"]]
    chance = random.Random(5)
    for command in commands:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        sound = disk.run(command)
        assert sound.code == 0, sound.said
        for nth in {0, 1, *chance.sample(range(sound.seen), min(3, sound.seen))}:
            if not is_there:
                shutil.rmtree(out)
                out.mkdir()
            before = contents(out)
            ended = disk.run(command, nth, number, stays=number == errno.ENOSPC)
            if ended.code != 0:
                assert refused(ended, number), (command, nth, ended)
                assert contents(out) == before, (command, nth)
            assert not list(out.glob(".*")), (command, nth, ended)


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a small file system")
def test_on_a_small_disk_that_is_really_full(
    recipe: Path, whole: tuple[Path, int], tmp_path: Path
) -> None:
    home = tmp_path / "small"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        command = [sys.executable, "-m", "trivium", "train", str(recipe), "--out", str(home / "r")]
        (home / "ballast").write_bytes(bytes(150 * 1024))
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 1, ended.stderr
        assert [line[:6] for line in ended.stderr.splitlines()].count("error ") == 1
        assert os.strerror(errno.ENOSPC) in ended.stderr
        assert "--resume" in ended.stderr
        assert "Traceback" not in ended.stderr
        (home / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", str(home)], check=True)
        subprocess.run([*command, "--resume"], capture_output=True, check=True)
        assert facts(home / "r") == facts(whole[0])
    finally:
        subprocess.run(["umount", str(home)], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
@pytest.mark.parametrize("verb", ["predict", "evaluate", "help", "version"])
def test_answers_that_do_not_fit_are_told_in_one_line(
    verb: str, recipe: Path, whole: tuple[Path, int], forks: Forks, tmp_path: Path
) -> None:
    table = str(recipe.parent / "data" / "mood-dev.tsv")
    words = {
        "predict": ["predict", str(whole[0]), "--task", "mood", "--file", table],
        "evaluate": ["evaluate", str(whole[0]), "--json"],
        "help": ["--help"],
        "version": ["--version"],
    }[verb]
    full = Path("/dev/full")
    ended = forks.start(*words, output=full, errors=tmp_path / "said")
    assert ended.wait() == 1
    said = (tmp_path / "said").read_text()
    assert said.startswith("error standard output: No space left on device")
    assert said.count("\n") == 1
    # What is said beside an answer is not worth a failure.
    ended = forks.start(*words, output=tmp_path / "answers", errors=full)
    assert ended.wait() == 0
    assert (tmp_path / "answers").read_text()
