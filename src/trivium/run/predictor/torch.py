"""One model that answers: the path under evaluation, prediction files and servers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.answering.reading import PLAIN, Reader, Reading
from trivium.model.encoder import Encoder
from trivium.model.multitask import MultiTaskModel, Pooling, pool
from trivium.parts.tasks import Task
from trivium.run.assembly.device import precision_name
from trivium.run.predictor.model import ModelPredictor
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

Represent = Callable[[Tensor, Tokens, Encoder], Tensor]
"""A head's first half: one vector per text of a pack, vector_RC."""

TOKENS_PER_PACK = 2048
"""Tokens that go through the encoder at once: enough to keep two cores busy, little memory."""


class TorchPredictor(ModelPredictor):
    """A model with its tasks, ready to answer. Every distinct text of a call is encoded once,
    however many rows and tasks ask about it."""

    def __init__(
        self, model: MultiTaskModel, tasks: Mapping[str, Task], tokenizer: Tokenizer
    ) -> None:
        self.model, self.tasks, self.tokenizer = model, tasks, tokenizer
        sides = model.encoder.sides
        self.forms = {
            name: task.form(self.limit, own=bool(sides.of(name))) for name, task in tasks.items()
        }
        self.readers = (Reader(self.forms, tokenizer, self.limit),)

    @property
    def precision(self) -> str:
        return precision_name(self.model.encoder.precision)

    @property
    def limit(self) -> int:
        """The encoder's longest sequence, in tokens."""
        return self.model.encoder.config.max_position_embeddings

    @torch.inference_mode()
    def said(self, readings: Sequence[Reading]) -> dict[str, Tensor]:
        was_training = self.model.training  # a run that trains is judged by this very model
        self.model.eval()
        readouts: dict[str, Tensor] = {}
        for reading in readings:
            readouts |= self._answered(reading)
        self.model.train(was_training)
        return readouts

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], pooling: Pooling = "mean") -> Tensor:
        """The shared encoder's vector of each text: vector_BD, fp32, CPU, not normalised."""
        if not texts:
            return torch.zeros(0, self.model.encoder.config.hidden_size)
        self.model.eval()
        (reading,) = self.readers[0].read({PLAIN: texts})
        vector_UD = self._vectors(reading, {PLAIN: partial(pool, how=pooling)})[PLAIN]
        return vector_UD.float().cpu()[torch.from_numpy(reading.places[PLAIN][:, 0])]

    # --- one pass for several tasks -------------------------------------------------------------

    def _answered(self, reading: Reading) -> dict[str, Tensor]:
        """What each task of a pass makes of its vectors: readout_BK by task."""
        heads = {name: self._represent(name) for name in reading.places}
        readouts = {}
        for name, vector_UC in self._vectors(reading, heads).items():
            place_BS = torch.from_numpy(reading.places[name]).to(vector_UC.device)
            vector_BSC = vector_UC[place_BS]
            if name == PLAIN:
                readouts[name] = vector_BSC.squeeze(1).float().cpu()
            else:
                output_BK = self.model.decide(name, vector_BSC)
                readouts[name] = self.tasks[name].readout(output_BK).float().cpu()
        return readouts

    def _represent(self, task: str) -> Represent:
        return self.model.head(task).represent if task != PLAIN else partial(pool, how="mean")

    def _vectors(self, reading: Reading, represent: Mapping[str, Represent]) -> dict[str, Tensor]:
        """Of each task one vector per sequence of the pass: vector_UC by task.

        The rows of sequences that a task does not ask for are left as they came. represent: by
        task, what its head makes of a pack.
        """
        asked = {name: _asked_by(reading, name) for name in represent}
        found: dict[str, Tensor] = {}
        for chosen_R in _packs(reading.length_U):
            tokens, place_R = pack(reading, chosen_R), torch.from_numpy(chosen_R)
            for name, vector_RC, own_R in self._read(tokens, place_R, represent, asked):
                if name not in found:
                    # How wide a head's vectors are is known when it has made one.
                    found[name] = vector_RC.new_empty(len(reading.length_U), vector_RC.shape[1])
                found[name][own_R.to(vector_RC.device)] = vector_RC
        return found

    def _read(
        self,
        tokens: Tokens,
        place_R: Tensor,
        represent: Mapping[str, Represent],
        asked: Mapping[str, Tensor],
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """A pack through the encoder once, and then by the head of every task that asks for some
        of it: the task, its vectors, and their places among the sequences of the pass."""
        encoder = self.model.encoder
        first = next(iter(represent))
        if first in self.tasks and self.tasks[first].draws_targets:
            head = self.model.head(first)
            yield first, self.tasks[first].judge(tokens, head, encoder, self.tokenizer), place_R
            return
        tokens = tokens.to(next(self.model.parameters()).device)
        hidden_ND: Tensor = encoder(tokens, first)  # whose sides are those of all in the pass
        for name, read in represent.items():
            wanted_R = asked[name][place_R]
            if wanted_R.all():
                yield name, read(hidden_ND, tokens, encoder), place_R
            elif wanted_R.any():
                own_ND, own = only(hidden_ND, tokens, wanted_R)
                yield name, read(own_ND, own, encoder), place_R[wanted_R]


def only(hidden_ND: Tensor, tokens: Tokens, wanted_R: Tensor) -> tuple[Tensor, Tokens]:
    """Some texts of a pack, in their order, with their contextual vectors. wanted_R: bool."""
    wanted_R = wanted_R.to(hidden_ND.device)
    lengths_R = tokens.lengths_R[wanted_R]
    wanted_N = wanted_R.repeat_interleave(tokens.lengths_R, output_size=len(hidden_ND))
    some = Tokens(
        tokens.ids_N[wanted_N], tokens.positions_N[wanted_N], tokens.segments_N[wanted_N],
        lengths_R, int(lengths_R.max()),
    )  # fmt: skip
    return hidden_ND[wanted_N], some


def pack(reading: Reading, chosen_R: NDArray[np.int64]) -> Tokens:
    """Some sequences of a reading as one packed stream."""
    length_R = reading.length_U[chosen_R].astype(np.int64)
    start_R = reading.starts()[chosen_R]
    position_N = np.arange(length_R.sum()) - np.repeat(length_R.cumsum() - length_R, length_R)
    ids_N = reading.ids_N[np.repeat(start_R, length_R) + position_N].astype(np.int64)
    segments_N = position_N >= np.repeat(reading.first_U[chosen_R], length_R)
    return Tokens(
        torch.from_numpy(ids_N),
        torch.from_numpy(position_N),
        torch.from_numpy(segments_N.astype(np.int64)),
        torch.from_numpy(length_R),
        int(length_R.max()),
    )


def _asked_by(reading: Reading, task: str) -> Tensor:
    """Whether a task asks for each of the sequences: asked_U (bool)."""
    asked_U = torch.zeros(len(reading.length_U), dtype=torch.bool)
    asked_U[torch.from_numpy(reading.places[task]).flatten()] = True
    return asked_U


def _packs(length_U: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """Indices in packs of about TOKENS_PER_PACK tokens, texts of like length together."""
    order_U = np.argsort(length_U, kind="stable")
    begin = tokens = 0
    for place, length in enumerate(length_U[order_U].tolist()):
        if place > begin and tokens + length > TOKENS_PER_PACK:
            yield order_U[begin:place]
            begin, tokens = place, 0
        tokens += length
    if len(order_U):
        yield order_U[begin:]
