"""What training would do, said before it is done: rows, labels, lengths, steps, cost, warnings."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import torch

from trivium.model.lora import is_adapter_parameter
from trivium.model.multitask import MultiTaskModel
from trivium.parts.regularizers import AnyRegularizer
from trivium.recipe import Recipe, Stage
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.machine import memory_now
from trivium.run.rows.encoded import Encoded
from trivium.run.rows.load import SHOWN_PROBLEMS
from trivium.run.rows.splits import Data, Split
from trivium.run.teachers.lessons import Lessons
from trivium.run.training.memory import Lengths, PassMemory, heaviest, logits
from trivium.run.training.parameters import stage_parameters
from trivium.run.training.pieces import TOKENS_AT_ONCE
from trivium.run.training.plan import Plan, coverage, plan_stage
from trivium.text.packing import Cut

LIBRARIES = 500 * 2**20
"""Bytes that torch and its friends take before anything is loaded."""
KERNELS = 160 * 2**20
"""Bytes that oneDNN's kernels take, and what the C library keeps of what was freed."""
HOLES = 1.4
"""A piece in bytes asked for to bytes taken, since no two pieces have the same sizes; measured."""
KEPT: dict[Cut, str] = {"head": "start", "tail": "end", "head_tail": "start and end"}
LITTLE_SEEN, MUCH_SEEN = 0.5, 3.0
"""Passes per epoch under and over which a task is warned about."""


