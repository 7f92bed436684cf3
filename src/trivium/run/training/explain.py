"""A preview on a screen: what training would do, in words."""

from collections.abc import Mapping

import torch
from rich.console import Console
from rich.text import Text

from trivium.part import Part
from trivium.parts.optim import LearningRates
from trivium.parts.tasks import Task
from trivium.recipe import Recipe, Stage
from trivium.recipe.probed import fall_back, judges_probe, judges_start
from trivium.recipe.stage import Floor
from trivium.run.assembly.device import choose_device, choose_precision, precision_name
from trivium.run.rows.splits import Split
from trivium.run.screen.console import note, say
from trivium.run.screen.grid import Grid, print_grid
from trivium.run.teachers.lessons import Lesson
from trivium.run.training.plan import coverage
from trivium.run.training.preview import Preview
from trivium.run.training.seen import never_seen


def print_preview(preview: Preview, console: Console) -> None:
    recipe = preview.recipe
    grid = Grid(f"Tasks on one encoder ({recipe.encoder})")
    for title in ("task", "rows", "answers (train)", "tokens", "cut", "repeated"):
        left = title in ("task", "answers (train)")
        grid.add_column(
            title, justify="left" if left else "right", no_wrap=title != "answers (train)"
        )
    for name, task in recipe.tasks.items():
        encoded = preview.encoded[name]
        lengths, looked_at = encoded.lengths(), encoded.looked_at
        rows = "\n".join(
            _rows(preview.data[name], split) for split in _shown_splits(preview.data[name])
        )
        grid.add_row(
            Text.assemble((name, "bold"), "\n", "\n".join([task.kind, *_choices(task)])),
            rows,
            _answers(task, preview.data[name]["train"]),
            f"mean {lengths.mean():.0f}\nmax {lengths.max()}"
            + ("" if looked_at is None else f"\nof {len(looked_at):,} rows"),
            ("" if looked_at is None else "some ") + f"{preview.truncated(name):,}",
            f"{preview.repeated(name):,}",
        )
    print_grid(grid, console)
    if preview.started is not None:
        say(console, preview.started.line)
    for stage in recipe.stages:
        _print_stage(preview, stage, console)
    _print_files(preview, console)
    for warning in preview.warnings:
        note(console, warning)


def _print_files(preview: Preview, console: Console) -> None:
    """Every file with how it was understood, and how splits were drawn."""
    for name, splits in preview.data.items():  # noqa: PLR1702
        for split in splits.values():
            for file in split.files:
                rows = f"{file.rows:,} rows, " if len(split.files) > 1 else ""
                if file.elsewhere:
                    rows = f"{file.labelled:,} of {file.rows:,} rows, "
                if file.drawn is not None:
                    rows = f"{file.drawn:,} of {file.rows:,} rows, a sample, "
                line = f"{name} {split.name}: {file.table.name}, {rows}{file.table.dialect}"
                say(console, line, style="dim")
            if split.drawn:
                say(console, f"{name} {split.name}: {split.drawn}", style="dim")


def _shown_splits(splits: Mapping[str, Split]) -> list[str]:
    """test only where it is drawn: that takes rows from training."""
    held = [name for name, split in splits.items() if name == "test" and split.drawn]
    return ["train", "dev", *held]


def _rows(splits: Mapping[str, Split], split: str) -> str:
    if split not in splits:
        return f"no {split}"
    rows = splits[split]
    whole = f" of {rows.labelled:,}" if rows.is_sample else ""
    return f"{split} {len(rows.examples):,}{whole}"


def _print_stage(preview: Preview, stage: Stage, console: Console) -> None:
    plan = preview.plan(stage)
    memory = preview.memory(stage)
    trained, frozen = memory.trained, memory.frozen  # refuses a stage before it is told of
    device = choose_device(preview.recipe.device)
    precision = precision_name(choose_precision(preview.recipe.precision, device))
    epochs = plan.steps / plan.steps_per_epoch

    say(
        console,
        (f"stage {stage.name}", "bold"),
        f": {plan.steps:,} steps = {epochs:.3g} "
        f"epochs of {plan.steps_per_epoch:,}, {precision} on {device} with "
        f"{torch.get_num_threads()} threads",
    )
    if not plan.steps:
        say(console, "  nothing is trained: heads stay what they start from")
        return
    for line in _explanation(preview, stage):
        say(console, f"  {line}")
    for name, passes in coverage(stage, plan).items():
        times = passes * plan.rows[name] / preview.rows(stage)[name]
        say(
            console,
            f"  {name}: {plan.rows[name]:,} rows an epoch by {plan.sizes[name]}, "
            f"each training row seen about {times:.1f} "
            f"times in all, loss weight {plan.weights[name]:g}",
        )
    say(
        console,
        f"  {trained:,} parameters trained, {frozen:,} frozen; "
        f"about {memory.total() / 2**30:.1f} GiB of memory",
    )


