"""A finished run (or ensemble) as its folder tells it: recipe, scores, journal, dev answers."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.recipe import Recipe
from trivium.run.checkpoint import ENSEMBLE, MODEL, RESUME
from trivium.run.directory import ENVIRONMENT, PREDICTIONS, RECIPE, SCORES, run_recipe
from trivium.run.ensemble import MEMBERS
from trivium.run.journal import NAME as JOURNAL
from trivium.run.journal import read_journal
from trivium.run.shapes import EnvironmentShape, ScoresShape, read_shaped
from trivium.types import Target

_RETURN = "\udc0d"
"""Stands for a carriage return while cells are told apart, since the writer does not quote one.
Decoded UTF-8 never holds it."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One file of predictions, parsed. All lists are in the file's order, a row each."""

    task: Task
    """With its labels as found."""
    lines: list[int]
    """Where the row starts in the table that it was read from."""
    texts: list[tuple[str, ...]]
    labels: list[str]
    """True labels and predictions as they stand in the file; "" where no label applies."""
    predictions: list[str]
    target_B: Tensor
    """As `Task.targets` gives them."""
    readout_BK: Tensor
    """Probabilities as printed (six decimals), or scores; `task.scores(readout_BK, target_B)` are
    the run's scores up to that. Where printing made a tie of what was none, the answer's is moved
    by the least that is needed, so that answers are those of the file."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    folder: Path
    recipe: Recipe
    """As in the folder, with labels as found; of an ensemble only its tasks and their files."""
    scores: dict[str, Any]
    """The content of scores.json."""
    environment: dict[str, Any]
    """The content of environment.json; empty where there is none."""

    @property
    def is_ensemble(self) -> bool:
        return (self.folder / ENSEMBLE).is_file()

    @property
    def model_bytes(self) -> int:
        """Size on disk of what answers: model/, or an ensemble's members/."""
        home = self.folder / (MEMBERS if self.is_ensemble else MODEL)
        return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())

    def events(self) -> Iterator[dict[str, Any]]:
        """The journal, oldest first; nothing where there is none, as in an ensemble.

        Raises RecipeError with the line where it is damaged: no event, or a step of no stage.
        """
        path = self.folder / JOURNAL
        if not path.is_file():
            return
        line, is_begun = 1, False
        try:
            for event in read_journal(self.folder):
                kind = event["event"]
                is_begun = is_begun or kind == "stage"
                if kind == "step" and not is_begun:
                    raise RecipeError(
                        f"{path}:{line}: a step before any stage has begun. The file was cut; copy "
                        "it again."
                    )
                yield event
                line += 1
        except RecipeError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(
                f"{path}:{line}: is no event, or cannot be read: {error!r}. The file is "
                "damaged; copy it again."
            ) from error

    def answers(self, task: str, split: str = "dev") -> Answers | None:
        """What was answered on a split; None where there is no such file.

        Raises RecipeError where the file does not fit the run.
        """
        path = self.folder / PREDICTIONS / f"{task}-{split}.csv"
        if task not in self.recipe.tasks or not path.is_file():
            return None
        found = read_answers(path, self.recipe.tasks[task])
        told = self.scores["tasks"].get(task, {}).get(split, {}).get("rows", len(found.lines))
        if told != len(found.lines):
            raise RecipeError(
                f"{path}: holds {len(found.lines):,} rows, but {SCORES} tells of {told:,}. It was "
                "altered after the run, or cut short; train the run again, or leave it out."
            )
        return found


def read_run(folder: str | Path) -> FinishedRun:
    """A finished run or ensemble. Raises RecipeError where it is none, or lacks its answers."""
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise RecipeError(f"{folder}: {what}; name the folder of a finished run.")
    if not (folder / SCORES).is_file():
        raise RecipeError(f"{folder}: {_why_unfinished(folder)}")
    scores = read_shaped(folder / SCORES, ScoresShape)
    if not (folder / RECIPE).is_file():
        raise RecipeError(
            f"{folder}: has no {RECIPE}, which says what its tasks are. An ensemble of bare model "
            "folders has none: make it of whole runs."
        )
    recipe = run_recipe(folder)
    if strange := [name for name in scores["tasks"] if name not in recipe.tasks]:
        raise RecipeError(
            f"{folder / SCORES}: tells of {', '.join(map(repr, strange))}, which is no task of "
            f"{RECIPE} ({', '.join(recipe.tasks)}). One of the files is another run's, or damaged; "
            "copy the whole folder again, or train the run again."
        )
    judged = [n for n, t in recipe.tasks.items() if t.answers_questions and scores["tasks"].get(n)]
    if judged and not (folder / PREDICTIONS).is_dir():
        raise RecipeError(
            f"{folder}: has no {PREDICTIONS}/, the answers to its dev rows that every run leaves. "
            "Copy the whole folder, or train the run again."
        )
    path = folder / ENVIRONMENT
    told = read_shaped(path, EnvironmentShape) if path.is_file() else {}
    return FinishedRun(folder, recipe, scores, told)


