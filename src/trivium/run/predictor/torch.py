"""One model that answers: the path under evaluation, prediction files and servers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    def encoder(self) -> str:
        config = self.model.encoder.config
        return f"encoder of {config.num_hidden_layers} layers, width {config.hidden_size}"

    @property
    def limit(self) -> int:
        """The encoder's longest sequence, in tokens."""
        return self.model.encoder.config.max_position_embeddings

    @torch.inference_mode()
    def said(self, readings: Sequence[Reading]) -> dict[str, Tensor]:
        was_training = self.model.training  # a run that trains is judged by this very model
        if was_training:  # to switch takes a third as long as a short text does
            self.model.eval()
        readouts: dict[str, Tensor] = {}
        for reading in readings:
            readouts |= self._answered(reading)
        if was_training:
            self.model.train()
        return readouts

    @torch.inference_mode()
    def pooled(self, texts: Sequence[str], pooling: Pooling = "mean") -> Tensor:
        """The shared encoder's vector of each text: vector_BD, fp32, CPU, not normalised."""
        self.model.eval()
        readings = self.readers[0].read({PLAIN: texts})
        if not readings:
            return torch.zeros(0, self.model.encoder.config.hidden_size)
        (reading,) = readings
        made = _Made(partial(pool, how=pooling), pooling, [PLAIN], pooling in ("cls", "pooler"))
        vector_UD = self._vectors(reading, [made])[0]
        return vector_UD.float().cpu()[torch.from_numpy(reading.places[PLAIN][:, 0])]

    @torch.inference_mode()
    def sequence_vectors(self, reading: Reading, task: str, pooling: Pooling) -> Tensor:
        """The encoder's vector of each sequence that a reading has for one task, whatever the
        task's head makes of them: vector_UD. The model is taken as it is, in training or not."""
        made = _Made(partial(pool, how=pooling), pooling, [task], pooling in ("cls", "pooler"))
        return self._vectors(reading, [made])[0]

    # --- one pass for several tasks -------------------------------------------------------------

    def _answered(self, reading: Reading) -> dict[str, Tensor]:
        """What each task of a pass makes of its vectors: readout_BK by task."""
        wanted = self._wanted(list(reading.places))
        readouts = {}
        for made, vector_UC in zip(wanted, self._vectors(reading, wanted), strict=True):
            for name in made.tasks:
                place_BS = torch.from_numpy(reading.places[name]).to(vector_UC.device)
                vector_BSC = vector_UC[place_BS]
                if name == PLAIN:
                    readouts[name] = vector_BSC.squeeze(1).float().cpu()
                else:
                    output_BK = self.model.decide(name, vector_BSC)
                    readouts[name] = self.tasks[name].readout(output_BK).float().cpu()
        return readouts

    def _wanted(self, tasks: Sequence[str]) -> list["_Made"]:
        """What vectors are made; those of heads that pool alike only once."""
        found: dict[str, _Made] = {}
        for name in tasks:
            head = self.model.head(name) if name != PLAIN else None
            how: Pooling | None = head.pools if head is not None else "mean"
            make = head.represent if head is not None else partial(pool, how="mean")
            first_only = how in ("cls", "pooler")
            made = _Made(make, how, [], first_only)
            found.setdefault(how or f"of {name}", made).tasks.append(name)
        return list(found.values())

    def _vectors(self, reading: Reading, wanted: Sequence["_Made"]) -> list[Tensor]:
        """Each of the wanted kinds of vectors, one per sequence of the pass: vector_UC.

        The rows of sequences that nobody asks for are left as they came.
        """
        asked = [_asked_by(reading, made.tasks) for made in wanted]
        found: dict[int, Tensor] = {}
        for chosen_R in _packs(reading.length_U):
            tokens, place_R = pack(reading, chosen_R), torch.from_numpy(chosen_R)
            for kind, vector_RC, own_R in self._read(reading, tokens, place_R, wanted, asked):
                if kind not in found:
                    # How wide a head's vectors are is known when it has made one.
                    found[kind] = vector_RC.new_empty(len(reading.length_U), vector_RC.shape[1])
                found[kind][own_R.to(vector_RC.device)] = vector_RC
        return [found[kind] for kind in range(len(wanted))]

    def _read(
        self,
        reading: Reading,
        tokens: Tokens,
        place_R: Tensor,
        wanted: Sequence["_Made"],
        asked: Sequence[Tensor],
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """A pack through the encoder once, and then what is made of it: which of the wanted kinds,
        its vectors, and their places among the sequences of the pass."""
        encoder, own = self.model.encoder, reading.way.own
        if own and self.tasks[own].draws_targets:
            head = self.model.head(own)
            yield 0, self.tasks[own].judge(tokens, head, encoder, self.tokenizer), place_R
            return
        tokens = tokens.to(encoder.embeddings.word_embeddings.weight.device)
        first_only, hidden_ND = all(made.reads_first_only for made in wanted), None
        for kind, made in enumerate(wanted):
            wanted_R = asked[kind][place_R]
            kept_RC = None
            if self.model.kept is not None and wanted_R.sum() > 1:  # one is pooled another way
                kept_RC = self.model.kept_pooled(tokens, own, made.pools)
            if kept_RC is not None:
                yield kind, kept_RC[wanted_R], place_R[wanted_R]
                continue
            if hidden_ND is None:
                hidden_ND = self.model.hidden(tokens, own, first_only=first_only)
            if wanted_R.all():
                yield kind, made.make(hidden_ND, tokens, encoder), place_R
            elif wanted_R.any():
                some_ND, some = only(hidden_ND, tokens, wanted_R)
                yield kind, made.make(some_ND, some, encoder), place_R[wanted_R]


@dataclass(frozen=True, slots=True)
class _Made:
    """Vectors that are made of a pack, and the tasks whose heads decide from them."""

    make: Represent
    pools: Pooling | None
    """What `make` is, if it is of the encoder's alone."""
    tasks: list[str]
    reads_first_only: bool
    """Whether it reads no token but a text's first."""


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


def _asked_by(reading: Reading, tasks: Sequence[str]) -> Tensor:
    """Whether any of the tasks asks for each of the sequences: asked_U (bool)."""
    asked_U = torch.zeros(len(reading.length_U), dtype=torch.bool)
    for task in tasks:
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
