"""From what the command was given to settings and a service."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.apps.serve.keys import read_keys, refuse_no_key
from trivium.apps.serve.service import WorkerService
from trivium.apps.serve.settings import Settings
from trivium.errors import RecipeError
from trivium.run.folder.names import MODEL
from trivium.run.folder.sealed import seal_of

MOST_BATCH_S = 60.0
"""After which a process that still computes its batch is taken to hang, unless requests may take
longer."""


def settings_of(
    run: Path, given: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Settings:
    """given: settings by name, None where nothing was said; others are left alone. environment:
    that some of them were taken from, where it is known.

    Raises RecipeError.
    """
    known = {name: v for name, v in given.items() if name in Settings.model_fields}
    found = {name: value for name, value in known.items() if value is not None}
    keys = read_keys(found.pop("api_keys", ()))
    if environment is not None and not keys:
        refuse_no_key(environment)
    if found.get("metrics_key") and not keys:
        raise RecipeError("--metrics-key: asks for a key, and there is none; give --api-key, too.")
    named = {"run": run, "name": name_of(run), "sha256": seal_of(run), "api_keys": keys}
    try:
        return Settings.model_validate(named | found)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).removesuffix("_s").replace("_", "-")
        said = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"--{flag}: {first['input']!r}: {said}.") from None


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
        # What nobody waits for any longer is not worth computing on.
        batch_deadline_s=max(MOST_BATCH_S, settings.timeout_s),
    )


def name_of(run: Path) -> str:
    """As its folder is called; of a run's `model` folder, as the run."""
    folder = run.resolve()
    return folder.parent.name if folder.name == MODEL else folder.name
