"""Files of dev answers: written, and read back as tensors."""

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.answering.says import RAW
from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.run.folder.altered import REMEDY, contradiction
from trivium.run.folder.atomic import sync
from trivium.run.folder.names import RECIPE
from trivium.run.rows.splits import Split
from trivium.text.writing import delimited_rows
from trivium.types import Target


def write_predictions(path: Path, task: Task, readout_BK: Tensor, split: Split) -> None:
    """A split's answers in input order: line, texts, true label, prediction, and probabilities or
    the score before it was clipped.

    They are on the disk at the end, so that a run with scores has them after any crash.
    """
    columns = task.kept(readout_BK)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        put = delimited_rows(file, ",")
        put(["line", *task.text_columns, "label", *columns])
        for row, example in enumerate(split.examples):
            true = None if example.target is None else task.answer_of(example.target)
            # Tables hold no NUL; BERT's tokenizer leaves it out, and this mark as well.
            texts = [text.replace("\0", "\ufffd") for text in example.texts]
            answers: list[Any] = [true, *(column[row] for column in columns.values())]
            put([str(example.line), *texts, *("" if a is None else str(a) for a in answers)])
    for written in (path, path.parent):
        sync(written)


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
    """Probabilities as printed (six decimals), or scores before they were clipped, to the bit;
    `task.scores(readout_BK, target_B)` are the run's scores up to that. Where printing made a tie
    of what was none, the answer's is moved by the least that is needed, so that answers are those
    of the file. Older files hold clipped scores alone, of which their run's correlations are."""
    is_whole: bool = True
    """Whether scores stand there to the bit; not in older files, which hold six digits of them."""


def read_answers(path: Path, task: Task) -> Answers:
    """A file as `write_predictions` leaves it. Raises RecipeError with the line of what is wrong:
    a prediction, too, that its probabilities contradict by more than the rounding of their digits.

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
    # Of a score `raw`, or its answer where there is none.
    is_whole = bool(shown) or columns == [RAW]
    first = len(records[0][1]) - len(shown) if shown else texts + 2 + is_whole
    targets, predicted, readout = [], [], []
    for line, cells in records[1:]:
        try:
            targets.append(_target(task, cells[texts + 1]))
            predicted.append(_target(task, cells[texts + 2]))
            readout.append([_number(cell) for cell in cells[first : first + max(1, len(shown))]])
        except ValueError as error:
            raise RecipeError(
                f"{path}:{line}: {error}. The file was altered, or training went astray: train "
                "the run again, or leave it out."
            ) from None
    target_B, predicted_B = task.targets(targets), task.targets(predicted)
    readout_BK = torch.tensor(readout, dtype=torch.float32).view(len(readout), max(1, len(shown)))
    if wrong := contradiction(task, readout_BK, predicted_B):
        row, why = wrong
        raise RecipeError(f"{path}:{records[1 + row][0]}: {why}. {REMEDY}")
    return Answers(
        task,
        [int(cells[0]) for _, cells in records[1:]],
        [tuple(cells[1 : texts + 1]) for _, cells in records[1:]],
        [cells[texts + 1] for _, cells in records[1:]],
        [cells[texts + 2] for _, cells in records[1:]],
        target_B,
        _as_answered(task, readout_BK, predicted_B),
        is_whole,
    )


def _records(path: Path, head: Sequence[str]) -> list[tuple[int, list[str]]]:
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
    if not records or records[0][1][: len(head)] != list(head):
        found = ", ".join(records[0][1]) if records else "an empty file"
        raise RecipeError(
            f"{path}:1: wanted the columns {', '.join(head)}; found {found}. It is not this "
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
    """The readout, moved by the least that makes its answers the file's, which differ by rounding.

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
