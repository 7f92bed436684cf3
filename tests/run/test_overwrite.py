"""A run that is replaced is there until the new one could be gone on with."""

import os
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from tests.support.facts import facts
from tests.support.tables import make_recipe
from trivium.errors import Interrupted, RecipeError
from trivium.run.folder import replaced
from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import OURS, RECIPE, REPLACED
from trivium.run.training import loop
from trivium.run.training.step import train_step

QUIET = Console(file=StringIO())
Values = dict[str, Any]


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Values:
    stage = {"steps": 3, "batch_size": 8, "lr": 1e-3, "evaluate_every": 1, "checkpoint_every": 2}
    return make_recipe(tiny, tmp_path_factory.mktemp("recipe")) | {"stages": [stage]}


@pytest.fixture(scope="module")
def first(values: Values, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    trivium.train(values, tmp_path_factory.mktemp("first") / "run", console=QUIET)
    return tmp_path_factory.getbasetemp() / "first0" / "run"


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it; nothing else may be beside it in the end."""
    shutil.copytree(first, tmp_path / "run")
    yield tmp_path / "run"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def steps_until(number: int, what: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, that many steps of any training go well."""
    left = iter([True] * number)

    def counted(*arguments: Any) -> Any:
        if not next(left, False):
            raise what
        return train_step(*arguments)

    monkeypatch.setattr(loop, "train_step", counted)


def replace(values: Values, run: Path, **how: Any) -> None:
    how = {"overwrite": True} | how
    trivium.train(values, run, changes=["seed=1"], console=QUIET, **how)


def test_a_new_run_that_fails_before_its_first_checkpoint_leaves_the_old_one_as_it_was(
    values: Values, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)
    steps_until(1, MemoryError(), monkeypatch)  # its first model was evaluated and kept
    with pytest.raises(MemoryError):
        replace(values, run)
    assert contents(run) == before


def test_once_the_new_run_has_a_checkpoint_the_old_one_is_gone(
    values: Values, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        steps_until(2, MemoryError(), patch)
        with pytest.raises(MemoryError):
            replace(values, run)
    assert "seed: 1" in (run / RECIPE).read_text()
    assert not (run / REPLACED).exists()
    replace(values, run, resume=True, overwrite=False)
    whole = run.parent / "whole"
    replace(values, whole, overwrite=False)
    assert facts(run) == facts(whole)
    shutil.rmtree(whole)


def test_a_finished_run_leaves_nothing_of_the_one_before(values: Values, run: Path) -> None:
    trivium.train(
        values, run, changes=["stages.0.checkpoint_every=null"], overwrite=True, console=QUIET
    )
    assert not list(run.glob(".*"))


def test_until_then_the_old_run_can_be_read_and_is_put_back_only_by_a_failure(
    values: Values, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = facts(run)
    with monkeypatch.context() as patch:
        steps_until(0, Interrupted("stopped"), patch)
        with pytest.raises(Interrupted):
            replace(values, run)
    assert facts(run / REPLACED) == old
    assert trivium.evaluate(run / REPLACED, console=QUIET)["tasks"]["mood"]
    with pytest.raises(RecipeError, match="already holds a run"):
        replace(values, run, overwrite=False)
    with monkeypatch.context() as patch:  # a second attempt keeps the same old run
        steps_until(0, OSError(28, os.strerror(28)), patch)
        with pytest.raises(trivium.NotWrittenError, match="the old one is as it was"):
            replace(values, run)
    assert facts(run) == old
    assert not (run / REPLACED).exists()


def die_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the n-th time that a path is renamed, removed or made from here on."""
    left = iter(range(number))
    for name in ("rename", "unlink", "rmdir", "mkdir"):

        def call(*a: Any, does: Callable[..., Any] = getattr(Path, name), **k: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return does(*a, **k)

        monkeypatch.setattr(Path, name, call)


@pytest.mark.parametrize("what", [replaced.set_aside, replaced.put_back, replaced.let_go])
def test_whatever_moment_it_dies_at_all_of_one_run_is_in_its_place(
    what: Callable[[Path], None], first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = contents(first)
    for number in range(99):
        run = tmp_path / str(number)
        shutil.copytree(first, run)
        if what is not replaced.set_aside:
            replaced.set_aside(run)
            write_text(run / RECIPE, "new")
        try:
            with monkeypatch.context() as patch:
                die_at(number, patch)
                what(run)
            died = False
        except KeyboardInterrupt:
            died = True
        replaced.settle(run)
        assert (run / RECIPE).is_file()
        if (run / RECIPE).read_text() == "new":
            assert {path.name for path in run.iterdir()} & set(OURS) == {RECIPE}
            if what is not replaced.let_go:
                assert contents(run / REPLACED) == old
        elif (run / REPLACED).exists():  # set aside, and nothing new yet
            raise AssertionError(number)
        else:
            assert contents(run) == old
        if not died:
            return
    raise AssertionError("it never ended")
