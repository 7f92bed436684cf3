"""What only a recipe's files can tell: training labels, truncation, overlap of splits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trivium.apps.report.figure import Panel, Section, Table
from trivium.apps.report.runs import ReportedRun
from trivium.errors import RecipeError
from trivium.recipe import Recipe
from trivium.run.predictor.trained import load_single
from trivium.run.rows.encoded import Encoded, encode_all
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import Data, Split
from trivium.run.teachers.find import find_lessons
from trivium.run.training.preview import Preview


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in the files of a run's recipe."""

    train: dict[str, list[Any]] = field(default_factory=dict)
    """Targets of every task's training rows."""
    table: Table | None = None
    warnings: list[str] = field(default_factory=list)
    """As `trivium check` prints them."""
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class Files:
    """The rows of a recipe's tasks."""

    recipe: Recipe
    data: Data
    encoded: dict[str, Encoded] = field(default_factory=dict)
    """Training rows as word pieces, once a run's tokenizer has read them."""


Shelf = dict[str, Files | str]
"""Files by what a recipe says of them, or why they cannot be read."""


def look(run: ReportedRun, shelf: Shelf) -> Look:
    """Read the files of the run's recipe again; where they are gone, the look says so.

    shelf: what was read for other runs; runs with the same tasks share it.
    """
    recipe = run.run.recipe
    key = recipe.model_dump_json(include={"encoder", "data", "tasks"}) + str(run.run.is_ensemble)
    if key not in shelf:
        shelf[key] = _read(run)
    files = shelf[key]
    if isinstance(files, str):
        return Look(notes=[f"{run.name}: the recipe's files cannot be read (any more): {files}"])
    notes = [] if _same_dev(run, files.data) else [_CHANGED.format(name=run.name)]
    train = {
        name: [example.target for example in splits["train"].examples]
        for name, splits in files.data.items()
        if "train" in splits and recipe.tasks[name].answers_questions
    }
    if run.run.is_ensemble:
        notes.append(f"{run.name}: what is cut or overlaps is told by the reports of its members.")
        return Look(train, notes=notes)
    try:
        preview = _preview(run, files)
    except RecipeError as error:
        notes.append(f"{run.name}: what is cut or overlaps cannot be told: {error}")
        return Look(train, notes=notes)
    return Look(train, _table(preview), preview.warnings, notes)


def _read(run: ReportedRun) -> Files | str:
    """The rows of a run's recipe; or why they cannot be read."""
    try:
        recipe, data = load_data(run.run.recipe)
    except RecipeError as error:
        return str(error)
    return Files(recipe, data)


def _preview(run: ReportedRun, files: Files) -> Preview:
    """What `trivium check` would tell. Raises RecipeError where model or teachers are gone."""
    predictor = load_single(run.run.folder, device="cpu")
    model, tokenizer = predictor.model, predictor.tokenizer
    if not files.encoded:
        limit = model.encoder.config.max_position_embeddings
        files.encoded.update(encode_all(files.recipe, files.data, tokenizer, limit))
    # It may have been trained on a machine that had what this one has not.
    here = {"device": "auto", "precision": "auto"}
    recipe = run.run.recipe.model_copy(update={"tasks": files.recipe.tasks, **here})
    lessons = find_lessons(recipe, files.data)
    return Preview(recipe, files.data, files.encoded, model, lessons)


_CHANGED = (
    "{name}: the recipe's dev files no longer hold the rows that this run was judged on; training "
    "labels and warnings are of the files as they are now."
)


def _same_dev(run: ReportedRun, data: Data) -> bool:
    return all(
        [example.texts for example in data[name]["dev"].examples] == answers.texts
        for name, answers in run.answers.items()
        if "dev" in data.get(name, {})
    )


def _table(preview: Preview) -> Table:
    rows = []
    for name, splits in preview.data.items():
        lengths = preview.encoded[name].lengths()
        dev = splits.get("dev")
        rows.append(
            [
                name,
                _rows(splits["train"]),
                _rows(dev) if dev else "–",
                f"{lengths.mean():.0f}",
                f"{lengths.max():,}",
                f"{preview.truncated(name):,}",
                f"{preview.repeated(name):,}",
                f"{preview.overlap(name, 'dev'):,}" if dev else "–",
            ]
        )
    heads = ["task", "train rows", "dev rows", "mean tokens", "longest", "cut", "repeated in train"]
    return Table([*heads, "dev rows also in train"], rows)


def _rows(split: Split) -> str:
    used = f"{len(split.examples):,}"
    return f"{used} of {split.labelled:,}" if split.is_sample else used


def data_section(runs: Sequence[ReportedRun], looks: Sequence[Look]) -> Section:
    """Runs with the same files share a look."""
    section = Section(
        "data",
        "The data",
        "What the training files hold, read again for this report, with the warnings of `trivium "
        "check`. Dev rows that also stand in training flatter the scores; texts that are cut are "
        "judged by a part of themselves.",
    )
    different: list[tuple[Look, list[str]]] = []
    for run, look in zip(runs, looks, strict=True):
        section.notes.extend(look.notes)
        alike = next((names for other, names in different if _alike(other, look)), None)
        if alike is not None:
            alike.append(run.name)
        elif look.table:
            different.append((look, [run.name]))
    for look, names in different:
        who = ", ".join(names) if len(different) > 1 else ""
        section.panels.append(Panel(who, table=look.table, wide=True))
        title = f"Warnings · {who}" if who else "Warnings"
        section.panels.append(
            Panel(title, template="warnings.html.j2", values=look.warnings, wide=True)
        )
    return section


def _alike(a: Look, b: Look) -> bool:
    return (a.table, a.warnings) == (b.table, b.warnings)
