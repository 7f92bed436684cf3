"""Where a source's rows lie: a file of the recipe's data, or what was fetched of the hub.

A split of a data set is fetched once, through the `datasets` library, and kept as JSON lines under
the sha256 of what it holds: then it is a file like any other, and nobody is asked for it again.
"""

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256 as hash_of
from pathlib import Path
from typing import Any

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.parts.tasks import Source, Task
from trivium.run.rows.shelf import PLACE, cache_home
from trivium.text.frames import is_missing
from trivium.text.jsonl import text_of
from trivium.text.tables import Table, renamed

NEEDED = "pip install 'trivium[datasets]'"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
YES = ("1", "ON", "TRUE", "YES")
"""What turns such a word on, as the hub's library reads it."""
DIGITS = 16
"""Of a digest in a file's name."""


def path_of(data: str | Path, source: Source) -> Path:
    """Of its file; of a data set on the hub, the file that its rows are kept in, fetched where they
    are not. data: folder of the recipe's files. Raises RecipeError."""
    return Path(data) / source.file if source.hub is None else _kept(source)


def opened(task: Task, path: Path, needed: Sequence[str], source: Source | None) -> Table:
    """A source's table, called as the recipe calls it. Raises RecipeError."""
    if source is None or source.hub is None:
        return task.open_table(path, needed, source.encoding if source else None)
    try:
        return renamed(task.open_table(path, needed), source.file)
    except RecipeError as error:
        raise RecipeError(str(error).replace(str(path), source.file)) from error


def _kept(source: Source) -> Path:
    assert source.hub is not None
    here = Path(source.hub)
    said = (source.hub, source.config, source.split, source.revision)
    key = hash_of(repr((*said, str(here.resolve()) if here.is_dir() else "")).encode()).hexdigest()
    home = _home()
    if not here.is_dir():  # which may be another one by now
        for path in sorted(home.glob(f"{key[:DIGITS]}-*.jsonl")):
            if sha256(path).startswith(path.stem.partition("-")[2]):
                return path
            path.unlink(missing_ok=True)
    return _written(source, home, key[:DIGITS])


@cache
def _nowhere() -> Path:
    """A folder that goes with this process, where nothing is to be kept."""
    folder = tempfile.mkdtemp(prefix="trivium-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _home() -> Path:
    home = cache_home()
    return _nowhere() if home is None else home / "data"


def _written(source: Source, home: Path, key: str) -> Path:
    """The rows as JSON lines, whole or not at all."""
    rows = _fetched(source)
    try:
        home.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=home, suffix=".part")
    except OSError as error:
        raise RecipeError(
            f"{source.file}: its rows cannot be kept in {home}: {error.strerror}. Name another "
            f"folder with {PLACE}."
        ) from error
    part = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
        path = home / f"{key}-{sha256(part)[:DIGITS]}.jsonl"
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return path


def _fetched(source: Source) -> Iterator[dict[str, Any]]:
    """A row after the other, labels by their names. Raises RecipeError."""
    try:
        import datasets
    except ImportError as error:
        raise RecipeError(f"{source.file}: data sets of the hub need {NEEDED}.") from error
    try:
        found = datasets.load_dataset(
            source.hub, source.config, split=source.split, revision=source.revision
        )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise RecipeError(f"{source.file}: {_in_words(error)}") from error
    shown = {name: show for name, kind in found.features.items() if (show := _shown(kind))}
    plain = found.select_columns(list(shown)).with_format(None)
    return ({name: shown[name](value) for name, value in row.items()} for row in plain)


def _shown(kind: Any) -> Any:
    """What makes a cell of a column's values; None of what no cell can hold, such as pictures."""
    if hasattr(kind, "int2str"):  # labels: those of rows that have none are -1
        return lambda value: None if value is None or value < 0 else kind.int2str(value)
    inner = getattr(kind, "feature", kind[0] if isinstance(kind, list) and kind else None)
    if inner is not None:
        each = _shown(inner)
        return each and (lambda value: value if value is None else _listed(map(each, value)))
    dtype = str(getattr(kind, "dtype", ""))
    if type(kind).__name__ != "Value" or dtype in ("binary", "large_binary"):
        return None
    return _cell


def _listed(values: Iterable[Any]) -> str:
    """Several labels in a cell, as text that holds their list."""
    return json.dumps(list(values), ensure_ascii=False)


def _cell(value: Any) -> Any:
    if is_missing(value):
        return None
    is_plain = isinstance(value, str | int) or (
        isinstance(value, float) and value not in (float("inf"), float("-inf"))
    )
    return value if is_plain else text_of(value)


def _in_words(error: BaseException) -> str:
    """Why a data set could not be had, and what to do."""
    name, first = type(error).__name__, str(error).strip().partition("\n")[0].rstrip(".")
    offline = [word for word in OFFLINE if os.environ.get(word, "").upper() in YES]
    if "not found" in first and "BuilderConfig" in first:
        return f"has no such `config`: {first}."
    if "Config name is missing" in first:
        listed = " ".join(str(error).split())
        return f"has several configurations; name one as `config`: {listed}"
    if "split" in first.lower() and isinstance(error, ValueError):
        return f"has no such `split`: {first}."
    is_away = isinstance(error, ConnectionError) or "Offline" in name
    if offline and (is_away or "NotFound" in name):
        return (
            f"is not in the cache, and the hub is not asked, since {offline[0]} is set. Fetch it "
            "once without."
        )
    if name == "DatasetNotFoundError":
        return (
            "the hub has no data set of that name and revision, or it is private. Check the name; "
            "for a private one log in (`hf auth login`), or set HF_TOKEN."
        )
    if is_away:
        return f"the hub could not be reached ({first}). Try again when it can."
    return f"could not be read: {first or name}."
