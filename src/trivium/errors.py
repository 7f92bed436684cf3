"""The errors that people see, the hint that goes with a misspelt name, and a wanted end."""

import difflib
import errno
import os
import re
from collections.abc import Iterable


class RecipeError(ValueError):
    """The recipe, the data or a folder it names is wrong; the message says where and what to do.

    It is for people, and all that they need to read:

        try:
            trivium.load("runs/nowhere")
        except trivium.RecipeError as error:
            print(error)
    """


class Interrupted(Exception):  # noqa: N818 an outcome, not an error
    """Work was asked to stop, and saved what going on needs.

    The same call, with `resume` where there is one, goes on:

        try:
            trivium.train("recipes/quickstart.yaml", "runs/long")
        except trivium.Interrupted:  # a first Ctrl-C
            trivium.train("recipes/quickstart.yaml", "runs/long", resume=True)
    """


class NotWrittenError(OSError):
    """The system would not write a file: its disk is full, or fails. The message says what was
    kept, and how to go on.

        try:
            trivium.train("recipes/quickstart.yaml", "runs/long")
        except trivium.NotWrittenError as error:
            print(error)
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.errno = getattr(cause, "errno", None)

    def __str__(self) -> str:
        return str(self.args[0])


def system_said(error: OSError) -> str:
    """What the system refused, in words, and of which file; without a full stop."""
    if isinstance(error, NotWrittenError):
        return str(error).removesuffix(".")
    why = error.strerror or str(error) or type(error).__name__
    return f"{why} ({error.filename})" if error.filename else why


def first_line(error: BaseException) -> str:
    """What an error of a library says first, or else its name: many that are about connections say
    nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def is_of_the_disk(error: OSError) -> bool:
    """Whether the disk is full, or fails: not what somebody asked for is wrong."""
    full = {errno.ENOSPC, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
    return error.errno in full


def os_error_in(error: BaseException, path: object) -> OSError | None:
    """What a library's error says of the system's; None where it does not.

    Rust and C++ put it into words, as in `I/O error: No space left on device (os error 28)`.
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else None


def refuse_no_path(given: object, what: str) -> None:
    """Raises RecipeError for what names no file, such as a DataFrame. what: is to be one."""
    if not isinstance(given, (str, os.PathLike)):
        raise RecipeError(
            f"{what}: must be the path of a file, found {type(given).__name__}. Write it into one, "
            "such as rows.csv, and name that."
        )


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest allowed one, or all of them."""
    names = list(allowed)
    if close := difflib.get_close_matches(str(name), names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(map(repr, names))}" if names else ""
