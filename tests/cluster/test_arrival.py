"""What another machine has trained comes to its place here, and nobody who waits for it is deaf."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.runs import recipe_of
from trivium.recipe import dump_recipe
from trivium.run.cluster import arrival
from trivium.run.cluster.arrival import Fetched, Seen, unsaid
from trivium.run.cluster.pool import Flight
from trivium.run.cluster.store import Store
from trivium.run.cluster.task import Order
from trivium.run.folder.locks import alone, lock
from trivium.run.jobs.child import Job, Outcome, open_log

DONE = Outcome("done", "trained", 3.0)
NAME = "base/seed-0"


def written(folder: Path, journal: str = "", *, is_finished: bool = True) -> Path:
    """A run's folder, as far as anybody looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe_of(["mood"])))
    (folder / "journal.jsonl").write_text(journal)
    if is_finished:
        (folder / "scores.json").write_text("{}")
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "base.yaml", recipe_of(["mood"]), tmp_path / "out" / "base" / "seed-0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """It has the run, finished, and what its processes said."""
    store = Store(f"file://{tmp_path}/store")
    store.put(NAME, written(tmp_path / "there", "there\n"), is_finished=True)
    store.add_log(NAME, "\n$ train  # 1\nkilled\n")
    store.add_log(NAME, "\n$ train --resume  # 2\nwritten\n")
    return store


@pytest.fixture
def said() -> list[str]:
    return []


def fetched(
    store: Store, job: Job, said: list[str], outcome: Outcome = DONE, *, is_claimed: bool = False
) -> Fetched:
    return Fetched(store, NAME, job, outcome, is_claimed, said.append)


def here(job: Job) -> str:
    return (job.folder / "journal.jsonl").read_text()


def test_a_run_is_fetched_and_what_was_said_of_it_comes_after_what_the_log_has(
    store: Store, job: Job, said: list[str]
) -> None:
    job.log.parent.mkdir(parents=True)
    job.log.write_text("\n$ train  # 0, here\nstopped\n")
    failed = Outcome("failed", "trained", 1.0, "exit code 1")
    assert fetched(store, job, said, failed).look(0) == failed
    assert not job.folder.exists()
    assert fetched(store, job, said).look(0) == DONE
    assert here(job) == "there\n"
    starts = re.findall(r"^\$ (.+)$", job.log.read_text(), flags=re.MULTILINE)
    assert starts == ["train  # 0, here", "train  # 1", "train --resume  # 2"]
    assert not said
    with open_log(job) as log:
        assert lock(log)  # nobody has it any more


def test_what_was_said_twice_is_not_left_out() -> None:
    assert unsaid("\n$ a\nx\n\n$ b\nx\n", "\n$ a\nx\n") == "\n$ b\nx\n"
    assert unsaid("\n$ a\nx\n", "") == "\n$ a\nx\n"
    assert unsaid("", "\n$ a\n") == ""


@pytest.mark.parametrize("writes", ["a study", "a training"])
def test_a_run_that_somebody_trains_here_is_not_replaced(
    store: Store, job: Job, said: list[str], writes: str
) -> None:
    written(job.folder, "here\n", is_finished=False)
    coming = fetched(store, job, said)
    with open_log(job) as log:
        print("step 1", file=log, flush=True)
        if writes == "a study":
            assert lock(log)
            assert coming.look(0) is None
        else:
            with alone(job.folder):
                assert coming.look(0) is None
    assert (here(job), job.log.read_text()) == ("here\n", "step 1\n")
    (line,) = said
    assert "another process trains this run here" in line
    # What that one finished stays; the next look comes after a while.
    written(job.folder, "here\n")
    assert coming.look(0) is None
    coming._next = 0.0
    assert coming.look(0) == Outcome("done", "skipped")
    assert here(job) == "here\n"


def test_who_holds_the_lock_on_the_log_fetches_into_it(
    store: Store, job: Job, said: list[str]
) -> None:
    with open_log(job) as log:
        assert lock(log)
        assert fetched(store, job, said, is_claimed=True).look(0) == DONE


@pytest.fixture
def away(store: Store, tmp_path: Path) -> Path:
    """Where the store is while it does not answer."""
    gone = tmp_path / "gone"
    (tmp_path / "store").rename(gone)
    (tmp_path / "store").write_text("")
    return gone


def back(gone: Path) -> None:
    gone.with_name("store").unlink()
    gone.rename(gone.with_name("store"))


def test_a_store_that_does_not_answer_is_asked_again_until_somebody_has_enough(
    store: Store, job: Job, said: list[str], away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "AGAIN_AFTER_S", 0.0)
    coming = fetched(store, job, said)
    assert coming.look(0) is None
    assert coming.look(0) is None
    (line,) = said
    assert "cannot be fetched yet, and is tried again: file://" in line
    assert coming.look(1) == Outcome("stopped", "trained", 3.0)
    back(away)
    assert coming.look(2) == Outcome("stopped", "trained", 3.0)  # without a try
    assert not job.folder.exists()
    assert coming.look(1) == DONE  # with one


def test_patience_ends(
    store: Store, job: Job, said: list[str], away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PATIENCE_S", -1.0)
    ended = fetched(store, job, said).look(0)
    assert ended is not None
    assert ended.state == "failed"
    assert ended.reason.startswith("cannot be fetched: file://")
    failed = Outcome("failed", "trained", 1.0, "exit code 1")
    ended = fetched(store, job, said, failed).look(0)
    assert ended is not None
    assert ended.reason.startswith("exit code 1; its log cannot be fetched: file://")


def test_a_damaged_run_fails_and_ends_nothing_else(
    store: Store, job: Job, said: list[str], tmp_path: Path
) -> None:
    (altered,) = (tmp_path / "store").rglob("journal.jsonl")
    altered.write_text("other\n")
    ended = fetched(store, job, said).look(0)
    assert ended is not None
    assert ended.state == "failed"
    assert "journal.jsonl is not what was handed over" in ended.reason
    assert not job.folder.exists()
    store.put("half", written(tmp_path / "half", is_finished=False), is_finished=True)
    ended = Fetched(store, "half", job, DONE, False, said.append).look(0)
    assert ended is not None
    assert ended.reason.endswith("half: holds no finished run")


def test_a_run_that_a_common_folder_does_not_show_yet_is_looked_for_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = Seen(job, DONE, "another folder")
    assert coming.look(0) is None
    assert coming.look(1) == Outcome("stopped", "trained", 3.0)
    written(job.folder)
    assert coming.look(0) == DONE
    monkeypatch.setattr(arrival, "UNSEEN_S", -1.0)
    elsewhere = Seen(Job(job.path, job.recipe, job.folder.with_name("seed-1")), DONE, "another")
    assert elsewhere.look(0) == Outcome("failed", "trained", 3.0, "another")


def test_a_flight_looks_once_at_a_time_and_hears_that_it_is_to_stop(
    store: Store, job: Job, away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", pytest.fail)
    said: list[Any] = []
    ray = SimpleNamespace(
        wait=lambda refs, **_: (refs, []),
        get=lambda _ref: DONE,
        cancel=lambda _ref, force: said.append(force),
        exceptions=SimpleNamespace(RayError=OSError),
    )
    pool: Any = SimpleNamespace(
        ray=ray, store=store, cpus=1, flights=[], send=lambda *_: "reference", console=None
    )
    monkeypatch.setattr("trivium.run.cluster.pool.note", lambda _console, line: said.append(line))
    flight = Flight(pool, job, Order(job, tmp_path / "out", False, {}, store.url), 0.0, 1)
    assert [flight.look() for _ in range(3)] == [None] * 3
    (line,) = said
    assert line.startswith(f"{NAME}: cannot be fetched yet")
    flight.stop()
    assert flight.look() == Outcome("stopped", "trained", 3.0)
