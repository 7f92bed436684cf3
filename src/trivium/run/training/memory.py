"""What a stage holds in memory, known before it begins: from sizes, and the lengths of texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.model.attention import MOST_GROUPS, TEXTS_PER_GROUP
from trivium.model.encoder import EncoderConfig
from trivium.model.kept import OBJECT, ROOM
from trivium.model.multitask import MultiTaskModel, Shared
from trivium.model.native.library import Form, library
from trivium.parts.regularizers import RegularizerPart
from trivium.recipe import Recipe, Stage
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.machine import memory_now
from trivium.run.rows.encoded import Encoded
from trivium.run.training.parameters import stage_parameters
from trivium.run.training.pieces import TOKENS_AT_ONCE, split
from trivium.run.training.plan import Plan
from trivium.run.training.resting import resting_layers
from trivium.run.training.together import may_go_together
from trivium.text.streams import Stream

NUMBER = 4
"""Bytes of a parameter, and of its gradient: fp32 in every precision."""
LIBRARIES = 500 * 2**20
"""Bytes that torch and its friends take before anything is loaded."""
COMPILER = 130 * 2**20
"""Of these, those of PyTorch's compiler, which only PyTorch's own AdamW loads; measured."""
KERNELS = 160 * 2**20
"""Bytes that oneDNN's kernels take, and what the C library keeps of what was freed."""
HOLES = 1.4
"""A piece in bytes asked for to bytes taken, since no two pieces have the same sizes; measured."""
LOOKED_AT = 300
"""Batches of a task that are drawn to find its heaviest one."""

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one stage."""

    recipe: Recipe
    stage: Stage
    plan: Plan
    model: MultiTaskModel
    encoded: Mapping[str, Encoded]
    regularizers: Mapping[str, Sequence[RegularizerPart]]
    """Of each of the stage's tasks, those that have something to say of it."""

    @cached_property
    def trained(self) -> int:
        """Parameters that learn sooner or later."""
        encoder, heads = stage_parameters(self.recipe, self.model, self.stage)
        return sum(p.numel() for _, p in (*encoder, *heads))

    @property
    def frozen(self) -> int:
        """The other parameters."""
        return sum(p.numel() for p in self.model.parameters()) - self.trained

    def kept_apart(self) -> int:
        """Bytes of the tasks' gradients that a step holds apart, beyond the one of their sum."""
        if not (self.stage.combiner.needs_gram or self.plan.conflicts_every):
            return 0
        encoder, heads = stage_parameters(self.recipe, self.model, self.stage)
        learns = {id(parameter) for _, parameter in (*encoder, *heads)}
        return NUMBER * sum(
            (self._tasks_of(shared) - 1) * shared.parameter.numel()
            for shared in self.model.shared_parameters()
            if id(shared.parameter) in learns
        )

    def kept_texts(self) -> int:
        """Bytes of what is kept of texts by a part of the encoder that rests, if each text stands
        in one row of one task."""
        config = self.model.encoder.config
        rests = resting_layers(self.recipe, self.stage, self.model)
        if not (rests and self._in_kernels()):
            return 0
        total = 0.0
        for task in self.plan.tasks:
            encoded, whole = self.encoded[task], rests == config.num_hidden_layers
            texts = len(encoded) * len(encoded.lengths_of(np.arange(1)))
            tokens = texts * encoded.lengths().clip(max=encoded.packer.max_length).mean()
            pooled = whole and self.model.head(task).pools is not None
            numbers = texts * NUMBER if pooled else tokens * self._precision.itemsize
            total += numbers * config.hidden_size + tokens * 8 + texts * OBJECT
        return min(ROOM, int(total))

    def _tasks_of(self, shared: Shared) -> int:
        """Tasks of one step that a shared parameter has a gradient of, at the most."""
        reach = self.plan.tasks
        if shared.trunk is not None:
            reach = [task for task in reach if self.model.head(task).trunk == shared.trunk]
        elif shared.name.startswith("pooler."):  # most heads pool by themselves
            reach = [task for task in reach if self.recipe.tasks[task].resolved_head.wants_pooler]
        return min(len(reach), self.plan.batches_per_step)

    def total(self) -> int:
        """What the process will hold, roughly: what it holds already (libraries, data, weights),
        Adam's two moments, the gradients kept apart, the copies of weights that regularizers keep,
        those for products; in a step gradients and what backward needs, or else the copies that
        saving makes; and at the end the kept model, read back."""
        trained, frozen = NUMBER * self.trained, NUMBER * self.frozen
        encoder = self.model.encoder
        words = NUMBER * encoder.embeddings.word_embeddings.weight.numel()
        layers = sum(parameter.numel() for parameter in encoder.encoder.parameters())
        copies = layers * (2 * self._precision.itemsize if self._in_kernels() else NUMBER)
        averages = trained * sum(part.weight_copies for part in self.stage.regularizers)
        if self.stage.average is not None:  # and the weights, while it stands in their place
            averages += 2 * trained
        lasting = 2 * trained + self.kept_apart() + averages + copies + KERNELS + self.kept_texts()
        # Of each batch, the gradient of the word vectors is made apart before it is added.
        step = trained + min(words, trained) + HOLES * self._heaviest_pass()
        saving = 3 * trained + frozen
        libraries = LIBRARIES - (COMPILER if self._kernels() else 0)
        held = max(memory_now(), libraries) + lasting + max(step, saving) + trained + frozen
        return int(held)

    def _kernels(self) -> Form | None:
        """What the compiled kernels compute layers in; None where nothing is computed by them."""
        found = library() if choose_device(self.recipe.device).type == "cpu" else None
        return None if found is None else found.form

    def _in_kernels(self) -> bool:
        """Whether they compute the layers, of which they have both ways' weights in an order of
        their own."""
        kernels = self._kernels()
        return kernels is not None and kernels.numbers == self._precision

    @property
    def _precision(self) -> torch.dtype:
        return choose_precision(self.recipe.precision, choose_device(self.recipe.device))

    @property
    def _limit(self) -> int:
        """Tokens that go through the model at once."""
        return self.stage.tokens_at_once or TOKENS_AT_ONCE[choose_device(self.recipe.device).type]

    def _heaviest_pass(self) -> float:
        """Bytes that forward and backward of all that goes through the model at once take."""
        weigh = {task: self._weigher(task) for task in self.plan.tasks}
        pieces = [
            heaviest(self.encoded[task], self.plan, self._limit, self.recipe.seed, weigh[task])
            for task in self.plan.tasks
        ]
        draws = self.stage.batches_per_step
        if self.plan.batches_per_step == 1 or not self._goes_together():
            return max(pieces)
        joint = self.plan.batches_per_step > draws
        several = draws * (sum(pieces) if joint else max(pieces))
        full = []
        for task in self.plan.tasks:
            encoded = self.encoded[task]
            longest = min(int(encoded.lengths().max()), encoded.packer.max_length)
            full.append(weigh[task](np.full(-(-self._limit // longest), longest)))
        return max(*pieces, min(several, max(full)))

    def _goes_together(self) -> bool:
        """Whether a step's batches are one pass: where gradients are kept apart, in kernels."""
        may = may_go_together(self.model, self.stage, choose_device(self.recipe.device))
        return may and (not self.kept_apart() or self._in_kernels())

    def _weigher(self, task: str) -> Callable[[Lengths], float]:
        """Bytes that forward and backward of texts of a task take, by their lengths."""
        recipe, encoded, config = self.recipe, self.encoded[task], self.model.encoder.config
        device, parts = choose_device(recipe.device), self.regularizers[task]
        precision = choose_precision(recipe.precision, device)
        low = precision != torch.float32 and not any(part.needs_fp32 for part in parts)
        passes = 1 + sum(part.extra_passes for part in parts)
        learns = self.stage.trains.trains_any or bool(recipe.adapters)
        memory = PassMemory(config, low)

        def weigh(length_R: Lengths) -> float:
            kept = memory.kept(length_R) if learns else 0.0
            kept += logits(encoded, length_R, config, low=low)
            return passes * kept + memory.working(length_R)

        return weigh


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
    name = task.name
    stream = Stream(name, count, plan.sizes[name], seed, min(plan.rows[name], count))
    most = 0.0
    for _ in range(min(LOOKED_AT, 3 * stream.batches_per_epoch)):
        drawn_SB = encoded.lengths_of(stream.draw()).clip(max=encoded.packer.max_length)
        parts = [np.arange(drawn_SB.shape[1])]
        if not task.resolved_loss.compares_rows:
            parts = split(drawn_SB.sum(0), limit)
        most = max(most, *(weigh(drawn_SB[:, places].ravel()) for places in parts))
    return most


def logits(encoded: Encoded, length_R: Lengths, config: EncoderConfig, *, low: bool) -> float:
    """Bytes of a head that guesses words: beside the logits in fp32 their copy in the encoder's
    precision, their log-softmax, and both gradients."""
    asked = encoded.task.asked_share * length_R.sum()
    return float(asked * config.vocab_size * (16 if low else 12))


def groups(length_R: Lengths) -> list[tuple[int, int]]:
    """Texts and longest text of the groups in which attention works: see `attention.layout`."""
    count = max(1, min(MOST_GROUPS, len(length_R) // TEXTS_PER_GROUP))
    return [(len(part), int(part[-1])) for part in np.array_split(np.sort(length_R), count)]
