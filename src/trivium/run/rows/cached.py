"""Where this user's files are kept that can be made, or fetched, again."""

import os
from contextlib import suppress
from pathlib import Path

PLACE = "TRIVIUM_CACHE"
"""Environment variable: a folder, or nothing (`TRIVIUM_CACHE=`) to keep nothing."""


def cache_home() -> Path | None:
    """The folder of such files; None where nothing is to be kept."""
    if (given := os.environ.get(PLACE)) is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        return (Path(base) if base else Path.home() / ".cache") / "trivium"
    return None
