"""Locks on open files (flock), which a child process inherits with the file, and which the kernel
drops with the last process that has it open, however that ends.

So a run is locked for as long as a study or the child that it started lives. Windows has no such
locks, and packages like filelock can only bring theirs, which end with the process that took them:
a study that is killed would leave a child that trains on unlocked. Hence only POSIX systems.
"""

import platform
import sys
from typing import IO

from trivium.errors import RecipeError

try:
    import fcntl
except ImportError:  # Windows
    _ARE_HERE = False
else:
    _ARE_HERE = True

_REFUSED = "`refuse_without_locks` comes first"
"""Said by an `if` rather than an `assert`, which type checkers do not know to end a function."""


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
