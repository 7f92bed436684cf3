"""What a file is told apart by."""

import hashlib
import os
from pathlib import Path

_AT_ONCE = 8 * 2**20
"""Bytes. Python lets other threads wait, and go on, between two parts: with small ones, whoever
loads modules meanwhile is held up, or holds this up."""


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        room = memoryview(bytearray(min(max(os.fstat(file.fileno()).st_size, 1), _AT_ONCE)))
        while count := file.readinto(room):
            found.update(room[:count])
    return found.hexdigest()