@dataclass(frozen=True)
class Preview:
    """The facts; `training.explain` puts them on a screen."""

    recipe: Recipe
    data: Data
    encoded: dict[str, Encoded]
    model: MultiTaskModel
    lessons: Lessons = field(default_factory=Lessons)

    def plan(self, stage: Stage) -> Plan:
        return plan_stage(stage, self.recipe, self.rows(stage))

    def rows(self, stage: Stage) -> dict[str, int]:
        """Training rows of every task in a stage, those that its teachers label included."""
        lessons = self.lessons.of(stage.name)
        extra = {name: len(lesson.extra) for name, lesson in lessons.items()}
        return {name: len(e) + extra.get(name, 0) for name, e in self.encoded.items()}

    def regularizes(self, stage: Stage, part: AnyRegularizer, task: str) -> bool:
        """Whether a regularizer has something to say of a task."""
        taught = part.kind != "distill" or task in self.lessons.of(stage.name)
        return taught and part.applies(task)

    def truncated(self, task: str) -> int:
        """Training sequences longer than the task's `max_length`."""
        encoded = self.encoded[task]
        return int((encoded.lengths() > encoded.packer.max_length).sum())

    def repeated(self, task: str) -> int:
        """Training rows whose texts stand in an earlier row."""
        texts = [example.texts for example in self.data[task]["train"].examples]
        return len(texts) - len(set(texts))

    def overlap(self, task: str, split: str) -> int:
        """Rows of a split whose texts also stand in the training rows."""
        seen = {example.texts for example in self.data[task]["train"].examples}
        return sum(example.texts in seen for example in self.data[task][split].examples)

    def parameters(self, stage: Stage) -> tuple[int, int]:
        """Trained and frozen parameters of a stage."""
        encoder, heads = stage_parameters(self.recipe, self.model, stage)
        trained = sum(p.numel() for _, p in (*encoder, *heads))
        return trained, sum(p.numel() for p in self.model.parameters()) - trained

    def added(self) -> dict[str, int]:
        """Parameters that each adapter adds."""
        config, names = self.model.encoder.config, list(self.recipe.tasks)
        return {part.kind: part.count(config, names) for part in self.recipe.adapters}

    def kept_apart(self, stage: Stage) -> int:
        """Bytes of the tasks' gradients that a step holds apart, beyond the one of their sum."""
        plan = self.plan(stage)
        if not (stage.combiner.needs_gram or plan.conflicts_every):
            return 0
        encoder, _ = stage_parameters(self.recipe, self.model, stage)
        shared = sum(p.numel() for name, p in encoder if not name.startswith("sides."))
        return (min(len(plan.tasks), plan.batches_per_step) - 1) * shared * 4

    def memory(self, stage: Stage) -> int:
        """Bytes that the process will hold, roughly: what it holds already (libraries, data,
        weights), Adam's two moments, the gradients kept apart, the average of `bregman`, copies of
        the weights for products; in a step gradients and what backward needs, or else the copies
        that saving makes; and at the end the kept model, read back."""
        trained, frozen = (4 * count for count in self.parameters(stage))
        encoder = self.model.encoder
        words = 4 * encoder.embeddings.word_embeddings.weight.numel()
        copies = 4 * sum(parameter.numel() for parameter in encoder.encoder.parameters())
        average = trained if any(r.kind == "bregman" for r in stage.regularizers) else 0
        lasting = 2 * trained + self.kept_apart(stage) + average + copies + KERNELS
        # Of each batch, the gradient of the word vectors is made apart before it is added.
        pieces = [self._heaviest_piece(stage, name) for name in self.recipe.stage_tasks(stage)]
        step = trained + min(words, trained) + HOLES * max(pieces)
        saving = 3 * trained + frozen
        held = max(memory_now(), LIBRARIES) + lasting + max(step, saving) + trained + frozen
        return int(held)

    def _heaviest_piece(self, stage: Stage, task: str) -> float:
        """Bytes that forward and backward of a piece of the task's batches take, at the most."""
        recipe, encoded, config = self.recipe, self.encoded[task], self.model.encoder.config
        device = choose_device(recipe.device)
        parts = [part for part in stage.regularizers if self.regularizes(stage, part, task)]
        precision = choose_precision(recipe.precision, device)
        low = precision != torch.float32 and not any(part.needs_fp32 for part in parts)
        passes = 2 if any(part.kind in ("smart", "rdrop") for part in parts) else 1
        learns = stage.trains.kind != "frozen" or bool(recipe.adapters)
        memory = PassMemory(config, low)

        def weigh(length_R: Lengths) -> float:
            kept = memory.kept(length_R) if learns else 0.0
            kept += logits(encoded, length_R, config, low=low)
            return passes * kept + memory.working(length_R)

        limit = stage.tokens_at_once or TOKENS_AT_ONCE[device.type]
        return heaviest(encoded, self.plan(stage), limit, recipe.seed, weigh)

    @cached_property
    def warnings(self) -> list[str]:
        found = []
        for name, splits in self.data.items():
            if "dev" not in splits:
                found.append(f"{name}: no dev file, so it is neither judged nor used to choose")
            for split in splits.values():
                found += [f"{name} {split.name}: {split.note}"] if split.note else []
                found += _skipped(name, split)
            if cut := self.truncated(name):
                length = self.encoded[name].packer.max_length
                kept = KEPT[self.encoded[name].packer.keeps]
                found.append(
                    f"{name}: {cut:,} training texts are cut to {length} word pieces (kept: {kept})"
                )
            for other in (s for s in splits if s != "train"):
                if common := self.overlap(name, other):
                    found.append(f"{name}: {common:,} rows of {other} also stand in train")
        for stage in self.recipe.stages:
            found += self._coverage_warnings(stage)
            found += [f"stage {stage.name}: {note}" for note in self._part_warnings(stage)]
        return found

    def _part_warnings(self, stage: Stage) -> list[str]:
        """Choices that are allowed and yet may not do what was meant."""
        plan, found = self.plan(stage), []
        if stage.combiner.kind == "dwa" and stage.combiner.every is None and plan.epochs < 3:
            found.append(
                f"dwa weighs by the losses of the two epochs before, so in {plan.epochs} epochs "
                "all weights stay 1; give it `every` (steps), or more epochs"
            )
        found += [
            f"smart's search cannot reach its radius: `eps` is {part.eps:g}, but it starts within "
            f"about {4 * part.sigma:g} and moves {part.eta:g} a step; raise `eta` with `eps`"
            for part in stage.regularizers
            if part.kind == "smart" and 4 * part.sigma + part.steps * part.eta < part.eps
        ]
        if not any(plan.weights.values()):
            found.append("every task's loss weight is 0, so nothing is learned")
        rested = self.model.encoder.config.hidden_dropout_prob == 0
        if rested and any(part.kind == "rdrop" for part in stage.regularizers):
            found.append("rdrop compares two dropout masks, but this encoder has no dropout")
        if stage.trains.kind == "gradual":
            layers = self.model.encoder.config.num_hidden_layers
            names = [name for name, _ in self.model.encoder.named_parameters()]
            never = [
                n for n in names
                if stage.trains.ever_trains(n, layers) and not is_adapter_parameter(n)
                and not stage.trains.trains(n, layers, plan.epochs_done(plan.steps - 1))
            ]  # fmt: skip
            if never:
                wanted = (layers + 1) * stage.trains.every
                found.append(
                    f"it ends before {len(never)} of the encoder's tensors learn, such as "
                    f"{never[0]}; they count as trained above. {wanted:g} epochs would reach all, "
                    "or a smaller `every`"
                )
        trunks = Counter(
            trunk
            for name in plan.tasks
            if (trunk := getattr(self.recipe.tasks[name].resolved_head, "trunk", None))
        )
        for trunk, count in trunks.items():
            if count == 1:
                found.append(f"trunk {trunk!r} serves one task only, so nothing is shared by it")
        for task, size in plan.sizes.items():
            loss = self.recipe.tasks[task].loss
            if size == 1 and loss is not None and loss.kind == "cosent":
                found.append(f"{task}: cosent ranks the rows of a batch, but a batch has one row")
        return found

    def _coverage_warnings(self, stage: Stage) -> list[str]:
        plan = self.plan(stage)
        found = []
        for name, passes in coverage(stage, plan).items():
            each = passes * plan.steps_per_epoch / plan.steps
            if each < LITTLE_SEEN or each > MUCH_SEEN:
                found.append(
                    f"stage {stage.name}: an epoch shows {name} {each:.1f} times; see `sampler`, "
                    "`batch_size` and `rows_per_epoch`"
                )
        return found


def _skipped(task: str, split: Split) -> list[str]:
    found = [
        f"{task} {split.name}: row left out: {file.table.name}:{bad.line}: {bad.problem}"
        for file in split.files
        for bad in file.skipped
    ]
    more = len(found) - SHOWN_PROBLEMS
    rest = [f"{task} {split.name}: {more:,} more rows left out"] if more > 0 else []
    return found[:SHOWN_PROBLEMS] + rest
