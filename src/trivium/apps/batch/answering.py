"""One table of many on its way through a model, and what became of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from trivium.apps.batch.done import Ledger
from trivium.apps.batch.files import Part
from trivium.apps.batch.remote import at_hand
from trivium.errors import NotWrittenError, RecipeError
from trivium.run.cluster.remote import RemoteError
from trivium.run.predict import predict_file
from trivium.run.predictor.base import Predictor


@dataclass(frozen=True, slots=True)
class Asked:
    """Of every table."""

    task: str | list[str] | None
    settings: dict[str, Any]
    """Of `predict_file`: all that say what is written, and how."""
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a table."""

    part: Part
    rows: int = 0
    problem: str = ""
    """Why it has no answers."""


def answer(
    predictor: Predictor, asked: Asked, part: Part, ledger: Ledger, console: Console | None
) -> Told:
    """Answer a table. What is wrong with it is told, and no other table's concern."""
    before, is_written = None, False
    try:
        ours = ledger.is_begun(part)
        overwrite = ours or asked.overwrite
        about = ledger.about(part)
        if overwrite or not part.target.exists():
            before = ledger.begin(part, about)
        with at_hand(part.source, part.target, overwrite=overwrite) as (source, target):
            settings = _of_answers(asked.settings) | {"overwrite": overwrite, "console": console}
            rows = predict_file(predictor, asked.task, source, target, **settings)
            is_written = True  # here; whether it comes to where it belongs may never be known
        ledger.end(part, about, rows)
    except (RecipeError, NotWrittenError) as error:
        if before is not None and not is_written:
            with suppress(NotWrittenError):  # as before: it stays ours to replace
                ledger.take_back(part, before)
        if not isinstance(error, RecipeError | RemoteError):
            raise
        return Told(part, problem=str(error))
    return Told(part, rows)


def loading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of the model's loader."""
    return {name: settings[name] for name in _LOADED if name in settings}


def _of_answers(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _LOADED}


_LOADED = ("precision", "device", "backend")
