"""What a finished run's JSON files must hold, so that whoever reads them need not ask again."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from trivium.errors import RecipeError
from trivium.run.folder.names import SCORES

Metrics = dict[str, float]


class _Told(BaseModel):
    """What is not named here is nobody's business; what may be absent, older runs lack."""

    model_config = ConfigDict(strict=True, extra="ignore")


class ScoresShape(_Told):
    """scores.json."""

    tasks: dict[str, dict[str, Metrics]]
    """Task -> split -> metric."""
    overall: dict[str, Metrics] = {}
    precision: str = ""
    cost: dict[str, float | None] = {}
    selected: dict[str, Any] | None = None


class EnvironmentShape(_Told):
    """environment.json."""

    cpu: str | None = None
    gpu: str | None = None
    threads: int | None = None
    packages: dict[str, str] = {}
    command: list[str] = []


def read_shaped(path: Path, shape: type[BaseModel]) -> dict[str, Any]:
    """The file's table, as it stands there. Raises RecipeError with the place of what is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: is damaged: {error}") from error
    if not isinstance(found, dict):
        raise RecipeError(f"{path}: is damaged: wanted a table, found {type(found).__name__}.")
    try:
        shape.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        shown = "" if first["type"] == "missing" else f", found {str(first['input'])[:60]!r}"
        raise RecipeError(
            f"{path}: {place}: {first['msg'].lower()}{shown}. The file is damaged; copy the whole "
            "folder again, or train the run again."
        ) from None
    return found


def read_scores(run_dir: Path) -> dict[str, Any]:
    """The content of a finished run's `scores.json`."""
    path = run_dir / SCORES
    if not path.is_file():
        raise RecipeError(f"{run_dir}: no {SCORES}; the run is not finished.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
