"""Locks that the kernel drops with the process that took them, however it ends.

Of two kinds. `alone` keeps others from writing a folder or a file for as long as a block lasts;
Windows has locks for that, too. `lock` and `wait_for_lock` are of open files (flock), which a child
process inherits with the file: so a run is locked for as long as a study or the child that it
started lives. Windows has no such locks, and packages like filelock can only bring theirs, which
end with the process that took them: a study that is killed would leave a child that trains on
unlocked. Hence studies and searches want a POSIX system.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from trivium.errors import RecipeError
from trivium.run.folder.atomic import remove_leftovers, where_it_leads
from trivium.run.folder.names import MODEL, RECIPE, RESUME, TEACHERS

if sys.platform == "win32":
    import msvcrt

try:
    import fcntl
except ImportError:  # Windows
    _ARE_HERE = False
else:
    _ARE_HERE = True

_REFUSED = "`refuse_without_locks` comes first"
"""Said by an `if` rather than an `assert`, which type checkers do not know to end a function."""
_INSIDE = ".folder.lock"
_FAR = 2**30
"""Windows lets nobody read a byte that is locked: so it is one that is not there."""
_LOOK_EVERY_S = 0.5


@contextmanager
def alone(place: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """While the block lasts, no other process that asks for it writes this folder or file.

    Its parents are made. What killed processes left beside it, half written, is removed. The lock
    is a file beside `place`, or, where none can be made there, in it; that is removed at the end.
    On a file system without locks nobody is kept out. waiting: where another process has it, its
    end is waited for, and this called each time it is looked for. Raises RecipeError where another
    process has it and is not waited for, and for a link that leads nowhere.
    """
    real = where_it_leads(place)
    made = [parent for parent in real.parents if not parent.exists()]
    taken = _acquired(real, place, waiting)
    try:
        yield
    finally:
        if taken is not None:
            _release(*taken)
        for parent in made:
            with suppress(OSError):  # it holds something
                parent.rmdir()


def is_lock_inside(name: str) -> bool:
    """Whether a file of a folder is its lock."""
    return name == _INSIDE


def _acquired(
    real: Path, place: Path, waiting: Callable[[], object] | None
) -> tuple[Path, IO[bytes]] | None:
    """The lock's file; None where none can be made: whoever writes will be told why."""
    while (opened := _opened(real)) is not None:
        path, file = opened
        is_ours = _take(file)
        if is_ours is False:
            who = _owner(path)
            file.close()
            if waiting is not None:
                waiting()
                time.sleep(_LOOK_EVERY_S)
                continue
            raise RecipeError(
                f"{place}: another process{who} is writing there now. Wait for its end, or name "
                "another place."
            )
        if _is_still(path, file):
            _sign(file)
            if is_ours:
                _sweep(real)
            return opened
        file.close()  # the one before has removed it since it was opened
    return None


def _opened(real: Path) -> tuple[Path, IO[bytes]] | None:
    for path in (real.with_name(f".{real.name}.lock"), real / _INSIDE):
        with suppress(OSError, ValueError):  # ValueError: the root of all folders has no name
            if path.parent != real:
                path.parent.mkdir(parents=True, exist_ok=True)
            return path, path.open("a+b")
    return None


def _take(file: IO[bytes]) -> bool | None:
    """Whether the lock is ours now; None where there are none."""
    try:
        if sys.platform == "win32":
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        if not _ARE_HERE:
            return None
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # as POSIX says it, and as Windows does
        return False
    except OSError:
        return None  # a file system without locks
    return True


def _is_still(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _sign(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk
        file.truncate(0)
        file.write(b"%d\n" % os.getpid())
        file.flush()


def _sweep(real: Path) -> None:
    """Remove what killed processes were writing, which nobody else can be writing now."""
    remove_leftovers(real.parent, real.name)
    if (real / RECIPE).is_file():
        for home in (real, real / MODEL, real / RESUME, real / TEACHERS):
            remove_leftovers(home)


def _owner(path: Path) -> str:
    try:
        number = path.read_bytes().strip()
    except OSError:
        return ""
    return f" ({number.decode()})" if number.isdigit() else ""


def _release(path: Path, file: IO[bytes]) -> None:
    if sys.platform == "win32":  # where nobody removes what is open
        file.close()
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError):
        path.unlink()  # while it is locked: who has opened it already will see that it is gone
    with suppress(OSError):
        file.close()


def refuse_without_locks(command: str) -> None:
    """RecipeError, before any work, where a command cannot look after its child processes."""
    if not _ARE_HERE:
        raise RecipeError(
            f"trivium {command}: needs a POSIX system (Linux, macOS), since it trains in child "
            f"processes that are locked and stopped in ways {platform.system()} does not have. "
            f"Use WSL (Windows Subsystem for Linux) for it, or `trivium train`, run by run."
        )


def lock(file: IO[str]) -> bool:
    """Whether nobody else has the lock; it is then ours until the file is closed."""
    if sys.platform == "win32":
        raise AssertionError(_REFUSED)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def wait_for_lock(file: IO[str]) -> None:
    """Ours until the file is closed. Raises OSError on a file system without locks."""
    if sys.platform == "win32":
        raise AssertionError(_REFUSED)
    fcntl.flock(file, fcntl.LOCK_EX)
