"""What is handed over is whole, whoever is killed when."""

import json
import os
from pathlib import Path

import pytest

from tests.support.runs import recipe_of
from trivium.errors import RecipeError
from trivium.recipe import dump_recipe
from trivium.run.cluster.remote import RemoteError, in_words, patiently
from trivium.run.cluster.store import Handing, Store
from trivium.run.cluster.task import Order, in_scratch
from trivium.run.jobs.child import Job, Outcome, Stop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with one checkpoint."""
    folder = tmp_path / "run"
    (folder / "resume" / "000001").mkdir(parents=True)
    (folder / "resume" / "000001" / "state.json").write_text("{}")
    (folder / "journal.jsonl").write_text("one\n")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_what_was_handed_over_last_is_what_is_fetched(
    store: Store, run: Path, tmp_path: Path
) -> None:
    assert not store.get("base/seed-0", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    store.put("base/seed-0", run, is_finished=False)
    (run / "journal.jsonl").write_text("one\ntwo\n")
    store.put("base/seed-0", run, is_finished=True)
    assert store.get("base/seed-0", tmp_path / "fetched")
    assert content(tmp_path / "fetched") == content(run)
    there = sorted(path.name for path in (tmp_path / "store" / "base" / "seed-0").iterdir())
    assert len(there) == 2  # the earlier one is gone
    told = store.latest("base/seed-0")
    assert told is not None
    assert told.finished


def test_what_is_half_handed_over_is_not_seen(store: Store, run: Path, tmp_path: Path) -> None:
    store.put("base/seed-0", run, is_finished=False)
    before = content(run)
    (run / "journal.jsonl").write_text("one\ntwo\n")
    put_file = store.files.put_file

    def dies(source: str, target: str) -> None:
        if "state" in source:
            raise KeyboardInterrupt
        put_file(source, target)

    store.files.put_file = dies
    try:
        with pytest.raises(KeyboardInterrupt):
            store.put("base/seed-0", run, is_finished=True)
    finally:
        store.files.put_file = put_file
    assert store.get("base/seed-0", tmp_path / "fetched")
    assert content(tmp_path / "fetched") == before


def test_a_file_that_was_altered_is_refused(store: Store, run: Path, tmp_path: Path) -> None:
    store.put("base/seed-0", run, is_finished=True)
    (altered,) = (tmp_path / "store").rglob("journal.jsonl")
    altered.write_text("two\n")
    with pytest.raises(RecipeError, match=r"journal\.jsonl is not what was handed over"):
        store.get("base/seed-0", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_the_slower_of_two_takes_nothing_back(store: Store, run: Path, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    (ahead / "resume" / "000002").mkdir(parents=True)
    (ahead / "resume" / "000002" / "state.json").write_text("{}")
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "scores.json").write_text("{}")
    home = tmp_path / "store" / "base" / "seed-0"
    for faster, is_finished in ((ahead, False), (finished, True)):
        store.put("base/seed-0", faster, is_finished=is_finished)
        there = content(home)
        store.put("base/seed-0", run, is_finished=False)
        assert content(home) == there
    store.put("base/seed-0", ahead, is_finished=True)  # its own end: another handed over the same
    assert content(home) == there


def test_who_is_overtaken_while_handing_over_takes_nothing_back(
    store: Store, run: Path, tmp_path: Path
) -> None:
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "scores.json").write_text("{}")
    faster, put_file = Store(store.url), store.files.put_file

    def is_overtaken(source: str, target: str) -> None:
        put_file(source, target)
        if "state" in source:
            faster.put("base/seed-0", finished, is_finished=True)

    store.files.put_file = is_overtaken
    try:
        store.put("base/seed-0", run, is_finished=False)
    finally:
        store.files.put_file = put_file
    told = store.latest("base/seed-0")
    assert told is not None
    assert told.finished
    there = sorted(path.name for path in (tmp_path / "store" / "base" / "seed-0").iterdir())
    assert there == sorted([told.folder, "latest.json"])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("[]", "Input should be an object"),
        ('{"folder": "a"', "Invalid JSON"),
        ('{"folder": "a", "finished": true}', "files: Field required"),
        ('{"folder": "..", "finished": true, "files": {}}', "not in the run's folder"),
        ('{"folder": "a", "finished": true, "files": {"../b": ""}}', "not in the run's folder"),
        ('{"folder": "a", "finished": true, "files": {"/b": ""}}', "not in the run's folder"),
    ],
)
def test_what_tells_of_no_run_is_refused_with_what_to_do(
    store: Store, tmp_path: Path, told: str, said: str
) -> None:
    home = tmp_path / "store" / "base" / "seed-0"
    home.mkdir(parents=True)
    (home / "latest.json").write_text(told)
    with pytest.raises(RecipeError, match=said) as error:
        store.get("base/seed-0", tmp_path / "fetched")
    assert f"Delete {store.url}/base/seed-0, and the run begins anew." in str(error.value)


def test_a_checkpoint_is_handed_over_once_and_only_as_it_was_at_one_moment(
    store: Store, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.run.cluster.store.LOOK_EVERY_S", 0.0)
    handing = Handing(store, "base/seed-0", run, tmp_path / "view")
    handing.watch(0, "")
    first = store.latest("base/seed-0")
    assert first is not None
    handing.watch(0, "")
    assert store.latest("base/seed-0") == first
    # While training goes on, models are replaced: a view of that moment would mix two of them.
    (run / "model").mkdir()
    for name in ("a", "b"):
        (run / "model" / name).write_text("old")
    link = os.link

    def link_as_another_is_written(source: Path, target: Path) -> None:
        link(source, target)
        if source.name == "a":
            (run / "model" / "fresh").write_text("new")
            (run / "model" / "fresh").replace(run / "model" / "b")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_as_another_is_written)
        assert not handing.hand_over()
    assert store.latest("base/seed-0") == first
    assert handing.hand_over()
    told = store.latest("base/seed-0")
    assert told is not None
    assert sorted(told.files) == [
        "journal.jsonl", "model/a", "model/b", "resume/000001/state.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket/study", "is no URL"),
        ("memory://study", "lives in one process"),
        ("nothing://study", "nothing"),
    ],
)
def test_a_place_that_cannot_be_one_is_refused(url: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Store(url)


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="cannot be written to"):
        Store(f"file://{tmp_path}/file/store").refuse_unwritable()
    store = Store(f"file://{tmp_path}/store")
    store.refuse_unwritable()
    assert json.dumps([str(path) for path in (tmp_path / "store").iterdir()]) == "[]"


def test_a_store_that_does_not_answer_for_a_while_ends_no_training(
    store: Store, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.run.cluster.store.LOOK_EVERY_S", 0.0)
    handing = Handing(store, "base/seed-0", run, tmp_path / "view")
    away = tmp_path / "store"
    away.write_text("")  # where its folders should be
    handing.watch(0, "")
    assert "checkpoint 1 not handed over: file://" in (tmp_path / "run.log").read_text()
    away.unlink()
    handing.watch(0, "")
    assert store.latest("base/seed-0") is not None


def test_a_store_that_does_not_answer_at_once_is_asked_again_before_a_run_begins(
    store: Store, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivium.run.cluster.remote.AGAIN_AFTER_S", 0.0)
    cat_file, asked = store.files.cat_file, []
    found: list[list[str]] = []

    def answer_at_the_second(path: str) -> bytes:
        asked.append(path)
        if len(asked) == 1:
            raise TimeoutError("the place does not answer")
        return bytes(cat_file(path))

    def train(job: Job, _stop: Stop, _watch: object) -> Outcome:
        found.append(sorted(path.name for path in job.folder.iterdir()))
        return Outcome("stopped", "resumed")

    recipe = recipe_of(["mood"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    store.put("base/seed-0", run, is_finished=False)
    monkeypatch.setattr("trivium.run.cluster.task.train_run", train)
    monkeypatch.setattr("trivium.run.cluster.task._handed_over", lambda *given: given[2])
    monkeypatch.setattr(store.files, "cat_file", answer_at_the_second)
    job = Job(tmp_path / "base.yaml", recipe, tmp_path / "out" / "base" / "seed-0")
    order = Order(job, tmp_path / "out", False, {}, store.url)
    assert in_scratch(order, store, Stop()) == Outcome("stopped", "resumed")
    assert found == [["journal.jsonl", "recipe.yaml", "resume"]]
    asked.clear()
    assert in_scratch(order, store, Stop(1)) == Outcome("stopped", "skipped")
    assert len(asked) == 1


def test_what_does_not_answer_is_asked_again_until_it_does_or_somebody_has_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trivium.run.cluster.remote.AGAIN_AFTER_S", 0.0)
    tries: list[int] = []

    def answer_at_the_third() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise RemoteError("gone")
        return "here"

    assert patiently(answer_at_the_third, lambda: False) == "here"
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(RemoteError, match="gone"):
        patiently(answer_at_the_third, lambda: True)
    assert len(tries) == 1


def test_a_bare_path_is_told_as_what_is_not_there() -> None:
    with pytest.raises(RemoteError, match=r"^s3://a: b/c is not there$"), in_words("s3://a"):
        raise FileNotFoundError("b/c")  # as stores do
