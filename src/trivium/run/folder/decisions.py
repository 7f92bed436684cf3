"""What `trivium calibrate` leaves: how answers are decided upon, in the model's `trivium.json`, and
the figures before and after, in the run's `calibration.json`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from trivium.answering.decide import Decide
from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import CALIBRATION, MANIFEST
from trivium.run.folder.records import Record, read_record, write_record
from trivium.run.folder.scores import Metrics, Number
from trivium.run.folder.sealed import read_sealed

DECIDE = "decide"


class Side(Record):
    """How good answers are, decided upon in one way."""

    scores: Metrics
    """As if every row were answered."""
    nll: Number
    """Negative log-likelihood of the right labels, in nats; of several labels, a label's mean."""
    ece: Number
    """Expected calibration error of the most probable label, or of each label's yes or no."""
    cost: Number | None = None
    """Of a row, by a cost table."""
    answered: Number | None = None
    """Share of rows that are answered, where rows may be left out."""
    right: Number | None = None
    """Share of these whose answer is right."""
    reliability: list[list[Number]] = Field(default_factory=list)
    """Mean confidence, share of right answers, and answers, by bin of confidence."""
    coverage: list[list[Number]] = Field(default_factory=list)
    """Share of the rows, the surest first, and the share of these whose answers are right."""


class Figures(Record):
    """Of one task."""

    on: str
    """What it was found on: dev, or a file."""
    rows: Number
    aim: str
    """What thresholds are for."""
    metric: str
    """The task's main one."""
    before: Side
    after: Side
    """On the very rows that it was found on, and so flattered."""
    crossfitted: Side | None = None
    """Each part of the rows decided upon by what was found on the others."""
    folds: Number = 0
    answer_where: Number | None = None
    """The share of right answers that was asked for."""
    decide: dict[str, Any]
    shares: dict[str, list[Number]] = Field(default_factory=dict)
    """Label -> its share where this was found, and the one estimated elsewhere."""
    shares_from: str = ""
    notes: list[str] = Field(default_factory=list)


class Calibration(Record):
    """The content of calibration.json."""

    damaged: ClassVar[str] = "it only holds what is told: delete it, and calibrate again"

    tasks: dict[str, Figures]


# --- the model's own file ----------------------------------------------------------------------


def decisions_in(model: Path) -> dict[str, Any]:
    """By task what a model folder says of deciding; only tasks of which it says something."""
    tasks = read_sealed(model / MANIFEST).get("tasks")
    found = tasks if isinstance(tasks, dict) else {}
    return {
        n: task[DECIDE] for n, task in found.items() if isinstance(task, dict) and DECIDE in task
    }


def write_decisions(model: Path, decisions: Mapping[str, Decide | None]) -> None:
    """Write how these tasks are decided upon into the model's `trivium.json`, whole or not at all;
    None takes it out, and leaves the bytes that training wrote."""
    facts = read_sealed(model / MANIFEST)
    for name, decide in decisions.items():
        facts["tasks"][name].pop(DECIDE, None)
        if decide is not None:
            facts["tasks"][name][DECIDE] = decide.model_dump(mode="json")
    write_text(model / MANIFEST, _text(facts))


def seal_as_trained(model: Path) -> str:
    """The sha256 of a model's `trivium.json`, as if it had never been calibrated: what a model says
    by itself is the same before and after."""
    facts = read_sealed(model / MANIFEST)
    if not decisions_in(model):
        return hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest()
    for task in facts["tasks"].values():
        task.pop(DECIDE, None)
    return hashlib.sha256(_text(facts).encode()).hexdigest()


def _text(facts: Mapping[str, Any]) -> str:
    """As `folder.sealed` writes it."""
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


# --- the run's file of figures -----------------------------------------------------------------


def read_figures(run: Path) -> dict[str, Figures]:
    """By task; nothing where the run was never calibrated. Raises RecipeError if it is damaged."""
    path = run / CALIBRATION
    return read_record(path, Calibration).tasks if path.is_file() else {}


def write_figures(run: Path, tasks: Mapping[str, Figures]) -> None:
    """Replace the file; without any task there is none."""
    if tasks:
        write_record(run / CALIBRATION, Calibration(tasks=dict(tasks)))
    else:
        (run / CALIBRATION).unlink(missing_ok=True)
