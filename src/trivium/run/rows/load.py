"""Files to rows: what a recipe names, checked before anything is trained."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled, MissingLabelError, RowError, Source, Task
from trivium.parts.tasks.drawn import Drawn
from trivium.recipe import Recipe
from trivium.recipe.rates import with_rates
from trivium.run.rows.big import Stored, is_big, read_stored
from trivium.run.rows.chosen import Chosen
from trivium.run.rows.dealing import dealt
from trivium.run.rows.drawing import Candidate, Held, refuse_empty, sides
from trivium.run.rows.places import opened, path_of
from trivium.run.rows.refusals import after_relabel, refuse_bad_rows
from trivium.run.rows.relabel import relabelled
from trivium.run.rows.sample import sample
from trivium.run.rows.settled import cells_of, splits_of
from trivium.run.rows.shelf import make_room
from trivium.run.rows.splits import ALL, JUDGED, Data, FileRows, Split
from trivium.text.tables import BadRow, open_table


def load_data(
    recipe: Recipe, splits: Sequence[str] = ALL, console: Console | None = None
) -> tuple[Recipe, Data]:
    """All files of a recipe, and the recipe with the labels and weights that were found in them,
    and with the learning rates that it left open.

    A test file without the label column is left out: it can be predicted, not scored. Training
    files that are too big for memory are read into files: see `big`. console: has a bar meanwhile.
    Raises RecipeError for the first file that cannot be used, with its bad rows by line.
    """
    tasks, data, folders = {}, {}, set()
    for name, given in recipe.tasks.items():
        if given.train is None and "train" in splits and given.answers_questions:
            raise RecipeError(f"task {name!r}: `train` is missing: name its file of training rows.")
        stored = None
        if _reads_training_files(given, splits) and is_big(recipe, given):
            stored = read_stored(recipe, given, console)
            folders |= {one.folder for one in stored}
        task = _with_labels(recipe, given, stored) if given.looks_for_labels else given
        data[name] = _read_splits(recipe, task, splits, stored)
        for split, rows in data[name].items():
            if not rows.examples:
                raise RecipeError(f"task {name!r}: {split}: {rows.where} has no {task.rows_are}.")
        tasks[name] = _with_weights(task, data[name]["train"]) if "train" in data[name] else task
    if folders:  # all tasks' at once: what one of them reads is not to cost another its own
        make_room(folders)
    for task in tasks.values():
        if task.gathers:
            data[task.name] = _gathered(task, data)
    found = recipe.model_copy(update={"tasks": tasks})
    return with_rates(found) if "train" in splits else found, data


def read_split(
    task: Task,
    split: str,
    path: str | Path,
    source: Source | None = None,
) -> Split:
    """One file's rows for this task, as the recipe has it read; a sample, if it says so.

    Raises RecipeError naming bad rows by file and line, wherever they stand in the file.
    """
    whole, _ = read_rows(task, split, path, source)
    used = sample(whole.examples, source.rows if source else None)
    drawn = len(used) if len(used) < len(whole.examples) else None
    return replace(whole, examples=used, files=(replace(whole.files[0], drawn=drawn),))


def read_rows(
    task: Task, split: str, path: str | Path, source: Source | None = None, by: str | None = None
) -> tuple[Split, list[str | None]]:
    """All of one file's rows for this task; and what each has in the column `by`. Raises
    RecipeError as `read_split` does."""
    where, relabel = (source.where, source.relabel) if source else ({}, {})
    needed = (*task.text_columns, task.label, *([by] if by else []), *where)
    table = opened(task, Path(path), needed, source)
    chosen, has_labels = Chosen(table, where), isinstance(task, Labelled)
    examples, bad, unlabelled, cells = [], [], 0, set[str]()
    groups: list[str | None] = []
    for row in relabelled(task, split, chosen, relabel):
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            examples.append(task.example(row))
            groups.append(row.cells[by] if by else None)
            if has_labels:
                cells.add(row.cells[task.label])
        except MissingLabelError:
            unlabelled += 1
        except RowError as error:
            bad.append(BadRow(row.line, after_relabel(str(error), relabel)))
    refuse_bad_rows(task, split, table, bad)
    respelt = task.respelt(cells)
    file = FileRows(
        table, len(examples), unlabelled, bad, respelt=respelt, elsewhere=chosen.left_out
    )
    return Split(split, (file,), examples), groups


def _reads_training_files(task: Task, splits: Sequence[str]) -> bool:
    return "train" in splits or task.looks_for_labels or any(task.drawn(split) for split in splits)


def _read_splits(
    recipe: Recipe, task: Task, splits: Sequence[str], stored: Sequence[Stored] | None
) -> dict[str, Split]:
    wanted = [
        split
        for split in splits
        if task.sources(split) and (split != "test" or _has_label(recipe, task))
    ]
    held = {split: drawn for split in JUDGED if (drawn := task.drawn(split))}
    shared = [split for split in wanted if held and (split == "train" or split in held)]
    if stored is not None and (shared or "train" in wanted):
        found = splits_of(task, stored, held, shared or ["train"])
    else:
        found = _draw(recipe, task, held, shared) if shared else {}
    return {
        split: found[split] if split in found else _read_files(recipe, task, split)
        for split in wanted
    }


def _draw(recipe: Recipe, task: Task, held: Held, wanted: Sequence[str]) -> dict[str, Split]:
    """Splits that share the training files, each with its rows in the files' order."""
    by = next((drawn.by for drawn in held.values()), None)
    files = []
    for source in task.sources("train"):
        path = path_of(recipe.data, source)
        files.append((source, *read_rows(task, "train", path, source, by)))
    rows = [
        Candidate(example.texts, group, example.target)
        for _, part, groups in files
        for example, group in zip(part.examples, groups, strict=True)
    ]
    side, has_twin = sides(rows, held)
    where = ", ".join(part.where for _, part, _ in files)
    refuse_empty(Counter(side), held, f"task {task.name!r}: {where}")
    parts = [(source, part) for source, part, _ in files]
    return {split: dealt(split, parts, side, has_twin, held) for split in wanted}


