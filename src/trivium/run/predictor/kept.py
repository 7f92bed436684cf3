"""A loaded model's own files, taken elsewhere."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trivium
from trivium.errors import RecipeError
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MEMBERS, MODEL, RECIPE
from trivium.run.folder.sealed import own_files, own_names, read_sealed, unseal


def model_home(folder: Path) -> Path:
    """Where the files are that make a run's, an ensemble's or an exported model."""
    if not (folder / ENSEMBLE).is_file() and (folder / MODEL / MANIFEST).is_file():
        return folder / MODEL
    return folder


def save_model(folder: Path, target: Path, *, overwrite: bool) -> Path:
    """Copy a model's files, verified, into another folder, whole or not at all; that folder.

    Raises RecipeError where there is something already, unless it is a model that is to be
    replaced.
    """
    home = model_home(folder)
    files = model_files(home)
    _refuse_taken(target, home, overwrite=overwrite)
    with whole_folder(target) as fresh:
        for name in files:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / name, fresh / name)
    return target


def model_files(home: Path) -> list[str]:
    """The names of a model's files. Raises RecipeError where one is missing or altered."""
    return list(dict.fromkeys(name for name in _own(home) if (home / name).is_file()))


def _own(home: Path) -> Iterator[str]:
    """What those may be; of an ensemble its members' too."""
    seal = ENSEMBLE if (home / ENSEMBLE).is_file() else MANIFEST
    if not (home / seal).is_file():
        raise RecipeError(f"{home}: is no longer there, or holds no model any more.")
    yield from [*own_files(unseal(home, seal), seal), RECIPE]
    for member in sorted(home.glob(f"{MEMBERS}/*")) if seal == ENSEMBLE else ():
        within = member.relative_to(home).as_posix()
        own = own_files(unseal(member, MANIFEST), MANIFEST)
        yield from (f"{within}/{name}" for name in own)


def _refuse_taken(target: Path, home: Path, *, overwrite: bool) -> None:
    """Refuse a folder whose content would be lost, unless it is a model that is to be replaced."""
    if target.exists() and not target.is_dir():
        raise RecipeError(f"{target}: is a file; name a folder for the model.")
    there = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if not there:
        return
    if home.resolve().is_relative_to(target.resolve()):
        raise RecipeError(f"{target}: holds the model itself; name another folder.")
    seal = next((name for name in (ENSEMBLE, MANIFEST) if (target / name).is_file()), None)
    is_model = seal is not None and there <= own_names(read_sealed(target / seal), seal) | {RECIPE}
    if not (is_model and overwrite):
        hint = ", or replace the model there: overwrite=True" if is_model else ""
        raise RecipeError(f"{target}: is not empty. Name another folder{hint}.")


def push_model(folder: Path, name: str, **settings: Any) -> Any:
    """As `trivium.push`, which is asked of the package because verbs stand above predictors."""
    return trivium.push(folder, name, **settings)
