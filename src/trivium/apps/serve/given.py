"""From what the command was given to settings and a service."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.apps.serve.keys import read_keys
from trivium.apps.serve.service import WorkerService
from trivium.apps.serve.settings import Settings
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MODEL


def settings_of(run: Path, given: Mapping[str, Any]) -> Settings:
    """given: settings by name, None where nothing was said; others are left alone.

    Raises RecipeError.
    """
    known = {name: v for name, v in given.items() if name in Settings.model_fields}
    found = {name: value for name, value in known.items() if value is not None}
    keys = read_keys(found.pop("api_keys", ()))
    named = {"run": run, "name": name_of(run), "sha256": sha256_of(run), "api_keys": keys}
    try:
        return Settings.model_validate(named | found)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).removesuffix("_s").replace("_", "-")
        raise RecipeError(f"--{flag}: {first['input']!r}: {first['msg']}.") from None


def service_of(run: Path, settings: Settings) -> WorkerService:
    """Processes that hold the model. Raises RecipeError for a folder that holds none."""
    return WorkerService(
        run,
        workers=settings.workers or None,
        precision=settings.precision,
        device=settings.device,
        backend=settings.backend,
        most_rows=settings.max_queue_rows,
        most_tokens=settings.max_queue_tokens,
        batch_tokens=settings.batch_tokens,
    )


def name_of(run: Path) -> str:
    """As its folder is called; of a run's `model` folder, as the run."""
    folder = run.resolve()
    return folder.parent.name if folder.name == MODEL else folder.name


def sha256_of(run: Path) -> str:
    """Of the file that seals the model, or the ensemble: it holds the sha256 of every other file.

    Raises RecipeError where there is none.
    """
    for path in (run / ENSEMBLE, run / MODEL / MANIFEST, run / MANIFEST):
        if path.is_file():
            return sha256(path)
    raise RecipeError(f"{run}: holds no model; it is the folder of a run that is wanted.")
