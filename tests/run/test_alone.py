"""Of several processes, one writes a folder: the others are told so, and change nothing."""

import errno
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from tests.support.forks import Forks
from tests.support.processes import PATIENCE_S, wait_until
from trivium.errors import NotWrittenError, RecipeError
from trivium.run.folder import atomic
from trivium.run.folder.atomic import fresh_folder, replace_folder, whole_folder, write_text
from trivium.run.folder.locks import alone

HOLDS = """
import sys, time
from pathlib import Path
from trivium.run.folder.locks import alone
with alone(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which is alone at `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.communicate()


def test_a_place_is_one_processs_until_it_ends(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    place = tmp_path / "run"
    with pytest.raises(RecipeError, match=f"another process \\({holder.pid}\\) is writing there"):
        alone(place).__enter__()
    with alone(tmp_path / "other"):
        pass
    holder.kill()  # no chance to tidy up
    holder.wait()
    with alone(place):
        assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]
    assert list(tmp_path.iterdir()) == []


def test_links_to_a_place_share_its_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(RecipeError, match="another process"), alone(tmp_path / "link"):
        pass


def test_the_lock_is_inside_where_nothing_can_be_made_beside(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.lock").mkdir()  # so that no file of that name can be made, even by root
    with alone(tmp_path / "out"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".folder.lock"]
        with pytest.raises(RecipeError, match="another process"), alone(tmp_path / "out"):
            pass
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_parents_are_made_and_go_if_nothing_comes_of_it(tmp_path: Path) -> None:
    with alone(tmp_path / "a" / "b" / "run"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / "b" / "run"):
        (tmp_path / "a" / "b" / "run").mkdir()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["run"]


COUNTS = """
import sys
from pathlib import Path
from trivium.errors import RecipeError
from trivium.run.folder.locks import alone
home = Path(sys.argv[1])
for _ in range(200):
    while True:
        try:
            with alone(home / "run"):
                count = int((home / "count").read_text())
                (home / "count").write_text(str(count + 1))
            break
        except RecipeError:
            pass
