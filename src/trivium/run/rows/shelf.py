"""Where this machine keeps what it made of big tables: a folder of files by the hash of all that
they depend on.

It lies in the folder of caches, `tables/` in it. Losing it costs minutes; a file that is damaged is
made again.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where each process makes its own
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

PLACE = "TRIVIUM_CACHE"
"""Environment variable: a folder, or nothing (`TRIVIUM_CACHE=`) to keep nothing."""
MOST_BYTES = 20 * 2**30
"""Of all tables; those that were not used for the longest time go first, never one in use."""
_TABLES = "tables"
_LOCK = ".lock"
_USED = ".used"
"""Locked, beside others, by every process that uses the folder, for as long as it lives."""
_IN_USE: dict[Path, int] = {}
"""The folders that this process uses, with the descriptors of their locks, which it closes by
ending."""


def cache_home() -> Path | None:
    """The folder of caches; None where nothing is to be kept."""
    if (given := os.environ.get(PLACE)) is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        return (Path(base) if base else Path.home() / ".cache") / "trivium"
    return None


def shelf(key: str) -> Path:
    """The folder of a table, there and marked as used now. Where nothing may be kept, or the
    folder of caches cannot be written to, one that is gone with this process."""
    home = cache_home()
    if home is not None:
        folder = home / _TABLES / key
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            if os.access(folder, os.W_OK):
                return folder
    folder = _passing() / key
    folder.mkdir(exist_ok=True)
    return folder


def own_shelf(key: str) -> Path:
    """The folder of a table, which no other process removes as long as this one lives; on Windows,
    and on file systems without locks, it may."""
    folder = shelf(key)
    while not _in_use(folder):  # another process has just removed it
        folder = shelf(key)
    return folder


@contextmanager
def alone_with(folder: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """While the block lasts, no other process of this machine makes anything in the folder of a
    table: who comes later finds it there.

    on_wait: called where another one is at work. The system ends the lock with its process.
    """
    file = _locked(folder / _LOCK, on_wait)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def make_room(keep: set[Path]) -> None:
    """Remove the tables that are too much, but for those that other processes use. keep: folders
    that this one does."""
    home = cache_home()
    tables = home / _TABLES if home else None
    if tables is None or not tables.is_dir():
        return
    # Of one that another process is removing, both are 0.
    found = [(_last_used(each), _bytes(each), each) for each in tables.iterdir()]
    total = sum(size for _, size, _ in found)
    for _, size, folder in sorted(found):
        if total <= MOST_BYTES:
            return
        if folder not in keep and _removed(folder):
            total -= size


def _in_use(folder: Path) -> bool:
    """Lock a folder for as long as this process lives; whether it is still there."""
    if sys.platform == "win32" or not _HAS_LOCKS:
        return True
    path = folder / _USED
    if folder in _IN_USE and path.exists():
        return True
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH)  # whoever is removing it has done so in a moment
    if not path.exists():
        os.close(file)
        return False
    _IN_USE[folder] = file
    return True


def _removed(folder: Path) -> bool:
    """Remove a table's folder; whether that could be, since no process uses it."""
    with ExitStack() as stack:
        if sys.platform != "win32" and _HAS_LOCKS:
            try:
                file = stack.enter_context((folder / _USED).open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # there are no locks here, or it is gone already
                pass
        shutil.rmtree(folder, ignore_errors=True)
        return True


def _last_used(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _bytes(folder: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _locked(path: Path, on_wait: Callable[[], object]) -> IO[bytes] | None:
    """None on a file system without locks."""
    if sys.platform == "win32" or not _HAS_LOCKS:
        return None
    file = None
    with suppress(OSError):
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
    return file


@cache
def _passing() -> Path:
    folder = tempfile.mkdtemp(prefix="trivium-tables-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
