"""One table of many on its way through a model, and what became of it."""

from collections.abc import Callable, Mapping
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
from trivium.run.screen.console import say


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
    """Answer a table, if nobody has meanwhile. What is wrong with it is told, and no other table's
    concern."""
    try:
        with ledger.alone(part, _waiting(part, console)):
            # Another command may have answered it, or a worker that was lost on its way.
            rows = ledger.rows_of(part)
            if rows is None:
                rows = _answered(predictor, asked, part, ledger, console)
    except (RecipeError, RemoteError) as error:
        return Told(part, problem=str(error))
    return Told(part, rows)


def _answered(
    predictor: Predictor, asked: Asked, part: Part, ledger: Ledger, console: Console | None
) -> int:
    """Its rows. Raises RecipeError, and NotWrittenError, of which a RemoteError is one."""
    before, is_written = None, False
    try:
        overwrite = ledger.is_begun(part) or asked.overwrite
        about = ledger.about(part)
        if overwrite or not part.target.exists():
            before = ledger.begin(part, about)
        with at_hand(part.source, part.target, overwrite=overwrite) as (source, target):
            settings = _of_answers(asked.settings) | {"overwrite": overwrite, "console": console}
            rows = predict_file(predictor, asked.task, source, target, **settings)
            is_written = True  # here; whether it comes to where it belongs may never be known
        ledger.end(part, about, rows)
    except (RecipeError, NotWrittenError):
        if before is not None and not is_written:
            with suppress(NotWrittenError):  # as before: it stays ours to replace
                ledger.take_back(part, before)
        raise
    return rows


def _waiting(part: Part, console: Console | None) -> Callable[[], None]:
    """To be called as often as one likes: says once that another process answers the table."""
    said: list[str] = []

    def wait() -> None:
        if not said and console is not None:
            said.append(f"{part.name}: another process is answering it, and is waited for")
            say(console, said[0])

    return wait


def loading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of the model's loader."""
    return {name: settings[name] for name in _LOADED if name in settings}


def _of_answers(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _LOADED}


_LOADED = ("precision", "device", "backend")