def _read_files(recipe: Recipe, task: Task, split: str) -> Split:
    """All files of a split, as one."""
    parts = [
        read_split(task, split, path_of(recipe.data, source), source)
        for source in task.sources(split)
    ]
    files = tuple(file for one in parts for file in one.files)
    return Split(split, files, [example for one in parts for example in one.examples])


def _gathered(task: Task, data: Data) -> dict[str, Split]:
    """A task's splits as it makes them of the rows of its own files and of its lenders'."""
    splits, gathered = data[task.name], {}
    sources = [splits, *(data[name] for name in task.lenders)]
    rows = {
        split: [row for lent in sources if split in lent for row in lent[split].examples]
        for split in {name for lent in sources for name in lent} - {"test"}
    }
    for split, (texts, note) in task.gather(rows).items():
        gathered[split] = Split(split, splits[split].files if split in splits else (), texts, note)
    return gathered


def _with_labels(recipe: Recipe, task: Task, stored: Sequence[Stored] | None) -> Task:
    if stored is not None:
        where = ", ".join(one.table.name for one in stored)
        return _labelled(task, cells_of(task, stored), where)
    # The files are read once more for their rows: labels must be known before any row is one.
    cells, names = [], []
    for source in task.sources("train"):
        needed = (task.label, *source.where)
        table = opened(task, path_of(recipe.data, source), needed, source)
        rows = list(relabelled(task, "train", Chosen(table, source.where), source.relabel))
        refuse_bad_rows(task, "train", table, [row for row in rows if isinstance(row, BadRow)])
        cells += [row.cells[task.label] for row in rows if not isinstance(row, BadRow)]
        names.append(table.name)
    return _labelled(task, cells, ", ".join(names))


def _labelled(task: Task, cells: Sequence[str], where: str) -> Task:
    if not any(cell.strip() for cell in cells):
        raise RecipeError(f"task {task.name!r}: train: {where} has no labelled rows.")
    try:
        return task.with_labels(cells)
    except ValueError as error:
        raise RecipeError(f"task {task.name!r}: {where}: {error}") from error


def _with_weights(task: Task, train: Split) -> Task:
    if not task.weighs_labels:
        return task
    targets = train.targets
    try:
        return task.with_weights(targets)
    except ValueError as error:
        few = f" Or use more than {len(targets):,} of its rows." if train.is_sample else ""
        raise RecipeError(f"task {task.name!r}: {train.where}: {error}{few}") from error


def _has_label(recipe: Recipe, task: Task) -> bool:
    """Whether the test file can be scored."""
    if task.test is None or isinstance(task.test, Drawn):
        return True
    path, encoding = path_of(recipe.data, task.test), task.test.encoding
    table = open_table(path, delimiter=task.delimiter, quoting=task.quoting, encoding=encoding)
    return task.label in table.columns
