"""Tables as people have them, and what `trivium.init` drafts for them."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trivium
from tests.support.shell import spoken
from tests.support.tables import sentence
from trivium.recipe.plain_yaml import read_yaml

Rows = Sequence[Sequence[object]]


def table(path: Path, columns: Sequence[str], rows: Rows, encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def texts(count: int, first: int = 0) -> list[str]:
    return [f"{sentence(7 * n)} {sentence(11 * n + 3)}" for n in range(first, first + count)]


def moods(count: int, first: int = 0) -> list[list[object]]:
    return [[t, "up" if n % 3 else "down"] for n, t in enumerate(texts(count, first))]


def drafted(folder: Path, *files: Path, **more: Any) -> tuple[dict[str, Any], str]:
    """A recipe's values, and what was said; its files were read as they will be."""
    console, said = spoken()
    trivium.init(files, folder / "recipe.yaml", console=console, **more)
    return read_yaml(folder / "recipe.yaml"), said.getvalue()


def only(values: dict[str, Any]) -> dict[str, Any]:
    (task,) = values["tasks"].values()
    assert isinstance(task, dict)
    return task
