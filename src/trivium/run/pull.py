"""`trivium pull`: a model of the hub fetched, verified, and put where it is wanted."""

import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.locks import alone
from trivium.run.folder.names import MANIFEST
from trivium.run.folder.sealed import own_files, own_names, read_sealed, unseal
from trivium.run.folder.start import refuse_taken
from trivium.run.hub.download import download
from trivium.run.hub.fetch import is_hub_name


@dataclass(frozen=True, slots=True)
class Pulled:
    folder: Path
    """Where the model lies."""
    commit: str
    """Its hash on the hub."""
    sha256: str
    """Of its trivium.json, which holds that of every other file."""
    is_from_cache: bool
    """Whether the hub was not asked, or could not be: there may be a newer commit."""


def pull(
    name: str,
    *,
    revision: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Pulled:
    """Fetch a model of the hub, and verify the sha256 of its files.

    name: user/name. revision: a branch, tag or commit; main by default. out: a folder of its own
    for it; by default it stays in the cache of the hub's library (`HF_HOME`). overwrite: replace a
    model that is in that folder. Raises RecipeError where it cannot be had, is no model of Trivium,
    or is not as it was sealed.

        pulled = trivium.pull("desk/support", out="support")
        pulled.commit
        trivium.load(pulled.folder).predict("topic", ["Where is my parcel?"])
    """
    if not is_hub_name(name):
        raise RecipeError(f"{name!r}: is no name of a model on the hub, which is user/name.")
    target = None if out is None else Path(os.path.abspath(out))
    with alone(target) if target is not None else nullcontext():
        if target is not None:
            # Before anything is fetched.
            refuse_taken(target, [], "model", _found, overwrite=overwrite)
        fetched = download(name, revision)
        try:
            files = own_files(unseal(fetched.folder, MANIFEST), MANIFEST)
        except RecipeError as error:
            raise RecipeError(
                f"{name}, commit {fetched.commit}: what the hub gave is not whole: {error} If it "
                "stays so, its owner must push it again."
            ) from error
        if target is not None:
            _copy(fetched.folder, files, target)
    return Pulled(
        folder=target or fetched.folder,
        commit=fetched.commit,
        sha256=sha256(fetched.folder / MANIFEST),
        is_from_cache=fetched.is_from_cache,
    )


def _found(target: Path) -> set[str] | None:
    """What a model's folder consists of; None where there is none in it."""
    is_model = (target / MANIFEST).is_file()
    return own_names(read_sealed(target / MANIFEST), MANIFEST) if is_model else None


def _copy(source: Path, files: list[str], target: Path) -> None:
    with whole_folder(target) as fresh:
        for file in files:
            if (source / file).is_file():
                (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file, fresh / file)
