"""What an ensemble is judged on: its members' tasks with their files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.parts.tasks import Source, Task
from trivium.recipe import Recipe
from trivium.run.folder.panels import Panel
from trivium.run.members.opened import Member
from trivium.run.rows.splits import ALL, JUDGED


def judged_recipe(members: Sequence[Member], panels: Mapping[str, Panel]) -> Recipe | None:
    """The tasks with their files, of the first member that says where dev rows are.

    Settings that only matter for training are left out. None where no member has a recipe.
    """
    runs = [member for member in members if member.recipe is not None]
    tasks = {}
    for name in panels:
        recipes = [m.recipe for m in runs if m.recipe and name in m.recipe.tasks]
        recipes.sort(key=lambda recipe: recipe.tasks[name].dev is None)  # stable
        if recipes:
            tasks[name] = _judged_task(recipes[0], name)
    if not tasks:
        return None
    assert runs[0].recipe is not None
    data = Path(runs[0].recipe.data).absolute()
    return Recipe(encoder=runs[0].recipe.encoder, data=str(data), tasks=tasks)


def other_dev_files(members: Sequence[Member], judged: Recipe) -> Iterator[str]:
    """Notes on members whose own dev file is another one, or which were trained on this one."""
    for name, task in judged.tasks.items():
        for member in members:
            if member.recipe is None or name not in member.recipe.tasks:
                continue
            theirs = _judged_task(member.recipe, name)
            judged_on, dev = _judged_on(task), _judged_on(theirs)
            trained = {source.rows_are for source in theirs.sources("train")}
            if _held_out_all(task, theirs):
                continue
            if any(source.rows_are in trained for source in task.sources("dev")):
                yield (
                    f"{name}: {member.name} was trained on {task.dev_words()}, which all are "
                    "judged on here: its scores, and the ensemble's, say nothing"
                )
            elif dev is not None and dev != judged_on:
                yield (
                    f"{name}: judged on {task.dev_words()}; {member.name} had "
                    f"{theirs.dev_words()}, so the former may hold rows that it was trained on"
                )


def _held_out_all(task: Task, theirs: Task) -> bool:
    """Whether all that is drawn for the one task is drawn for the other, too."""
    ours, other = task.drawn("dev"), theirs.drawn("dev")
    if ours is None or other is None:
        return False
    if _judged_on(task) == _judged_on(theirs):
        return True
    same = task.sources("dev") == theirs.sources("dev") and ours.by == other.by
    return same and not (ours.stratify or other.stratify) and other.share >= ours.share


def _judged_on(task: Task) -> tuple[object, ...] | None:
    """What tells a task's dev rows from others."""
    files = tuple(source.rows_are for source in task.sources("dev"))
    held = task.drawn("dev")
    return (files, held.share, held.by, held.stratify) if held else files or None


def _judged_task(recipe: Recipe, name: str) -> Task:
    task = recipe.tasks[name]
    changes: dict[str, Any] = {"head": None, "loss": None, "weight": 1.0, "max_length": None}
    if "class_weights" in type(task).model_fields:
        changes["class_weights"] = None
    home = Path(recipe.data).absolute()
    files = {split: [_at(home, source) for source in task.sources(split)] for split in ALL}
    changes["train"] = tuple(files["train"]) or None
    for split in JUDGED:
        changes[split] = task.drawn(split) or next(iter(files[split]), None)
    return task.model_copy(update=changes)


def _at(home: Path, source: Source) -> Source:
    if source.hub is not None:
        return source
    return source.model_copy(update={"file": str(home / source.file)})
