"""One table of many on its way through a model, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from trivium.apps.batch.done import Ledger
from trivium.apps.batch.files import Part
from trivium.apps.batch.remote import at_hand
from trivium.errors import RecipeError
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
    try:
        ours = ledger.is_begun(part)
        overwrite = ours or asked.overwrite
        about = ledger.about(part)
        if overwrite or not part.target.exists():
            ledger.begin(part, about)
        with at_hand(part.source, part.target, overwrite=overwrite) as (source, target):
            settings = _of_answers(asked.settings) | {"overwrite": overwrite, "console": console}
            rows = predict_file(predictor, asked.task, source, target, **settings)
        ledger.end(part, about, rows)
    except (RecipeError, RemoteError) as error:
        return Told(part, problem=str(error))
    return Told(part, rows)


def loading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of the model's loader."""
    return {name: settings[name] for name in _LOADED if name in settings}


def _of_answers(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _LOADED}


_LOADED = ("precision", "device", "backend")