def _explanation(preview: Preview, stage: Stage) -> list[str]:
    """What the chosen parts will do together."""
    recipe, plan = preview.recipe, preview.plan(stage)
    adapters = ", ".join(f"{kind} ({n:,} parameters)" for kind, n in preview.added().items())
    if recipe.freezes_base:
        trains = "heads and adapters; the encoder's own parameters are frozen"
    else:
        trains = f"encoder {_shown(stage.trains)}, heads" + (", adapters" if adapters else "")
    lines = [f"trains: {trains}"]
    if adapters:
        lines.append(f"adapters: {adapters}")
    holds = stage.sampler.describe_step(len(plan.tasks), stage.batches_per_step)
    lines.append(
        f"a step: {holds}, sampler {_shown(stage.sampler)}, combiner {_shown(stage.combiner)}"
    )
    lines.append(f"learning rates: {_rates(stage.lr)}; schedule {_shown(stage.schedule)}")
    if apart := preview.memory(stage).kept_apart():
        lines.append(
            f"the tasks' gradients are kept apart, {apart / 2**20:,.0f} MiB more than their sum; "
            f"their cosines go to the journal, by layer every {plan.conflicts_every} steps"
        )
    for part in stage.regularizers:
        chosen = [name for name in plan.tasks if preview.regularizes(stage, part, name)]
        weights = ", ".join(f"{name} x {part.weight_of(name):g}" for name in chosen)
        fp32 = "; their batches are computed in fp32" if part.needs_fp32 else ""
        about = f"the model's weights x {part.weight_of(''):g}" if part.about_weights else weights
        lines.append(f"regularizer {_shown(part, *part.shown_apart)}: {about}{fp32}")
    lines += [f"{n}: {text}" for n in plan.tasks if (text := preview.model.head(n).origin)]
    lines += [_lesson(lesson) for lesson in preview.lessons.of(stage.name).values()]
    lines += [_guarded(preview, stage)] if stage.guard is not None else []
    if stage.average is not None:
        lines.append(f"judges and keeps averaged weights: {_shown(stage.average)}")
    lines.append(f"keeps the model by: {stage.selects_by}{_start(recipe, stage)}")
    if recipe.train_rows is not None:
        lines.append(_seen(preview, stage, recipe.train_rows))
    return lines


def _seen(preview: Preview, stage: Stage, most: int) -> str:
    """What is scored beside dev."""
    recipe = preview.recipe
    judged = [recipe.tasks[name] for name in recipe.judged_tasks(stage)]
    without = ", ".join(never_seen(judged, preview.data))
    but = f", but none of {without}, since only its dev rows have a score" if without else ""
    return f"also scored at each evaluation: {most:,} training rows a task{but}"


def _start(recipe: Recipe, stage: Stage) -> str:
    """What may be kept beside the models that are trained."""
    probes = [name for name in recipe.judged_tasks(stage) if judges_probe(recipe, name)]
    if judges_start(recipe, stage):
        return ", also the start" + (f", with a probe for {', '.join(probes)}" if probes else "")
    may = recipe.fallback == "probe" and fall_back(recipe)
    if recipe.fallback is not None and stage == recipe.stages[0] and not may:
        return "; `fallback` has no say here (docs/defaults.md)"
    return ""


def _guarded(preview: Preview, stage: Stage) -> str:
    """Under which scores it must not fall, and what happens where it does."""
    since = f"after stage {stage.guard_from}" if stage.guard_from else "before"
    judged = preview.recipe.judged_tasks(stage)
    floors = [f"{n} {_floor(f, since)}" for n in judged if (f := stage.floor(n))]
    return (
        f"guarded: {', '.join(floors)}; ends with the first evaluation that breaks a floor, "
        "and goes back to the model kept before"
    )


def _rates(lr: LearningRates) -> str:
    """Of encoder, heads and the rest, as far as they say something."""
    shown = []
    for name, rate in lr.model_dump().items():
        if isinstance(rate, dict):
            shown.append("heads " + ", ".join(f"{rate:g} ({one})" for one, rate in rate.items()))
        elif rate not in (None, 1.0):
            shown.append(f"{name} {rate:g}")
    return ", ".join(shown)


def _lesson(lesson: Lesson) -> str:
    """Of whom a task learns, and on which rows besides its own."""
    folders = [str(teacher.folder) for teacher in lesson.teachers]
    who = folders[0] if len(folders) == 1 else f"the mean of {', '.join(folders)}"
    line = f"{lesson.task.name} learns from {who}"
    if lesson.unlabelled:
        line += (
            f"; also on {len(lesson.extra):,} rows of {lesson.unlabelled.where}, where that answer "
            "is the label"
        )
        if lesson.left_out:
            line += f" ({lesson.left_out:,} more stand in the task's own files, and are left out)"
    return line


def _choices(task: Task) -> list[str]:
    """Head, loss and class weights of a task, where they were chosen."""
    lines = [_shown(task.resolved_head, "pooling")]
    if task.loss is not None:
        lines.append(_shown(task.loss))
    if task.weighs_labels:
        lines.append("class weights")
    return lines


def _shown(part: Part, *left_out: str) -> str:
    """A part's kind, with the settings that differ from its defaults."""
    values = part.model_dump(exclude_defaults=True, exclude={"kind", *left_out})
    settings = ", ".join(f"{name} {value}" for name, value in values.items())
    return f"{getattr(part, 'kind', '')} ({settings})" if settings else getattr(part, "kind", "")


def _floor(floor: Floor, since: str) -> str:
    if floor.absolute is not None:
        return f">= {floor.absolute:g}"
    return f">= {floor.share:g} x its score {since}"


def _answers(task: Task, split: Split) -> str:
    unlabelled = [f"(none) {split.unlabelled:,}"] if split.unlabelled else []
    return "\n".join([*task.summary(split.targets), *unlabelled])
