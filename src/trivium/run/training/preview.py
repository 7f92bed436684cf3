"""What training would do, said before it is done: rows, labels, lengths, steps, cost, warnings."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from trivium.model.multitask import MultiTaskModel
from trivium.model.ownership import is_adapter_parameter
from trivium.parts.facts import StageFacts
from trivium.parts.regularizers import RegularizerPart
from trivium.recipe import Recipe, Stage
from trivium.run.assembly.device import choose_device, precision_notes
from trivium.run.folder.started import Started
from trivium.run.rows.encoded import Encoded
from trivium.run.rows.refusals import left_out
from trivium.run.rows.splits import Data
from trivium.run.rows.stored import StoredRows
from trivium.run.teachers.lessons import Lessons
from trivium.run.training.memory import StageMemory
from trivium.run.training.oddities import label_notes, text_notes
from trivium.run.training.plan import Plan, coverage, plan_stage
from trivium.text.cutting import Cut

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
    started: Started | None = None
    """What the model took from another run."""

    def plan(self, stage: Stage) -> Plan:
        return plan_stage(stage, self.recipe, self.rows(stage))

    def rows(self, stage: Stage) -> dict[str, int]:
        """Training rows of every task in a stage, those that its teachers label included."""
        lessons = self.lessons.of(stage.name)
        extra = {name: len(lesson.extra) for name, lesson in lessons.items()}
        return {name: len(e) + extra.get(name, 0) for name, e in self.encoded.items()}

    def regularizes(self, stage: Stage, part: RegularizerPart, task: str) -> bool:
        """Whether a regularizer has something to say of a task."""
        return part.speaks_of(task, taught=task in self.lessons.of(stage.name))

    def truncated(self, task: str) -> int:
        """Training sequences longer than the task's `max_length`; of a big table, about."""
        encoded = self.encoded[task]
        lengths = encoded.lengths()
        cut = int((lengths > encoded.packer.max_length).sum())
        if encoded.looked_at is None:
            return cut
        return round(cut * len(encoded) / len(encoded.looked_at))

    def repeated(self, task: str) -> int:
        """Training rows whose texts stand in an earlier row."""
        rows = self.data[task]["train"]
        if isinstance(rows.examples, StoredRows):
            twins = rows.examples.twins()
            return int(np.count_nonzero(twins[1:] == twins[:-1]))
        texts = [example.texts for example in rows.examples]
        return len(texts) - len(set(texts))

    def overlap(self, task: str, split: str) -> int:
        """Rows of a split whose texts also stand in the training rows."""
        train, other = self.data[task]["train"], self.data[task][split]
        if isinstance(train.examples, StoredRows):
            twins, asked = train.examples.twins(), other.twins
            place = np.searchsorted(twins, asked).clip(max=len(twins) - 1)
            return int(np.count_nonzero(twins[place] == asked))
        seen = {example.texts for example in train.examples}
        return sum(example.texts in seen for example in other.examples)

    def memory(self, stage: Stage) -> StageMemory:
        """What a stage will hold in memory, parameters included."""
        plan = self.plan(stage)
        parts = {
            task: [part for part in stage.regularizers if self.regularizes(stage, part, task)]
            for task in plan.tasks
        }
        return StageMemory(self.recipe, stage, plan, self.model, self.encoded, parts)

    def added(self) -> dict[str, int]:
        """Parameters that each adapter adds."""
        config, names = self.model.encoder.config, list(self.recipe.tasks)
        return {part.kind: part.count(config, names) for part in self.recipe.adapters}

    @cached_property
    def warnings(self) -> list[str]:
        lines = precision_notes(self.recipe.precision, choose_device(self.recipe.device))
        for name, splits in self.data.items():
            if "dev" not in splits:
                lines.append(f"{name}: no dev file, so it is neither judged nor used to choose")
            for split in splits.values():
                lines += [f"{name} {split.name}: {split.note}"] if split.note else []
                lines += left_out(name, split)
            if cut := self.truncated(name):
                length = self.encoded[name].packer.max_length
                kept = KEPT[self.encoded[name].packer.keeps]
                about = "some " if self.encoded[name].looked_at is not None else ""
                lines.append(
                    f"{name}: {about}{cut:,} training texts are cut to {length} word pieces, "
                    f"special ones included (kept: {kept})"
                )
            for other in (s for s in splits if s != "train"):
                if common := self.overlap(name, other):
                    stand = "row of {} also stands" if common == 1 else "rows of {} also stand"
                    lines.append(f"{name}: {common:,} {stand.format(other)} in train")
            odd = [*label_notes(self.recipe.tasks[name], splits)]
            odd += text_notes(self.encoded[name], splits)
            lines += [f"{name}: {note}" for note in odd]
        for stage in self.recipe.stages:
            lines += self._coverage_warnings(stage)
            lines += [f"stage {stage.name}: {note}" for note in self._part_notes(stage)]
        return lines

    def _part_notes(self, stage: Stage) -> Iterator[str]:
        """Choices that are allowed and yet may not do what was meant."""
        plan, tasks = self.plan(stage), self.recipe.tasks
        if not plan.steps:
            return  # where nothing is trained, nothing can fail to act
        facts = self._facts(plan)
        yield from stage.schedule.notes(plan.steps)
        yield from stage.idle(tasks, plan.tasks)
        yield from stage.combiner.notes(facts)
        for part in stage.regularizers:
            yield from part.notes(facts)
        if not any(plan.weights.values()):
            yield "every task's loss weight is 0, so nothing is learned"
        yield from stage.trains.notes(facts)
        if stage.average is not None:
            yield from stage.average.notes(facts)
        trunks = Counter(tasks[name].resolved_head.shared_trunk for name in plan.tasks)
        for trunk, count in trunks.items():
            if trunk and count == 1:
                yield f"trunk {trunk!r} serves one task only, so nothing is shared by it"
        for name, size in plan.sizes.items():
            for note in tasks[name].resolved_loss.notes(size):
                yield f"{name}: {note}"
            for note in tasks[name].notes(facts):
                yield f"{name}: {note}"

    def _facts(self, plan: Plan) -> StageFacts:
        config = self.model.encoder.config
        names = [name for name, _ in self.model.encoder.named_parameters()]
        return StageFacts(
            steps=plan.steps,
            steps_per_epoch=plan.steps_per_epoch,
            epochs=plan.epochs,
            layers=config.num_hidden_layers,
            dropout=config.hidden_dropout_prob,
            encoder=[name for name in names if not is_adapter_parameter(name)],
        )

    def _coverage_warnings(self, stage: Stage) -> list[str]:
        plan = self.plan(stage)
        lines: list[str] = []
        if not plan.steps:
            return lines
        for name, passes in coverage(stage, plan).items():
            times = passes * plan.steps_per_epoch / plan.steps
            if times < LITTLE_SEEN or times > MUCH_SEEN:
                lines.append(
                    f"stage {stage.name}: an epoch shows {name} {times:.1f} times; see `sampler`, "
                    "`batch_size` and `rows_per_epoch`"
                )
        return lines
