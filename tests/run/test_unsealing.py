"""A folder is verified in a thread, and whoever waits for it hears what it found."""

import hashlib
from pathlib import Path

import pytest

from trivium import digest
from trivium.errors import RecipeError
from trivium.run.folder.sealed import begin_unsealing, seal, unseal

NAME = "seal.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 1000)
    seal(tmp_path, NAME, {"format": 1})
    return tmp_path


def test_a_whole_folder_is_told_as_often_as_somebody_waits(folder: Path) -> None:
    wait = begin_unsealing(folder, NAME)
    assert wait() == wait() == unseal(folder, NAME)


def test_what_is_wrong_is_raised_where_somebody_waits(folder: Path) -> None:
    with (folder / "weights").open("r+b") as file:
        file.write(b"x")
    wait = begin_unsealing(folder, NAME)
    for _ in range(2):
        with pytest.raises(RecipeError, match="weights: was altered after it was written"):
            wait()
    (folder / NAME).unlink()
    wait = begin_unsealing(folder, NAME)
    with pytest.raises(RecipeError, match="is missing or damaged"):
        wait()


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 700, 703])
def test_a_file_in_parts_has_the_digest_of_all_its_bytes(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "_AT_ONCE", 7)
    content = (bytes(range(256)) * 3)[:size]
    (tmp_path / "file").write_bytes(content)
    assert digest.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
