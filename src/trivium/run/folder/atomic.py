"""Files and folders that appear whole or not at all.

Everything is written under a temporary name of its own, synced and renamed. A link stays a link:
what is written goes to where it leads.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trivium.errors import NotWrittenError, RecipeError, system_said

_FRESH = re.compile(r"\.(.+?)(\.[0-9a-f]{8})?\.new")
"""What is being written, or was when its process was killed."""


def refuse_url(
    path: str | Path, remedy: str = "Name one of this machine, and copy it there once it is written"
) -> None:
    """Of which a folder `s3:` would be made. Raises RecipeError."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise RecipeError(f"{path}: is a URL, where a folder or file is asked for. {remedy}.")


def where_it_leads(path: str | Path) -> Path:
    """Absolute, and behind any links. Raises RecipeError for one that leads nowhere, and a URL."""
    refuse_url(path)
    whole = Path(os.path.abspath(path))
    for link in (whole, *whole.parents):
        if link.is_symlink() and not link.exists():
            raise RecipeError(
                f"{link}: is a link to {os.path.realpath(link)}, which is not there. Make that, or "
                "remove the link."
            )
    return Path(os.path.realpath(whole))


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
    place = nearest_there(where_it_leads(out).parent)
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise RecipeError(f"{out}: cannot be written, since {place} cannot be written to.")


def refuse_source(out: Path, tables: Iterable[str | Path], what: str) -> None:
    """Refuse to write `what` over one of the tables that it is made of, whatever may be replaced.

    Standard input is none. Raises RecipeError.
    """
    for table in tables:
        if str(table) != "-" and out.exists() and Path(table).exists() and out.samefile(table):
            raise RecipeError(
                f"{out}: is the table that is read; {what} into another file (--out)."
            )


def refuse_file(out: Path, what: str) -> None:
    """Refuse, before any work, a folder for `what` that is a file, or would lie in one."""
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out}: is a file; name a folder for {what}.")
    if not (place := nearest_there(out)).is_dir():
        raise RecipeError(f"{out}: {place} is a file, so no folder can be made in it.")


def nearest_there(place: Path) -> Path:
    """It, or the nearest thing above it that is there."""
    return next(each for each in (place, *place.absolute().parents) if each.exists())


# --- files -------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Replace a file, all or nothing. Raises OSError with the file's name."""
    with staged(path, text):
        pass


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file, all or nothing. Raises OSError with the file's name."""
    with staged(path, content):
        pass


@contextmanager
def staged(path: Path, content: str | bytes) -> Iterator[None]:
    """While the block lasts, what a file shall hold is on the disk beside it; then it takes its
    place. Raises OSError with the file's name."""
    target = Path(os.path.realpath(path))
    fresh = fresh_name(target)
    try:
        with fresh.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        # Before the rename: else a power cut may leave the new name on an empty file.
        sync(fresh)
        yield
        fresh.replace(target)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # as where the disk is full
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


# --- folders -----------------------------------------------------------------------------------


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends well; after an error
    all is as before, which NotWrittenError says where the system refused something."""

    def left() -> str:
        kept = "What was there is as it was" if folder.exists() else "Nothing was kept"
        return f"{kept}. Once there is room, or the disk is sound, type the same command again."

    with refusals_told(folder, left), in_place_of(folder) as fresh:
        yield fresh


@contextmanager
def in_place_of(folder: Path) -> Iterator[Path]:
    """As `whole_folder`, whose errors its caller tells of."""
    recover(folder)
    fresh = fresh_folder(folder)
    try:
        yield fresh
        replace_folder(fresh, folder)
    except BaseException:  # Ctrl-C as well: half a folder is of no use to anybody
        recover(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        raise


@contextmanager
def refusals_told(place: Path, left: Callable[[], str]) -> Iterator[None]:
    """NotWrittenError for what the system refuses in the block: what, and what is `left`."""
    try:
        yield
    except (BrokenPipeError, NotWrittenError):  # nobody listens any more; or all is told
        raise
    except OSError as error:
        raise NotWrittenError(f"{place}: {system_said(error)}. {left()}", error) from error


def fresh_folder(folder: Path) -> Path:
    """A new folder beside `folder`, or beside what that is a link to."""
    fresh = fresh_name(Path(os.path.realpath(folder)))
    fresh.mkdir(parents=True)
    return fresh


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; a crash leaves the old or the new one, or both. After
    an error that lets this process live the old one is in its place, unless `recover` failed."""
    folder = Path(os.path.realpath(folder))
    for path in fresh.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes for the owner only, but folders are shared
        sync(path)
    sync(fresh)
    old = _old_name(folder)
    remove(old)
    # Python cannot put a folder in the place of one that holds something in a single call: so there
    # is a moment between the two renames with neither, which `recover` mends.
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    try:
        sync(folder.parent)
    except BaseException:  # then nobody is to be told of a folder that the next power cut may take
        folder.rename(fresh)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finish a replacement that a crash interrupted between its two renames."""
    folder = Path(os.path.realpath(folder))
    old = _old_name(folder)
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def remove(path: Path) -> None:
    """A file, a folder, or a link, if there is one; not what the link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_whole(folder: Path) -> None:
    """A folder that a crash leaves whole, or none: half of it has another name, and is swept."""
    doomed = fresh_name(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def clear(path: Path) -> None:
    """As `remove`; but a link stays, and what it leads to is emptied."""
    if not path.is_symlink():
        remove(path)
    elif path.is_dir():
        for each in path.iterdir():
            remove(each)
    else:
        Path(os.path.realpath(path)).unlink(missing_ok=True)


def leftover_of(name: str) -> str | None:
    """The name of what was not written to its end, if a file or folder is called so."""
    found = _FRESH.fullmatch(name)
    return None if found is None else found[1]


def is_leftover(name: str) -> bool:
    """Whether a file or folder is called as what was not written to its end."""
    return leftover_of(name) is not None


def remove_leftovers(home: Path, of: str | Container[str] | None = None) -> None:
    """What processes that were killed left in a folder; not what others are writing there: so its
    writer must be alone. of: only what was to have this name, or one of these."""
    names = (of,) if isinstance(of, str) else of
    if home.is_dir():
        for path in list(home.iterdir()):
            found = leftover_of(path.name)
            if found is not None and (names is None or found in names):
                remove(path)


def fresh_name(path: Path) -> Path:
    """A name beside `path` that nobody has; who is alone there next sweeps what is called so."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")


def _old_name(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def sync(path: Path) -> None:
    """Put a file, or the names that a folder holds, on the disk."""
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders; its file system keeps their entries in order by itself
    # To write, although nothing is written: Windows syncs no handle that only reads.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
