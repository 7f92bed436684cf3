"""Rows to word pieces to batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.rows.splits import Data
from trivium.text.cutting import Ids
from trivium.text.packing import Packer, TokenTable
from trivium.text.tokenizer import Tokenizer
from trivium.types import Batch, Example, Tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """A task's examples as word pieces, ready to be packed into batches."""

    task: Task
    packer: Packer
    table: TokenTable
    texts: list[list[int]]
    """Per text of a row, each example's index into `table`."""
    target_B: Tensor
    """[B, K] where several labels may apply."""
    teacher_BK: Tensor | None = None
    """What the rows' teachers say of them; see `training.ask_teachers`."""

    def __len__(self) -> int:
        return len(self.target_B)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these examples."""
        columns = [[self.table[texts[row]] for row in rows] for texts in self.texts]
        tokens = pack_rows(self.task, self.packer, columns)
        chosen_B = torch.from_numpy(rows)
        teacher_BK = None if self.teacher_BK is None else self.teacher_BK[chosen_B]
        batch = Batch(self.task.name, tokens, self.target_B[chosen_B], teacher_BK)
        return self.task.prepare(batch, self.packer.tokenizer)

    def row_lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of each of these rows, after cutting."""
        most, total = self.packer.max_length, np.zeros(len(rows), dtype=np.int64)
        apart = self.task.encodes_apart
        for texts in self.texts:
            pieces = np.asarray([len(self.table[texts[row]]) for row in rows], dtype=np.int64)
            total += np.minimum(pieces + 2, most) if apart else pieces + 1
        return total if apart else np.minimum(total + 1, most)

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence before cutting."""
        pieces = [np.asarray([len(self.table[i]) for i in texts]) for texts in self.texts]
        if self.task.encodes_apart:
            return np.concatenate([length + 2 for length in pieces])
        total: NDArray[np.int64] = np.sum(pieces, axis=0)
        return total + 1 + len(pieces)


def encode(task: Task, examples: Sequence[Example], table: TokenTable, packer: Packer) -> Encoded:
    """Tokenise examples; texts that `table` knows are not tokenised again."""
    columns = [[e.texts[c] for e in examples] for c in range(task.row_texts)]
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
    """Texts encoded apart are stacked: all firsts, then all seconds (R = 2B)."""
    if task.encodes_apart:
        return packer.pack([[ids] for texts in columns for ids in texts])
    return packer.pack(list(zip(*columns, strict=True)))


def packer_for(task: Task, tokenizer: Tokenizer, limit: int) -> Packer:
    """limit: the encoder's longest sequence. Raises RecipeError where the task asks for more."""
    return Packer(tokenizer, task.form(limit).max_length, task.cut)