"""


@pytest.mark.thorough
def test_a_lock_is_never_two_processs_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    """Who has opened the file that its last owner then removes must look again."""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNTS, str(tmp_path)]
    both = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "600"


def test_what_killed_writers_left_is_removed_by_the_next(tmp_path: Path) -> None:
    for name in (".run.0123abcd.new", ".run.new", ".other.0123abcd.new", ".run.txt"):
        (tmp_path / name).mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").touch()
    (tmp_path / "run" / ".model.0123abcd.new").mkdir()
    with alone(tmp_path / "run"):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".other.0123abcd.new", ".run.txt", "run"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.yaml"]


def test_two_who_write_one_name_at_once_write_two_files(tmp_path: Path) -> None:
    one, two = fresh_folder(tmp_path / "a"), fresh_folder(tmp_path / "a")
    assert one != two
    for folder in (one, two):
        (folder / folder.name).touch()
    replace_folder(one, tmp_path / "a")
    replace_folder(two, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [two.name]
    write_text(tmp_path / "b", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def holding_old(out: Path, was_there: bool) -> Path:
    if was_there:
        out.mkdir()
        (out / "old").touch()
    return out


@pytest.mark.parametrize("was_there", [True, False])
def test_ctrl_c_between_two_renames_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    out = holding_old(tmp_path / "out", was_there)
    rename = Path.rename

    def stopped(path: Path, target: Path) -> Path:
        if not was_there:
            raise KeyboardInterrupt
        moved = rename(path, target)
        monkeypatch.setattr(Path, "rename", rename)
        raise KeyboardInterrupt if moved else AssertionError

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt), whole_folder(out) as fresh:
        (fresh / "new").touch()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == ({"out", "out/old"} if was_there else set())


@pytest.mark.parametrize("was_there", [True, False])
def test_a_folder_whose_name_cannot_be_put_on_the_disk_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    out = holding_old(tmp_path / "out", was_there)

    def fails(path: Path) -> None:
        if path == tmp_path:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic, "sync", fails)
    said = "What was there is as it was" if was_there else "Nothing was kept"
    with pytest.raises(NotWrittenError, match=said), whole_folder(out) as fresh:
        (fresh / "new").touch()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == ({"out", "out/old"} if was_there else set())


def test_what_a_crash_left_between_two_renames_comes_back_before_anything_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "old").touch()
    with pytest.raises(ValueError, match="full"), whole_folder(tmp_path / "out"):
        raise ValueError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- verbs ---------------------------------------------------------------------------------------


@pytest.mark.whole_run
@pytest.mark.parametrize("options", [["--resume"], ["--overwrite"], []])
def test_a_second_training_in_a_folder_is_refused_and_the_first_goes_on(
    options: list[str], recipe_file: Callable[..., Path], forks: Forks, tmp_path: Path
) -> None:
    recipe, run = recipe_file(steps=100_000, evaluate_every=100_000), tmp_path / "run"
    first = forks.start("train", recipe, "--out", run)
    wait_until(lambda: (run / "journal.jsonl").exists(), first)
    before = (run / "recipe.yaml").stat()
    second = forks.start("train", recipe, "--out", run, *options)
    _, said = second.communicate()
    assert (second.returncode, said.count("error ")) == (2, 1)
    assert f"{run}: another process ({first.pid}) is writing there now." in said
    assert (run / "recipe.yaml").stat() == before
    first.send_signal(signal.SIGINT)
    first.communicate()
    assert first.returncode == 130
    steps = [line for line in (run / "journal.jsonl").read_text().splitlines() if '"step"' in line]
    numbers = [line.partition('"step": ')[2].partition(",")[0] for line in steps]
    assert len(numbers) == len(set(numbers))
    assert not (tmp_path / ".run.lock").exists()


@pytest.mark.thorough
@pytest.mark.whole_run
def test_two_resumes_at_once_are_one(
    recipe_file: Callable[..., Path], forks: Forks, tmp_path: Path
) -> None:
    """Whichever comes first goes on; the journal is that of one training."""
    recipe, run = recipe_file(steps=200, checkpoint_every=10), tmp_path / "run"
    first = forks.start("train", recipe, "--out", run)
    wait_until(lambda: any((run / "resume").glob("0*")), first)
    first.kill()
    first.communicate()
    both = [forks.start("train", recipe, "--out", run, "--resume") for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.wait() for process in both)
    # Where one had ended before the other looked, that is told that nothing is left to do.
    assert codes == [0, 2] or (codes == [0, 0] and "this run is finished" in "".join(said)), said
    lines = (run / "journal.jsonl").read_text().splitlines()
    assert sum('"event": "step"' in line for line in lines) == 200


@pytest.mark.thorough
def test_every_verb_that_writes_a_place_wants_it_alone(
    holder: subprocess.Popen[str], recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    quiet, place = Console(file=StringIO()), tmp_path / "run"
    values = recipe_values | {"adapters": ["lora"]}
    steps = ["stages.0.steps=1"]
    for name, changes in (("a", steps), ("b", [*steps, "seed=1"]), ("c", ["stages.0.steps=2"])):
        trivium.train(values, tmp_path / name, changes=changes, console=quiet)
    a, b, c = (tmp_path / name for name in "abc")
    calls: list[Callable[[], object]] = [
        lambda: trivium.train(values, place, console=quiet),
        lambda: trivium.ensemble([a, b], place, console=quiet),
        lambda: trivium.soup([a, b], place, console=quiet),
        lambda: trivium.export(a, place, console=quiet),
        lambda: trivium.export_lora(a, peft=place),
        lambda: trivium.export_lora(a, merged=place),
        lambda: trivium.report(a, place, console=quiet),
        lambda: trivium.predict_file(a, "mood", tmp_path / "data" / "mood-dev.tsv", place),
    ]
    for call in calls:
        with pytest.raises(RecipeError, match="another process"):
            call()
    holder.kill()
    holder.wait()
    with alone(tmp_path / "verdict.md"), pytest.raises(RecipeError, match="another process"):
        trivium.compare([a, c], out=tmp_path / "verdict.md", time=False, console=quiet)
    assert not place.exists()


def test_of_two_who_answer_into_one_file_one_is_refused_and_nothing_is_left_beside_it(
    recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    trivium.train(
        recipe_values, tmp_path / "run", changes=["stages.0.steps=1"],
        console=Console(file=StringIO()),
    )  # fmt: skip
    predictor, table = trivium.load(tmp_path / "run"), tmp_path / "data" / "mood-dev.tsv"
    trivium.predict_file(predictor, "mood", table, tmp_path / "wanted.csv")
    out = tmp_path / "answers" / "out.csv"
    out.parent.mkdir()
    (out.parent / ".out.csv.0123abcd.new").write_text("half of what a killed process wrote")
    start = threading.Barrier(4)

    def answer(_: int) -> str:
        start.wait()
        try:
            return str(trivium.predict_file(predictor, "mood", table, out))
        except RecipeError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        said = sorted(threads.map(answer, range(4)), key=len)
    assert said[0] == "32"
    for refused in said[1:]:
        assert "is writing there now. Wait for its end" in refused or "is there already" in refused
    assert out.read_bytes() == (tmp_path / "wanted.csv").read_bytes()
    assert list(out.parent.iterdir()) == [out]
