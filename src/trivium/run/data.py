"""Rows to examples to batches: what a recipe's files hold, checked before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks import MissingLabelError, RowError, Task
from trivium.recipe import Recipe
from trivium.text.packing import Ids, Packer, TokenTable
from trivium.text.tables import BadRow, Table, open_table
from trivium.text.tokenizer import Tokenizer
from trivium.types import Batch, Example, Tokens

SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one file as one task sees them; every row of the file is accounted for."""

    name: str
    table: Table
    examples: list[Example]
    unlabelled: int
    """Rows that lack only this task's label (`missing_labels: allow`)."""
    skipped: list[BadRow]
    """Rows left out by `bad_rows: skip`, each with its line and reason."""

    @property
    def rows(self) -> int:
        return len(self.examples) + self.unlabelled + len(self.skipped)


Data = dict[str, dict[str, Split]]
"""task -> split ("train", "dev", "test") -> rows."""


def load_data(recipe: Recipe) -> tuple[Recipe, Data]:
    """All files of a recipe, and the recipe with the labels and weights that were found in them.

    A test file without the label column is left out: it can be predicted, not scored.
    Raises RecipeError for the first file that cannot be used, with its bad rows by line.
    """
    tasks, data = {}, {}
    for name, given in recipe.tasks.items():
        if given.train is None:
            raise RecipeError(f"task {name!r}: `train` is missing: name its file of training rows.")
        task: Task = _with_labels(recipe, given) if given.looks_for_labels else given
        data[name] = {
            split: read_split(task, split, Path(recipe.data) / file)
            for split, file in (("train", given.train), ("dev", given.dev), ("test", given.test))
            if file is not None and (split != "test" or _has_label(recipe, task, file))
        }
        for split, found in data[name].items():
            if not found.examples:
                raise RecipeError(
                    f"task {name!r}: {split}: {found.table.name} has no labelled rows."
                )
        tasks[name] = _with_weights(task, data[name]["train"])
    return recipe.model_copy(update={"tasks": tasks}), data


def read_split(task: Task, split: str, path: str | Path) -> Split:
    """One file's rows for this task. Raises RecipeError naming bad rows by file and line."""
    table = open_task_table(task, path, (*task.text_columns, task.label))
    examples, bad, unlabelled = [], [], 0
    for row in table:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            examples.append(task.example(row))
        except MissingLabelError:
            unlabelled += 1
        except RowError as error:
            bad.append(BadRow(row.line, str(error)))
    _refuse_bad_rows(task, split, table, bad)
    return Split(split, table, examples, unlabelled, bad)


def open_task_table(task: Task, path: str | Path, needed: Sequence[str]) -> Table:
    """A table that has the columns a task asks for."""
    table = open_table(path, delimiter=task.delimiter, quoting=task.quoting)
    for column in needed:
        if column not in table.columns:
            raise RecipeError(
                f"task {task.name!r}: {table.name}: no column {column!r}"
                f"{did_you_mean(column, table.columns)}. It was read as {table.dialect}."
            )
    return table


@dataclass(frozen=True, slots=True)
class Encoded:
    """A task's examples as word pieces, ready to be packed into batches."""

    task: Task
    packer: Packer
    table: TokenTable
    texts: list[list[int]]
    """Per text column, each example's index into `table`."""
    target_B: Tensor
    """[B, K] where several labels may apply."""

    def __len__(self) -> int:
        return len(self.target_B)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these examples."""
        columns = [[self.table[texts[row]] for row in rows] for texts in self.texts]
        tokens = pack_rows(self.task, self.packer, columns)
        return Batch(self.task.name, tokens, self.target_B[torch.from_numpy(rows)])

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence before cutting."""
        each = [np.asarray([len(self.table[i]) for i in texts]) for texts in self.texts]
        if self.task.sequences == len(self.texts):
            return np.concatenate([length + 2 for length in each])
        total: NDArray[np.int64] = np.sum(each, axis=0)
        return total + 1 + len(each)


def encode(task: Task, examples: Sequence[Example], table: TokenTable, packer: Packer) -> Encoded:
    """Tokenise examples; texts that `table` knows are not tokenised again."""
    columns = [[e.texts[c] for e in examples] for c in range(len(task.text_columns))]
    targets = [example.target for example in examples if example.target is not None]
    return Encoded(
        task, packer, table, [table.add(texts) for texts in columns], task.targets(targets)
    )


def encode_all(recipe: Recipe, data: Data, tokenizer: Tokenizer, limit: int) -> dict[str, Encoded]:
    """Every task's training rows; a text that several tasks hold is tokenised once.

    limit: the encoder's longest sequence. Raises RecipeError where a task asks for more.
    """
    table = TokenTable(tokenizer)
    packers = {name: packer_for(task, tokenizer, limit) for name, task in recipe.tasks.items()}
    return {
        name: encode(task, data[name]["train"].examples, table, packers[name])
        for name, task in recipe.tasks.items()
    }


def pack_rows(task: Task, packer: Packer, columns: Sequence[Sequence[Ids]]) -> Tokens:
    """Pairs encoded apart are stacked: all firsts, then all seconds (R = 2B)."""
    if task.sequences == len(columns):
        return packer.pack([[ids] for texts in columns for ids in texts])
    return packer.pack(list(zip(*columns, strict=True)))


def packer_for(task: Task, tokenizer: Tokenizer, limit: int) -> Packer:
    """limit: the encoder's longest sequence. Raises RecipeError where the task asks for more."""
    wanted = task.max_length or limit
    if wanted > limit:
        raise RecipeError(
            f"tasks.{task.name}.max_length: {wanted} is more than the encoder's {limit} positions."
        )
    return Packer(tokenizer, wanted)


def _refuse_bad_rows(task: Task, split: str, table: Table, bad: Sequence[BadRow]) -> None:
    """RecipeError naming the first of them by file and line, unless they are to be skipped."""
    if not bad or task.bad_rows == "skip":
        return
    lines = [f"{table.name}:{row.line}: {row.problem}" for row in bad[:SHOWN_PROBLEMS]]
    lines[0] = f"task {task.name!r}: {split}: {lines[0]}"
    more = len(bad) - SHOWN_PROBLEMS
    rest = [f"… and {more:,} more rows of {table.name}"] if more > 0 else []
    raise RecipeError("\n".join([*lines, *rest]))


def _with_labels(recipe: Recipe, task: Task) -> Task:
    assert task.train is not None
    table = open_task_table(task, Path(recipe.data) / task.train, (task.label,))
    rows = list(table)
    _refuse_bad_rows(task, "train", table, [row for row in rows if isinstance(row, BadRow)])
    cells = [row.cells[task.label] for row in rows if not isinstance(row, BadRow)]
    if not any(cell.strip() for cell in cells):
        raise RecipeError(f"task {task.name!r}: train: {table.name} has no labelled rows.")
    try:
        return task.with_labels(cells)
    except ValueError as error:
        raise RecipeError(f"task {task.name!r}: {table.name}: {error}") from error


def _with_weights(task: Task, train: Split) -> Task:
    targets = [example.target for example in train.examples if example.target is not None]
    try:
        return task.with_weights(targets)
    except ValueError as error:
        raise RecipeError(f"task {task.name!r}: {train.table.name}: {error}") from error


def _has_label(recipe: Recipe, task: Task, file: str) -> bool:
    columns = open_table(Path(recipe.data) / file, delimiter=task.delimiter, quoting=task.quoting)
    return task.label in columns.columns
