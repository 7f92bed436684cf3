"""One model that answers: the path under evaluation, prediction files and servers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.multitask import MultiTaskModel, Pooling, pool
from trivium.parts.tasks import Task
from trivium.run.assembly.device import precision_name
from trivium.run.predictor.base import Predictor, Texts
from trivium.run.rows.encoded import packer_for
from trivium.text.packing import Cut, Ids, Packer
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

Represent = Callable[[Tensor, Tokens, Encoder], Tensor]
"""A head's first half: one vector per text of a pack, vector_RC."""

TOKENS_PER_PACK = 2048
"""Tokens that go through the encoder at once: enough to keep two cores busy, little memory."""


class TorchPredictor(Predictor):
    """A model with its tasks, ready to answer. Every distinct text of a call is encoded once,
    however many rows and tasks ask about it."""

    def __init__(
        self, model: MultiTaskModel, tasks: Mapping[str, Task], tokenizer: Tokenizer
    ) -> None:
        self.model, self.tasks, self.tokenizer = model, tasks, tokenizer

    @property
    def precision(self) -> str:
        return precision_name(self.model.encoder.precision)

    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        return self.readouts({task: rows})[task]

    @torch.inference_mode()
    def readouts(self, asks: Mapping[str, Sequence[Texts]]) -> dict[str, Tensor]:
        self._refuse_wrong(asks)
        was_training = self.model.training  # a run that trains is judged by this very model
        self.model.eval()
        readouts = {
            name: torch.zeros(0, max(1, self.tasks[name].outputs))
            for name, rows in asks.items()
            if not rows
        }
        for question in self._passes({name: rows for name, rows in asks.items() if rows}):
            readouts |= self._answered(question)
        self.model.train(was_training)
        return {name: readouts[name] for name in asks}

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], pooling: Pooling = "mean") -> Tensor:
        """The shared encoder's vector of each text: vector_BD, fp32, CPU, not normalised."""
        if not texts:
            return torch.zeros(0, self.model.encoder.config.hidden_size)
        self.model.eval()
        index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        place_B = torch.tensor([index[text] for text in texts])
        one = _Pass([(text,) for text in index], {"": place_B}, Packer(self.tokenizer, self.limit))
        return self._vectors(one, {"": partial(pool, how=pooling)})[""].float().cpu()[place_B]

    @property
    def limit(self) -> int:
        """The encoder's longest sequence, in tokens."""
        return self.model.encoder.config.max_position_embeddings

    # --- one pass for several tasks -------------------------------------------------------------

    def _passes(self, asks: Mapping[str, Sequence[Texts]]) -> Iterator["_Pass"]:
        """The passes through the encoder: one for all tasks that read a text alike."""
        alike: dict[tuple[int, Cut, str], dict[str, list[tuple[str, ...]]]] = {}
        packers: dict[tuple[int, Cut, str], Packer] = {}
        for name, rows in asks.items():
            task = self.tasks[name]
            packer = packer_for(task, self.tokenizer, self.limit)
            # A task with sides changes what the layers compute; masked words are masked first.
            own = name if self.model.encoder.sides.of(name) or task.draws_targets else ""
            key = (packer.max_length, packer.keeps, own)
            packers[key] = packer
            alike.setdefault(key, {})[name] = _sequences(task, rows)
        for key, wanted in alike.items():
            index: dict[tuple[str, ...], int] = {}
            places = {
                name: torch.tensor([index.setdefault(one, len(index)) for one in sequences])
                for name, sequences in wanted.items()
            }
            yield _Pass(list(index), places, packers[key])

    def _answered(self, one: "_Pass") -> dict[str, Tensor]:
        """What each task of a pass makes of its vectors: readout_BK by task."""
        heads = {name: self.model.head(name).represent for name in one.places}
        readouts = {}
        for name, vector_UC in self._vectors(one, heads).items():
            task = self.tasks[name]
            vector_SC = vector_UC[one.places[name].to(vector_UC.device)]
            vector_BSC = vector_SC.view(-1, task.sequences, vector_UC.shape[1])
            readouts[name] = task.readout(self.model.decide(name, vector_BSC)).float().cpu()
        return readouts

    def _vectors(self, one: "_Pass", represent: Mapping[str, Represent]) -> dict[str, Tensor]:
        """Of each task one vector per sequence of the pass: vector_UC by task.

        The rows of sequences that a task does not ask for are left as they came. represent: by
        task, what its head makes of a pack.
        """
        rows = self._pieces(one.sequences)
        asked = {name: one.asked_by(name) for name in represent}
        found: dict[str, Tensor] = {}
        for chosen in _packs([min(one.packer.length(r), one.packer.max_length) for r in rows]):
            tokens = one.packer.pack([rows[i] for i in chosen])
            place_R = torch.tensor(chosen)
            for name, vector_RC, own_R in self._read(tokens, place_R, represent, asked):
                if name not in found:
                    # How wide a head's vectors are is known when it has made one.
                    found[name] = vector_RC.new_empty(len(rows), vector_RC.shape[1])
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

    def _pieces(self, sequences: Sequence[tuple[str, ...]]) -> list[list[Ids]]:
        """The word pieces of each text of the sequences."""
        ids = self.tokenizer([text for sequence in sequences for text in sequence])
        texts = (np.asarray(pieces, dtype=np.int32) for pieces in ids)
        return [[next(texts) for _ in sequence] for sequence in sequences]

    def _refuse_wrong(self, asks: Mapping[str, Sequence[Texts]]) -> None:
        for name, rows in asks.items():
            _check_rows(self.task(name), rows)


@dataclass(frozen=True, slots=True)
class _Pass:
    """Distinct sequences that go through the encoder together, and who asks for which."""

    sequences: list[tuple[str, ...]]
    places: Mapping[str, Tensor]
    """By task, the index among `sequences` of every sequence of its rows, row after row."""
    packer: Packer

    def asked_by(self, task: str) -> Tensor:
        """Whether a task asks for each of the sequences: asked_U (bool)."""
        asked_U = torch.zeros(len(self.sequences), dtype=torch.bool)
        asked_U[self.places[task]] = True
        return asked_U


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


def _sequences(task: Task, rows: Sequence[Texts]) -> list[tuple[str, ...]]:
    """What the encoder reads for the rows, row after row: a text, a pair, or both texts apart."""
    texts = [(row,) if isinstance(row, str) else tuple(row) for row in rows]
    apart = task.sequences == len(task.text_columns)
    return [(text,) for row in texts for text in row] if apart else texts


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


def _check_rows(task: Task, rows: Sequence[Texts]) -> None:
    wanted = len(task.text_columns)
    for number, row in enumerate(rows):
        texts = (row,) if isinstance(row, str) else tuple(row)
        if len(texts) != wanted or not all(isinstance(text, str) for text in texts):
            form = "a text" if wanted == 1 else "a pair of texts"
            raise RecipeError(f"task {task.name!r}: row {number} must be {form}, found {texts!r}.")
