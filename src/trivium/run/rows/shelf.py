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
from contextlib import contextmanager, suppress
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
"""Of all tables; those that were not used for the longest time go first, never the one at hand."""
_TABLES = "tables"
_LOCK = ".lock"


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
    """Remove the tables that are too much. keep: folders that are in use."""
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
        if folder not in keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


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
