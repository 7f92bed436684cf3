"""Links to folders: they stay, and what is written goes to where they lead."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from trivium.errors import Interrupted, RecipeError
from trivium.run.training import loop

QUIET = Console(file=StringIO())


@pytest.fixture
def values(recipe_values: dict[str, Any]) -> dict[str, Any]:
    return recipe_values | {"stages": [recipe_values["stages"][0] | {"steps": 2}]}


def train(values: dict[str, Any], run: Path, **how: Any) -> dict[str, Any]:
    return trivium.train(values, run, console=QUIET, **how)


def linked(path: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(target)
    else:
        target.mkdir()
    path.symlink_to(target)
    return path


def test_what_is_made_of_runs_goes_where_a_link_leads_again_and_again(
    values: dict[str, Any], tmp_path: Path
) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        train(values, run, changes=[f"seed={seed}"])
    for make in (trivium.ensemble, trivium.soup):
        link = linked(tmp_path / make.__name__, tmp_path / "big" / make.__name__)
        for _ in range(3):
            make(runs, link, overwrite=True, console=QUIET)
            assert link.is_symlink()
            assert (tmp_path / "big" / make.__name__ / "scores.json").is_file()
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith((".old", ".new"))]


def test_a_run_behind_a_link_is_replaced_there(values: dict[str, Any], tmp_path: Path) -> None:
    link = linked(tmp_path / "run", tmp_path / "big" / "run")
    for _ in range(2):
        train(values, link, overwrite=True)
        assert link.is_symlink()
        assert (tmp_path / "big" / "run" / "scores.json").is_file()


@pytest.mark.thorough
def test_a_run_whose_model_is_a_link_is_replaced_and_gone_on_with(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    scores = train(values, run)
    link = linked(run / "model", tmp_path / "big" / "model")
    (run / "journal.jsonl").rename(tmp_path / "big" / "journal.jsonl")
    (run / "journal.jsonl").symlink_to(tmp_path / "big" / "journal.jsonl")
    again = train(values, run, overwrite=True)
    assert again["tasks"] == scores["tasks"]
    assert link.is_symlink()
    assert (tmp_path / "big" / "model" / "trivium.json").is_file()

    def stop(*_: Any) -> None:
        raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stop)
        with pytest.raises(Interrupted):
            train(values, run, overwrite=True)
    assert train(values, run, resume=True)["tasks"] == scores["tasks"]
    assert link.is_symlink()
    assert trivium.load(run)


def test_a_link_that_leads_nowhere_is_told_before_anything_is_done(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    for place in (tmp_path / "link", tmp_path / "link" / "run"):
        for how in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(RecipeError, match=r"link: is a link to .*unmounted, which is not"):
                train(values, place, **how)
    assert not (tmp_path / "unmounted").exists()


@pytest.mark.thorough
def test_a_model_that_is_a_link_to_nowhere_is_told_or_made_anew(
    values: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(values, run)
    linked(run / "model", tmp_path / "big" / "model")
    (tmp_path / "big" / "model").rename(tmp_path / "big" / "gone")
    (run / "scores.json").unlink()
    for how in ({"overwrite": True}, {"resume": True}):
        train(values, run, **how)
        assert (tmp_path / "big" / "model" / "trivium.json").is_file()
        (run / "scores.json").unlink()
