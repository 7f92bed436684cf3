"""Teachers, and starting points, that were trained anew since a run learned from them."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.run.folder.decisions import seal_as_trained
from trivium.run.folder.model import find_model
from trivium.run.folder.names import ENSEMBLE, TEACHERS, TENSORS
from trivium.run.folder.provenance import read_provenance


def retrained(run_dir: Path) -> list[str]:
    """Folders of teachers that hold other models than those whose answers the run has kept, and
    that of the run it started from if its model is another now.

    Teachers that are gone by now, and answers that were deleted, say nothing.
    """
    asked = [
        teacher
        for path in sorted((run_dir / TEACHERS).glob(f"*{TENSORS}"))
        for teacher in _asked(path)
    ]
    facts = read_provenance(run_dir)
    if facts is not None and facts.start is not None:
        asked.append({"run": facts.start.model, "sha256": facts.start.sha256})
    return list(
        dict.fromkeys(
            one["run"]
            for one in asked
            if (digest := _digest(Path(one["run"]))) and digest != one["sha256"]
        )
    )


def _asked(path: Path) -> list[dict[str, Any]]:
    """Whose answers a file holds; none where that cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            teachers: list[dict[str, Any]] = json.loads(file.metadata()["trivium"])["teachers"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return []
    return teachers


def _digest(folder: Path) -> str | None:
    """sha256 of the description of a run's, a model's or an ensemble's model, which is another one
    once that was trained anew, and the same once it was calibrated."""
    try:
        if (folder / ENSEMBLE).is_file():
            return sha256(folder / ENSEMBLE)
        return seal_as_trained(find_model(folder))
    except (OSError, RecipeError):
        return None
