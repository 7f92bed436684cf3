"""Rows to word pieces to batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.rows.sample import sample_places
from trivium.run.rows.splits import Data
from trivium.run.rows.stored import StoredRows
from trivium.run.rows.tokens import AskedTokens, mapped_tokens, stored_targets
from trivium.text.cutting import Ids
from trivium.text.packing import Packer, TokenTable
from trivium.text.tokenizer import Tokenizer
from trivium.types import Batch, Example, Tokens

LOOKED_AT = 100_000
"""Rows of a big table by which lengths and word pieces are told: a sample."""


class Pieces(Protocol):
    """Texts by their number, as word pieces."""

    def several(self, indices: Sequence[int]) -> list[Ids]: ...

    def counts(self, indices: Sequence[int]) -> NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """A task's examples as word pieces, ready to be packed into batches."""

    task: Task
    packer: Packer
    table: Pieces
    texts: Sequence[Sequence[int]]
    """Per text of a row, each example's index into `table`."""
    target_B: Tensor
    """[B, K] where several labels may apply."""
    teacher_BK: Tensor | None = None
    """What the rows' teachers say of them; see `training.ask_teachers`."""
    looked_at: NDArray[np.int64] | None = None
    """Rows by which lengths and word pieces are told; None: all."""

    def __len__(self) -> int:
        return len(self.target_B)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these examples."""
        columns = [self.table.several([texts[row] for row in rows]) for texts in self.texts]
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
            pieces = self.table.counts([texts[row] for row in rows])
            total += np.minimum(pieces + 2, most) if apart else pieces + 1
        return total if apart else np.minimum(total + 1, most)

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence before cutting, of the rows that are `looked_at`."""
        return self.lengths_of(self.looked_at).ravel()

    def lengths_of(self, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Tokens before cutting of the sequences of these rows: length_SB. None: of all rows."""
        chosen = [texts if rows is None else [texts[row] for row in rows] for texts in self.texts]
        pieces = [self.table.counts(texts) for texts in chosen]
        if self.task.encodes_apart:
            return np.stack([length + 2 for length in pieces])
        total: NDArray[np.int64] = np.sum(pieces, axis=0)
        return (total + 1 + len(pieces))[None]


def encode(task: Task, examples: Sequence[Example], table: TokenTable, packer: Packer) -> Encoded:
    """Tokenise examples; texts that `table` knows are not tokenised again."""
    columns = [[e.texts[c] for e in examples] for c in range(task.row_texts)]
    targets = [example.target for example in examples if example.target is not None]
    return Encoded(
        task, packer, table, [table.add(texts) for texts in columns], task.targets(targets)
    )


def encode_all(
    recipe: Recipe,
    data: Data,
    tokenizer: Tokenizer,
    limit: int,
    *,
    console: Console | None = None,
    glance: bool = False,
) -> dict[str, Encoded]:
    """Every task's training rows; a text that several tasks hold is tokenised once.

    limit: the encoder's longest sequence. Big tables are tokenised into files, with a bar on the
    console; or with `glance` as far as somebody asks, for who looks at few of their rows. Raises
    RecipeError where a task asks for longer sequences.
    """
    table = TokenTable(tokenizer)
    packers = {name: packer_for(task, tokenizer, limit) for name, task in recipe.tasks.items()}
    encoded = {}
    for name, task in recipe.tasks.items():
        rows = data[name]["train"].examples
        if isinstance(rows, StoredRows):
            pieces: Pieces = AskedTokens(rows, tokenizer)
            if not glance:
                pieces = mapped_tokens(rows, tokenizer, name, console)
            encoded[name] = encode_stored(task, rows, pieces, packers[name])
        else:
            encoded[name] = encode(task, rows, table, packers[name])
    return encoded


def encode_stored(task: Task, rows: StoredRows, pieces: Pieces, packer: Packer) -> Encoded:
    """Rows of a big table; each text by itself, however often it stands there."""
    count = len(rows)
    texts = [range(column * count, (column + 1) * count) for column in range(rows.columns)]
    return Encoded(
        task,
        packer,
        pieces,
        texts,
        stored_targets(task, rows),
        looked_at=sample_places(count, LOOKED_AT),
    )


def pack_rows(task: Task, packer: Packer, columns: Sequence[Sequence[Ids]]) -> Tokens:
    """Texts encoded apart are stacked: all firsts, then all seconds (R = 2B)."""
    if task.encodes_apart:
        return packer.pack([[ids] for texts in columns for ids in texts])
    return packer.pack(list(zip(*columns, strict=True)))


def packer_for(task: Task, tokenizer: Tokenizer, limit: int) -> Packer:
    """limit: the encoder's longest sequence. Raises RecipeError where the task asks for more."""
    return Packer(tokenizer, task.form(limit).max_length, task.cut)
