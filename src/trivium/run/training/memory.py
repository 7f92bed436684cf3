"""What a step's pass through the model holds in memory, known from the lengths of its texts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.model.attention import MOST_GROUPS, TEXTS_PER_GROUP
from trivium.model.encoder import EncoderConfig
from trivium.parts.tasks import MaskedWords
from trivium.run.rows.encoded import Encoded
from trivium.run.training.pieces import split
from trivium.run.training.plan import Plan
from trivium.text.streams import Stream

LOOKED_AT = 300
"""Batches of a task that are drawn to find its heaviest one."""

Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PassMemory:
    """Bytes of forward and backward through an encoder on a CPU, text lengths given: length_R."""

    config: EncoderConfig
    low: bool
    """Whether the layers compute in bf16 beside fp32 weights."""

    @property
    def number(self) -> int:
        """Bytes of one number in the layers."""
        return 2 if self.low else 4

    def kept(self, length_R: Lengths) -> float:
        """What autograd keeps for backward. Per token of a layer: inputs of four products and two
        LayerNorms, what GELU reads, two dropout masks; on attention's padded grid queries, keys
        and values, and three matrices a head; in fp32 their three weights side by side."""
        config = self.config
        width, places, squares = config.hidden_size, 0, 0
        for texts, longest in groups(length_R):
            places += texts * longest
            squares += texts * longest**2
        layer = (
            length_R.sum() * (7 * width + 2 * config.intermediate_size)
            + places * 3 * width
            + squares * 3 * config.num_attention_heads
            + (0 if self.low else 3 * width**2)
        )
        embeddings = length_R.sum() * 3 * width * 4
        return float(self.number * config.num_hidden_layers * layer + embeddings)

    def working(self, length_R: Lengths) -> float:
        """What one layer's backward needs for a moment beside that."""
        config = self.config
        grid = max(texts * longest**2 for texts, longest in groups(length_R))
        wide = length_R.sum() * 2 * (config.intermediate_size + config.hidden_size)
        return float(self.number * (2 * config.num_attention_heads * grid + wide))


def heaviest(
    encoded: Encoded, plan: Plan, limit: int, seed: int, weigh: Callable[[Lengths], float]
) -> float:
    """The most that `weigh` says of the texts of one piece, in the first batches of a task.

    limit: tokens of a piece, see `pieces`.
    """
    task, count = encoded.task, len(encoded)
    length_SB = encoded.lengths().clip(max=encoded.packer.max_length).reshape(task.sequences, -1)
    name = task.name
    stream = Stream(name, count, plan.sizes[name], seed, min(plan.rows[name], count))
    most = 0.0
    for _ in range(min(LOOKED_AT, 3 * stream.batches_per_epoch)):
        drawn_SB = length_SB[:, stream.draw()]
        parts = [np.arange(drawn_SB.shape[1])]
        if not task.resolved_loss.compares_rows:
            parts = split(drawn_SB.sum(0), limit)
        most = max(most, *(weigh(drawn_SB[:, places].ravel()) for places in parts))
    return most


def logits(encoded: Encoded, length_R: Lengths, config: EncoderConfig, *, low: bool) -> float:
    """Bytes of a head that guesses words: beside the logits in fp32 their copy in the encoder's
    precision, their log-softmax, and both gradients."""
    share = encoded.task.mask.share if isinstance(encoded.task, MaskedWords) else 0.0
    return float(share * length_R.sum() * config.vocab_size * (16 if low else 12))


def groups(length_R: Lengths) -> list[tuple[int, int]]:
    """Texts and longest text of the groups in which attention works: see `attention.layout`."""
    count = max(1, min(MOST_GROUPS, len(length_R) // TEXTS_PER_GROUP))
    return [(len(part), int(part[-1])) for part in np.array_split(np.sort(length_R), count)]
