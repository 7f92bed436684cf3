"""The encoder's vectors of a task's texts; each distinct text is read once on this machine."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from trivium.answering.reading import Reader, Reading
from trivium.model.multitask import MultiTaskModel, Pooling
from trivium.parts.heads.base import Features, feature_width, join
from trivium.parts.tasks import Task
from trivium.run.assembly.device import precision_name
from trivium.run.assembly.digits import computed_by
from trivium.run.baselines.cache import bytes_of, cached
from trivium.run.predictor.torch import TorchPredictor


@dataclass(frozen=True, slots=True)
class Look:
    """What of a task's texts a probe sees: which vectors, and what is made of a pair's two."""

    task: Task
    """With `encode` as the probe reads it."""
    pooling: Pooling
    features: Features


class Vectors:
    """Asks one encoder, as it is now, for the features of rows."""

    def __init__(self, predictor: TorchPredictor) -> None:
        self.predictor = predictor

    @cached_property
    def digest(self) -> str:
        """sha256 of the encoder: its sizes, its numbers, and what it computes in."""
        encoder = self.predictor.model.encoder
        digest = hashlib.sha256(encoder.config.model_dump_json().encode())
        digest.update(precision_name(encoder.precision).encode())
        for name, tensor in encoder.state_dict().items():
            digest.update(name.encode())
            digest.update(bytes_of(tensor))
        return digest.hexdigest()

    def width(self, look: Look) -> int:
        """F, the features of a row."""
        hidden = self.predictor.model.encoder.config.hidden_size
        return feature_width(hidden, look.task.sequences, look.features)

    def of(self, look: Look, rows: Sequence[tuple[str, ...]]) -> Tensor:
        """Features of B rows: feature_BF, fp32, CPU."""
        name, model = look.task.name, self.predictor.model
        own = bool(model.encoder.sides.of(name))
        limit = self.predictor.limit
        form = look.task.form(limit, own=own)
        readings = Reader({name: form}, self.predictor.tokenizer, limit).read({name: rows})
        (reading,) = readings
        key = self._key(look, reading)
        read = partial(self._read, reading, look)
        vector_UD = cached(key, lambda: {"vectors": read()})["vectors"]
        place_BS = torch.from_numpy(reading.places[name]).long()
        return join(vector_UD[place_BS], look.features)

    def _read(self, reading: Reading, look: Look) -> Tensor:
        with _still(self.predictor.model):
            found = self.predictor.sequence_vectors(reading, look.task.name, look.pooling)
        return found.float().cpu().clone()

    def _key(self, look: Look, reading: Reading) -> str:
        device = next(self.predictor.model.encoder.parameters()).device
        told = f"vectors 2 {self.digest} {look.pooling} {computed_by(device)}"
        digest = hashlib.sha256(told.encode())
        digest.update(reading.way.own.encode())
        for array in (reading.ids_N, reading.length_U, reading.first_U):
            digest.update(array.tobytes())
        return digest.hexdigest()


@contextmanager
def _still(model: MultiTaskModel) -> Iterator[None]:
    """The model without dropout, and as it was afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
