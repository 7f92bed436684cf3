"""Folders that know when they were altered: a manifest holds the sha256 of their files."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.jsons import read_json, shown
from trivium.run.folder.names import CARD, ENSEMBLE, MANIFEST, MODEL

Unsealed = Callable[[], dict[str, Any]]
"""Waits for what `begin_unsealing` began: answers, or raises, as `unseal` does."""


def seal(folder: Path, name: str, values: dict[str, Any], files: str = "*") -> None:
    """Write `name` with the values and the sha256 of every other file, or of those `files` names;
    but never of a card, which people may change.

    files: a pattern, as `Path.glob` reads it.
    """
    digests = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.glob(files))
        if path.name != CARD and path.is_file()
    }
    text = json.dumps(values | {"files": digests}, indent=2, ensure_ascii=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def unseal(folder: Path, name: str) -> dict[str, Any]:
    """The values of `name`, once every file has the sha256 it was sealed with."""
    values = read_sealed(folder / name)
    for file, digest in values["files"].items():
        if not (folder / file).is_file():
            raise RecipeError(f"{folder / file}: is missing; the folder is not whole.")
        _refuse_leading_out(folder, file)
        if sha256(folder / file) != digest:
            raise RecipeError(
                f"{folder / file}: was altered after it was written (sha256 differs)."
            )
    return values


def begin_unsealing(folder: Path, name: str) -> Unsealed:
    """`unseal` in a thread of its own, for whoever has something else to load meanwhile."""
    values: list[dict[str, Any]] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            values.append(unseal(folder, name))
        except Exception as error:  # raised again, by whoever waits
            errors.append(error)

    def wait() -> dict[str, Any]:
        thread.join()
        if errors:
            raise errors[0]
        return values[0]

    thread = Thread(target=work, daemon=True)
    thread.start()
    return wait


def _refuse_leading_out(folder: Path, file: str) -> None:
    """Links may lead to other files of the folder, and in the hub's cache to its blobs."""
    home, target = folder.resolve(), (folder / file).resolve()
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
        raise RecipeError(
            f"{folder / file}: is a link that leads out of its folder, to {target}. Put a copy of "
            "the file in its place."
        )


def read_sealed(path: Path) -> dict[str, Any]:
    """The values of a sealed file; what they say of other files is unverified."""
    try:
        values = read_json(path)
    except OSError as error:
        raise RecipeError(f"{path}: is missing or damaged: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: is missing or damaged: {error}") from error
    files = values.get("files") if isinstance(values, dict) else None
    if not isinstance(files, dict):
        raise RecipeError(
            f"{path}: is missing or damaged: it does not say which files are its own."
        )
    for name in files:  # a folder from elsewhere shall not lead out of itself
        if not re.fullmatch(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*", name):
            raise RecipeError(f"{path}: names {shown(name)}, which is no file of this folder.")
    facts: dict[str, Any] = values
    return facts


def own_files(values: Mapping[str, Any], name: str) -> list[str]:
    """What a folder that `name` seals may consist of: the files that it knows, itself, and in each
    of its folders a card, which is not sealed and need not be there.

    values: those of `name`.
    """
    files = list(values["files"])
    folders = {folder for file in files for folder in PurePosixPath(file).parents}
    cards = sorted((folder / CARD).as_posix() for folder in folders | {PurePosixPath()})
    return [*files, name, *cards]


def own_names(values: Mapping[str, Any], name: str) -> set[str]:
    """As `own_files`, but only what is right in the folder: files, and folders whole."""
    return {file.partition("/")[0] for file in own_files(values, name)}


def seal_of(run: Path) -> str:
    """The sha256 of what seals a run's model, a model folder, or an ensemble: that file holds the
    sha256 of every other, so it tells one training from the next. Raises RecipeError.
    """
    for path in (run / ENSEMBLE, run / MODEL / MANIFEST, run / MANIFEST):
        if path.is_file():
            return sha256(path)
    raise RecipeError(f"{run}: holds no model; it is the folder of a run that is wanted.")
