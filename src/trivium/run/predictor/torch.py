"""One model that answers: the path under evaluation, prediction files and servers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.multitask import MultiTaskModel, Pooling, pool
from trivium.parts.tasks import Task
from trivium.run.assembly.device import precision_name
from trivium.run.predictor.base import Predictor, Texts
from trivium.run.rows.encoded import packer_for
from trivium.text.packing import Packer
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

TOKENS_PER_PACK = 2048
"""Tokens that go through the encoder at once: enough to keep two cores busy, little memory."""


class TorchPredictor(Predictor):
    """A model with its tasks, ready to answer. Every distinct text of a call is encoded once."""

    def __init__(
        self, model: MultiTaskModel, tasks: Mapping[str, Task], tokenizer: Tokenizer
    ) -> None:
        self.model, self.tasks, self.tokenizer = model, tasks, tokenizer

    @property
    def precision(self) -> str:
        return precision_name(self.model.encoder.precision)

    @torch.inference_mode()
    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        chosen = self.task(task)
        if not rows:
            return torch.zeros(0, max(1, chosen.outputs))
        texts = [(row,) if isinstance(row, str) else tuple(row) for row in rows]
        _check_rows(chosen, texts)
        packer = packer_for(chosen, self.tokenizer, self.limit)
        apart = chosen.sequences == len(chosen.text_columns)
        sequences = [(text,) for row in texts for text in row] if apart else texts
        index = {sequence: i for i, sequence in enumerate(dict.fromkeys(sequences))}
        head = self.model.head(task)
        was_training = self.model.training
        self.model.eval()
        encoder = self.model.encoder
        read = partial(chosen.judge, head=head, encoder=encoder, tokenizer=self.tokenizer)
        vector_UC = self._vectors(read, list(index), packer)
        place = torch.tensor([index[sequence] for sequence in sequences], device=vector_UC.device)
        vector_BSC = vector_UC[place].view(len(rows), chosen.sequences, -1)
        output_BK = self.model.decide(task, vector_BSC)
        self.model.train(was_training)
        return chosen.readout(output_BK).float().cpu()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], pooling: Pooling = "mean") -> Tensor:
        """The shared encoder's vector of each text: vector_BD, fp32, CPU, not normalised."""
        if not texts:
            return torch.zeros(0, self.model.encoder.config.hidden_size)
        self.model.eval()
        index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        read = partial(self._pooled, pooling)
        packer = Packer(self.tokenizer, self.limit)
        vector_UD = self._vectors(read, [(text,) for text in index], packer)
        return vector_UD.float().cpu()[torch.tensor([index[text] for text in texts])]

    @property
    def limit(self) -> int:
        """The encoder's longest sequence, in tokens."""
        return self.model.encoder.config.max_position_embeddings

    def _pooled(self, how: Pooling, tokens: Tokens) -> Tensor:
        """One vector per text of a pack, of the encoder without any task's sides: vector_RD."""
        tokens = tokens.to(next(self.model.parameters()).device)
        hidden_ND: Tensor = self.model.encoder(tokens)
        return pool(hidden_ND, tokens, self.model.encoder, how)

    def _vectors(
        self,
        read: Callable[[Tokens], Tensor],
        sequences: Sequence[tuple[str, ...]],
        packer: Packer,
    ) -> Tensor:
        """One vector per sequence: vector_UC. read: a pack on the CPU -> its vectors."""
        pieces = [
            np.asarray(ids, dtype=np.int32)
            for ids in self.tokenizer([text for sequence in sequences for text in sequence])
        ]
        texts = iter(pieces)
        rows = [[next(texts) for _ in sequence] for sequence in sequences]
        vector_UC: Tensor | None = None
        for chosen in _packs([min(packer.length(row), packer.max_length) for row in rows]):
            part_RC = read(packer.pack([rows[i] for i in chosen]))
            if vector_UC is None:
                vector_UC = part_RC.new_empty(len(rows), part_RC.shape[1])
            vector_UC[torch.tensor(chosen, device=part_RC.device)] = part_RC
        assert vector_UC is not None, "callers pass at least one sequence"
        return vector_UC


def _packs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in packs of about TOKENS_PER_PACK tokens, texts of like length together."""
    pack: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if pack and tokens + lengths[index] > TOKENS_PER_PACK:
            yield pack
            pack, tokens = [], 0
        pack.append(index)
        tokens += lengths[index]
    if pack:
        yield pack


def _check_rows(task: Task, rows: Sequence[tuple[str, ...]]) -> None:
    wanted = len(task.text_columns)
    for number, row in enumerate(rows):
        if len(row) != wanted or not all(isinstance(text, str) for text in row):
            form = "a text" if wanted == 1 else "a pair of texts"
            raise RecipeError(f"task {task.name!r}: row {number} must be {form}, found {row!r}.")