def read_answers(path: Path, task: Task) -> Answers:
    """A file as `write_predictions` leaves it. Raises RecipeError with the line of what is wrong.

    Columns go by their place, since a text's column may have any name: line, texts, label,
    prediction, and what else the kind of task tells.
    """
    texts = len(task.text_columns)
    records = _records(path, ["line", *task.text_columns, "label", "prediction"])
    columns = records[0][1][texts + 3 :]
    shown = [f"probability_{name}" for name in task.names] if isinstance(task, Labelled) else []
    if columns[len(columns) - len(shown) :] != shown or (isinstance(task, Labelled) and not shown):
        raise RecipeError(
            f"{path}:1: wanted the columns {', '.join(shown)} at the end, for the labels in "
            f"{RECIPE}; found {', '.join(columns) or 'none'}. Was it written by another run?"
        )
    targets, predicted, readout = [], [], []
    for line, cells in records[1:]:
        try:
            targets.append(_target(task, cells[texts + 1]))
            predicted.append(_target(task, cells[texts + 2]))
            last = cells[len(cells) - len(shown) :] if shown else [cells[texts + 2]]
            readout.append([_number(cell) for cell in last])
        except ValueError as error:
            raise RecipeError(
                f"{path}:{line}: {error}. The file was altered, or training went astray: train "
                "the run again, or leave it out."
            ) from None
    target_B = task.targets(targets)
    readout_BK = torch.tensor(readout, dtype=torch.float32).view(len(readout), max(1, len(shown)))
    return Answers(
        task,
        [int(cells[0]) for _, cells in records[1:]],
        [tuple(cells[1 : texts + 1]) for _, cells in records[1:]],
        [cells[texts + 1] for _, cells in records[1:]],
        [cells[texts + 2] for _, cells in records[1:]],
        target_B,
        _as_answered(task, readout_BK, task.targets(predicted)),
    )


def _records(path: Path, wanted: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The header and the rows, each with the line it ends on; all with the same columns."""
    limit = csv.field_size_limit(sys.maxsize)  # of the whole process, so put back
    try:
        text = path.read_bytes().decode("utf-8").replace("\r", _RETURN)
        reader = csv.reader(StringIO(text, newline=""), strict=True)
        records = [(reader.line_num, [_restored(cell) for cell in cells]) for cells in reader]
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}.") from error
    finally:
        csv.field_size_limit(limit)
    if not records or records[0][1][: len(wanted)] != list(wanted):
        found = ", ".join(records[0][1]) if records else "an empty file"
        raise RecipeError(
            f"{path}:1: wanted the columns {', '.join(wanted)}; found {found}. It is not this "
            "run's file of predictions, or was altered."
        )
    for line, cells in records[1:]:
        if len(cells) != len(records[0][1]) or not cells[0].isdecimal():
            raise RecipeError(
                f"{path}:{line}: wanted {len(records[0][1])} cells, the first a line's number; "
                f"found {len(cells)}, first {cells[0] if cells else ''!r}. The file was altered."
            )
    return records


def _restored(cell: str) -> str:
    return cell.replace(_RETURN, "\r")


def _target(task: Task, cell: str) -> Target:
    """The target of an answer as it is printed. Raises ValueError."""
    if not isinstance(task, Labelled):
        return _number(cell)
    place = {name: index for index, name in enumerate(task.names)}
    if isinstance(task, Multilabel):
        return tuple(_place(place, name) for name in cell.split(task.separator)) if cell else ()
    return _place(place, cell)


def _number(cell: str) -> float:
    """Finite as the float32 that it becomes. Raises ValueError."""
    number = float(cell)
    if not abs(number) <= torch.finfo(torch.float32).max:
        raise ValueError(f"holds {cell!r}, which is no finite number")
    return number


def _place(places: Mapping[str, int], name: str) -> int:
    if name not in places:
        raise ValueError(f"holds {name!r}, which is none of the task's labels")
    return places[name]


def _as_answered(task: Task, readout_BK: Tensor, predicted_B: Tensor) -> Tensor:
    """The readout, moved by the least that makes its answers the file's.

    predicted_B: the file's answers as targets.
    """
    if isinstance(task, Multilabel):
        threshold = torch.tensor(task.threshold)
        below = torch.nextafter(threshold, torch.tensor(0.0))
        return torch.where(
            predicted_B > 0, readout_BK.clamp(min=threshold), readout_BK.clamp(max=below)
        )
    if isinstance(task, Labelled) and len(readout_BK):
        wrong_B = readout_BK.argmax(dim=1) != predicted_B
        most_B = readout_BK.max(dim=1).values
        above_B = torch.nextafter(most_B, torch.full_like(most_B, 2.0))
        rows_B = torch.arange(len(readout_BK))[wrong_B]
        readout_BK[rows_B, predicted_B[wrong_B]] = above_B[wrong_B]
    return readout_BK


def _why_unfinished(folder: Path) -> str:
    if (folder / RECIPE).is_file():
        after = "--resume" if (folder / RESUME).is_dir() else "--resume or --overwrite"
        return (
            f"this run is not finished (no {SCORES}). Finish it: "
            f"trivium train RECIPE --out {folder} {after}"
        )
    if (folder / "trivium.json").is_file():
        return f"is a model's folder; name the run's folder, which holds {MODEL}/ and {SCORES}."
    return f"is no run (no {RECIPE} and no {SCORES}); name the folder that `trivium train` made."
