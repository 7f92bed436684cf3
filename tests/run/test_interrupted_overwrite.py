"""What `--overwrite` was about to replace when it was killed is known for what it is."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from trivium.errors import RecipeError
from trivium.run import export, pull, soup
from trivium.run.folder.sealed import seal
from trivium.run.folder.start import refuse_taken
from trivium.run.members.plan import found_ensemble


def ensemble_there(folder: Path) -> None:
    (folder / "ensemble.json").touch()


def soup_there(folder: Path) -> None:
    (folder / "scores.json").write_text('{"tasks": {}, "overall": {}, "cost": {}, "soup": []}')


def export_there(folder: Path) -> None:
    seal(folder, "trivium.json", {"backend": "onnx"})


def model_there(folder: Path) -> None:
    seal(folder, "trivium.json", {})


Made = Callable[[Path], None]
Found = Callable[[Path], Collection[str] | None]

KINDS: dict[str, tuple[Made, Found]] = {
    "ensemble": (ensemble_there, found_ensemble),
    "soup": (soup_there, soup._found),
    "export": (export_there, export._found),
    "model": (model_there, pull._found),
}


@pytest.mark.parametrize("what", KINDS)
def test_a_folder_that_was_being_replaced_is_replaced_by_the_next_call(
    tmp_path: Path, what: str
) -> None:
    make, found = KINDS[what]
    out = tmp_path / "out"
    out.mkdir()
    make(out)
    out.rename(tmp_path / ".out.old")  # and then it was killed
    refuse_taken(out, [], what, found, overwrite=True)
    assert out.is_dir()
    with pytest.raises(RecipeError, match=f"there is an earlier {what}"):
        refuse_taken(out, [], what, found, overwrite=False)


@pytest.mark.parametrize("what", KINDS)
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, what: str) -> None:
    found = KINDS[what][1]
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(RecipeError, match=f"is not empty and holds no {what}"):
        refuse_taken(tmp_path, [], what, found, overwrite=True)
