"""Files and folders that appear whole or not at all.

Everything is written under a temporary name, synced and renamed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trivium.errors import RecipeError


def refuse_unwritable(out: Path, *, overwrite: bool, example: str) -> None:
    """Refuse, before any work, a file that must not or cannot be written.

    out: absolute; example: a name that such a file might have. Raises RecipeError.
    """
    if out.is_dir():
        raise RecipeError(f"{out}: is a folder; name a file, such as {example}.")
    if out.exists() and not overwrite:
        raise RecipeError(
            f"{out}: is there already. Replace it (--overwrite), or name another file."
        )
    place = out.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise RecipeError(f"{out}: cannot be written, since {place} cannot be written to.")


def write_text(path: Path, text: str) -> None:
    """Replace a file, all or nothing."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file, all or nothing."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    # Before the rename: else a power cut may leave the new name on an empty file.
    _sync(fresh)
    fresh.replace(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends well; after an error
    all is as before."""
    fresh = fresh_folder(folder)
    try:
        yield fresh
        replace_folder(fresh, folder)
    except BaseException:  # Ctrl-C as well: half a folder is of no use to anybody
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def fresh_folder(folder: Path) -> Path:
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; a crash leaves the old or the new one, or both."""
    for path in fresh.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes for the owner only, but folders are shared
        _sync(path)
    _sync(fresh)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    # Python cannot put a folder in the place of one that holds something in a single call: so there
    # is a moment between the two renames with neither, which `recover` mends.
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finish a replacement that a crash interrupted between its two renames."""
    old = folder.with_name(f".{folder.name}.old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _sync(path: Path) -> None:
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders; its file system keeps their entries in order by itself
    # To write, although nothing is written: Windows syncs no handle that only reads.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
