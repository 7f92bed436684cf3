"""Places behind URLs that fsspec knows: opened, what goes wrong there in words, and patience."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from trivium.errors import NotWrittenError, RecipeError

OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"}
"""Protocols of stores without folders. Asked for one, some make a bucket of a misspelt name."""
PATIENCE_S = 600.0
AGAIN_AFTER_S = 5.0

T = TypeVar("T")


class RemoteError(NotWrittenError):
    """A place behind a URL does not answer, or refuses. The message says which, and why."""


def is_url(place: object) -> bool:
    return "://" in str(place)


def file_system(url: str) -> tuple[Any, str]:
    """What a URL is asked by, and the path there. Raises RecipeError, in which the URL is named."""
    try:
        import fsspec.core
    except ImportError as error:
        raise RecipeError(
            f"{url}: needs fsspec, which is not installed: pip install 'trivium[ray]'"
        ) from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise RecipeError(f"{url}: {str(error).rstrip('.')}.") from error
    return files, str(path)


def make_folder(files: Any, path: str) -> None:
    """Where there are folders."""
    told = files.protocol
    if OBJECTS.isdisjoint((told,) if isinstance(told, str) else told):
        files.makedirs(path, exist_ok=True)


def put_whole(files: Any, path: str, content: bytes | Path) -> None:
    """Write a file, and the folder that it is in, at once: object stores do, a disk by renaming."""
    make_folder(files, path.rpartition("/")[0])
    told = files.protocol
    is_disk = "file" in ((told,) if isinstance(told, str) else told)
    fresh = f"{path}.{uuid.uuid4().hex}" if is_disk else path
    if isinstance(content, bytes):
        files.pipe_file(fresh, content)
    else:
        files.put_file(str(content), fresh)
    if is_disk:
        os.replace(fresh, path)


@contextmanager
def in_words(url: str, *, missing: bool = False) -> Iterator[None]:
    """RemoteError for whatever goes wrong in the block. missing: what is not there is an answer,
    and FileNotFoundError stays."""
    try:
        yield
    except (RecipeError, NotWrittenError):
        raise
    except Exception as error:  # of as many kinds as there are stores, few of them OSErrors
        if missing and isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, FileNotFoundError) and not error.strerror:  # then it is a bare path
            reason = f"{reason} is not there"
        raise RemoteError(f"{url}: {' '.join(str(reason).split()).rstrip('.')}", error) from error


def patiently(do: Callable[[], T], has_enough: Callable[[], object]) -> T:
    """What `do` returns, tried again for ten minutes where the place does not answer.

    has_enough: whether somebody asked to stop. Raises RemoteError.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do()
        except RemoteError:
            if has_enough() or time.monotonic() > until:
                raise
            time.sleep(AGAIN_AFTER_S)
