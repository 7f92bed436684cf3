"""Answers of an exported graph, so that it can be compared and scored as any predictor."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trivium.parts.tasks import Task
from trivium.run.exporting.engines import Engine, Inputs
from trivium.run.exporting.graph import PAIRS, TEXTS, Names
from trivium.run.predictor.base import Predictor, Texts
from trivium.run.rows.encoded import packer_for
from trivium.text.packing import Ids, Packer
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

TOKENS_AT_ONCE = 2048


class GraphPredictor(Predictor):
    """A graph with the tasks that it answers."""

    def __init__(
        self,
        run: Engine,
        names: Names,
        tasks: Mapping[str, Task],
        tokenizer: Tokenizer,
        limit: int,
    ) -> None:
        self.run, self.names, self.tasks = run, names, tasks
        self.tokenizer, self.limit = tokenizer, limit

    @property
    def precision(self) -> str:
        return "fp32"

    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        one = self.question(task)
        packer = packer_for(one, self.tokenizer, self.limit)
        pieces = self._pieces([(row,) if isinstance(row, str) else tuple(row) for row in rows])
        readout_BK = torch.zeros(len(rows), max(1, one.outputs))
        for chosen in _batches(pieces, packer, one.sequences):
            found = self.run(self._inputs(one, packer, [pieces[row] for row in chosen]))
            readout_BK[chosen] = torch.from_numpy(found[self.names.outputs[task]])
        return readout_BK

    def inputs(self, task: str, rows: Sequence[tuple[str, ...]]) -> Inputs:
        """What the graph is given for a batch of a task's rows."""
        one = self.question(task)
        packer = packer_for(one, self.tokenizer, self.limit)
        return self._inputs(one, packer, self._pieces(rows))

    def _inputs(self, task: Task, packer: Packer, rows: Sequence[Sequence[Ids]]) -> Inputs:
        if task.sequences == 2:
            rows = [[ids] for row in rows for ids in row]
        return inputs_of(packer.pack(rows), self.tokenizer.pad, self.names)

    def _pieces(self, rows: Sequence[tuple[str, ...]]) -> list[list[Ids]]:
        ids = iter(self.tokenizer([text for row in rows for text in row]))
        return [[np.asarray(next(ids), dtype=np.int32) for _ in row] for row in rows]


def inputs_of(tokens: Tokens, pad: int, names: Names) -> Inputs:
    """A pack on a padded grid, under the names of a graph's inputs; of its texts, each two in a
    row are a pair."""
    lengths_R = tokens.lengths_R.numpy()
    mask_RL = np.arange(tokens.longest) < lengths_R[:, None]
    grids = {}
    for name, values_N, padding in (
        (TEXTS[0], tokens.ids_N, pad),
        (TEXTS[1], torch.ones_like(tokens.ids_N), 0),
        (TEXTS[2], tokens.segments_N, 0),
    ):
        grids[name] = np.full(mask_RL.shape, padding, dtype=np.int64)
        grids[name][mask_RL] = values_N.numpy()
    if PAIRS in names.inputs:
        texts = len(lengths_R)
        pair_P2 = np.arange(texts // 2 * 2, dtype=np.int64).reshape(-1, 2)
        grids[PAIRS] = pair_P2 if texts > 1 else np.zeros((1, 2), dtype=np.int64)
    return grids


def _batches(
    pieces: Sequence[Sequence[Ids]], packer: Packer, sequences: int
) -> Iterator[list[int]]:
    """Rows of like length together, about TOKENS_AT_ONCE with their padding."""
    lengths = [min(packer.length(row), packer.max_length) for row in pieces]
    batch: list[int] = []
    for row in sorted(range(len(pieces)), key=lengths.__getitem__):
        if batch and lengths[row] * sequences * (len(batch) + 1) > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
