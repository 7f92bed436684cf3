"""What training would do, said before it is done: rows, labels, lengths, steps, cost, warnings."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from rich.console import Console
from rich.table import Table as Grid

from trivium.model.attention import MOST_GROUPS
from trivium.model.multitask import MultiTaskModel
from trivium.parts.tasks import Classification, Task
from trivium.recipe import Recipe, Stage
from trivium.run.build import build, choose_device, choose_precision, precision_name
from trivium.run.data import SHOWN_PROBLEMS, Data, Encoded, Split, encode, load_data, packer_for
from trivium.run.plan import Plan, coverage, plan_stage
from trivium.text.packing import TokenTable

LIBRARIES = 500 * 2**20
"""Bytes that torch and its friends take before anything is loaded."""
LITTLE_SEEN, MUCH_SEEN = 0.5, 3.0
"""Passes per epoch under and over which a task is warned about."""


@dataclass(frozen=True)
class Preview:
    """The facts; `print_preview` puts them on a screen."""

    recipe: Recipe
    data: Data
    encoded: dict[str, Encoded]
    model: MultiTaskModel

    def plan(self, stage: Stage) -> Plan:
        return plan_stage(stage, self.recipe, {n: len(e) for n, e in self.encoded.items()})

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
        encoder = sum(p.numel() for p in self.model.encoder.parameters())
        if self.model.encoder.pooler is not None and not self._uses_pooler:
            pooler = sum(p.numel() for p in self.model.encoder.pooler.parameters())
        else:
            pooler = 0
        names = self.recipe.stage_tasks(stage)
        heads = {
            name: sum(p.numel() for p in self.model.head(name).parameters())
            for name in self.recipe.tasks
        }
        trained = sum(heads[name] for name in names)
        trained += 0 if stage.frozen_encoder else encoder - pooler
        return trained, encoder + sum(heads.values()) - trained

    def memory(self, stage: Stage) -> int:
        """Bytes that training will hold, roughly: weights, gradients and Adam's two moments, what
        backward needs of the largest batch, and the libraries themselves."""
        trained, frozen = self.parameters(stage)
        batches = [self._activations(stage, name) for name in self.recipe.stage_tasks(stage)]
        activations = max(batches) * (0.2 if stage.frozen_encoder else 1.0)
        return int(trained * 16 + frozen * 4 + activations + LIBRARIES)

    def _activations(self, stage: Stage, task: str) -> float:
        """Bytes kept for backward of a batch that holds the task's longest text."""
        encoded, config = self.encoded[task], self.model.encoder.config
        lengths = encoded.lengths().clip(max=encoded.packer.max_length)
        texts = stage.size(task) * encoded.task.sequences
        mean, longest = float(lengths.mean()), float(lengths.max())
        dense = (texts * mean + longest) * (16 * config.hidden_size + 3 * config.intermediate_size)
        # Attention keeps three matrices a head; texts are padded within groups of like length.
        long = -(-texts // MOST_GROUPS)
        grid = 3 * config.num_attention_heads * (long * longest**2 + texts * (1.5 * mean) ** 2)
        size = 4 if self.recipe.precision == "fp32" else 2
        return (dense + grid) * size * config.num_hidden_layers

    @cached_property
    def _uses_pooler(self) -> bool:
        return any(task.resolved_head.pooling == "pooler" for task in self.recipe.tasks.values())

    @cached_property
    def warnings(self) -> list[str]:
        found = []
        for name, splits in self.data.items():
            if "dev" not in splits:
                found.append(f"{name}: no dev file, so it is neither judged nor used to choose")
            for split in splits.values():
                found += _skipped(name, split)
            if cut := self.truncated(name):
                length = self.encoded[name].packer.max_length
                found.append(f"{name}: {cut:,} training texts are cut to {length} word pieces")
            for other in (s for s in splits if s != "train"):
                if common := self.overlap(name, other):
                    found.append(f"{name}: {common:,} rows of {other} also stand in train")
        for stage in self.recipe.stages:
            found += self._coverage_warnings(stage)
        return found

    def _coverage_warnings(self, stage: Stage) -> list[str]:
        plan = self.plan(stage)
        found = []
        for name, passes in coverage(stage, plan).items():
            each = passes / plan.epochs
            if each < LITTLE_SEEN or each > MUCH_SEEN:
                found.append(
                    f"stage {stage.name}: an epoch shows {name} {each:.1f} times; see `sampler`, "
                    "`batch_size` and `rows_per_epoch`"
                )
        return found


def check(recipe: Recipe, console: Console | None = None) -> Preview:
    """Read and check everything a recipe names, and print what training would do.

    Nothing is written. Raises RecipeError where something is wrong.
    """
    console = console or Console(stderr=True)
    choose_device(recipe.device)
    recipe, data = load_data(recipe)
    model, tokenizer = build(recipe)
    table = TokenTable(tokenizer)
    limit = model.encoder.config.max_position_embeddings
    encoded = {
        name: encode(task, data[name]["train"].examples, table, packer_for(task, tokenizer, limit))
        for name, task in recipe.tasks.items()
    }
    preview = Preview(recipe, data, encoded, model)
    print_preview(preview, console)
    return preview


def print_preview(preview: Preview, console: Console) -> None:
    recipe = preview.recipe
    grid = Grid(title=f"Tasks on one encoder ({recipe.encoder})", title_justify="left")
    for title in ("task", "rows train / dev", "answers (train)", "tokens", "cut", "repeated"):
        grid.add_column(title, justify="left" if title in ("task", "answers (train)") else "right")
    for name, task in recipe.tasks.items():
        encoded = preview.encoded[name]
        lengths = encoded.lengths()
        rows = " / ".join(
            f"{len(preview.data[name][s].examples):,}" if s in preview.data[name] else "none"
            for s in ("train", "dev")
        )
        grid.add_row(
            f"[bold]{name}[/]\n{task.kind}, {task.resolved_head.kind}",
            rows,
            _answers(task, preview.data[name]["train"]),
            f"mean {lengths.mean():.0f}\nmax {lengths.max()}",
            f"{preview.truncated(name):,}",
            f"{preview.repeated(name):,}",
        )
    console.print(grid)
    for stage in recipe.stages:
        _print_stage(preview, stage, console)
    for name, splits in preview.data.items():
        for split in splits.values():
            console.print(
                f"{name} {split.name}: {split.table.name}, {split.table.dialect}", style="dim"
            )
    for warning in preview.warnings:
        console.print(f"[yellow]note[/] {warning}", soft_wrap=True)


def _print_stage(preview: Preview, stage: Stage, console: Console) -> None:
    plan = preview.plan(stage)
    trained, frozen = preview.parameters(stage)
    device = choose_device(preview.recipe.device)
    precision = precision_name(choose_precision(preview.recipe.precision, device))
    epochs = plan.steps / plan.steps_per_epoch
    console.print(
        f"[bold]stage {stage.name}[/]: {plan.steps:,} steps = {epochs:.3g} "
        f"epochs of {plan.steps_per_epoch:,}, sampler {stage.sampler.kind}, combiner "
        f"{stage.combiner.kind}, {precision} on {device} with {torch.get_num_threads()} threads",
        soft_wrap=True,
        highlight=False,
    )
    for name, passes in coverage(stage, plan).items():
        times = passes * plan.rows[name] / len(preview.encoded[name])
        console.print(
            f"  {name}: {plan.rows[name]:,} rows an epoch by {stage.size(name)}, "
            f"each training row seen about {times:.1f} "
            f"times in all, loss weight {plan.weights[name]:g}",
            soft_wrap=True,
            highlight=False,
        )
    console.print(
        f"  {trained:,} parameters trained, {frozen:,} frozen; "
        f"about {preview.memory(stage) / 2**30:.1f} GiB of memory",
        highlight=False,
    )


def _answers(task: Task, split: Split) -> str:
    targets = [example.target for example in split.examples if example.target is not None]
    if isinstance(task, Classification):
        counts = Counter(task.names[int(target)] for target in targets)
        shown = [f"{name} {counts[name]:,}" for name in task.names[:8]]
        more = [f"… {len(task.names)} labels"] if len(task.names) > 8 else []
        unlabelled = [f"(none) {split.unlabelled:,}"] if split.unlabelled else []
        return "\n".join(shown + more + unlabelled)
    mean = sum(targets) / len(targets)
    return f"mean {mean:.2f}\nfrom {min(targets):g} to {max(targets):g}"


def _skipped(task: str, split: Split) -> list[str]:
    lines = [
        f"{task} {split.name}: row left out: {split.table.name}:{bad.line}: {bad.problem}"
        for bad in split.skipped[:SHOWN_PROBLEMS]
    ]
    more = len(split.skipped) - SHOWN_PROBLEMS
    return [*lines, f"{task} {split.name}: {more:,} more rows left out"] if more > 0 else lines
