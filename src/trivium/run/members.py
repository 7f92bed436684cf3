"""Runs that are to become one: opened, and held against one another before any work."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.parts.tasks import Source, Task
from trivium.parts.tasks.cells import canonical
from trivium.recipe import Recipe
from trivium.recipe.united import How
from trivium.run.checkpoint import find_model, saved_tasks
from trivium.run.data import ALL
from trivium.run.directory import RECIPE, run_recipe
from trivium.run.ensemble import Panel

FORM = ("kind", "labels", "range", "threshold", "separator")
"""Settings of a task that say what its answers are."""


@dataclass(frozen=True, slots=True)
class Member:
    """A run, or a model folder, as it was found."""

    name: str
    """As it was given."""
    folder: Path
    """Of its model."""
    tasks: Mapping[str, Task]
    """Those that can be answered."""
    recipe: Recipe | None
    """None of a model folder by itself."""


def open_members(runs: Sequence[str | Path]) -> list[Member]:
    """Two or more different models. Raises RecipeError."""
    if len(runs) < 2:
        raise RecipeError(f"an ensemble needs two runs or more; found {len(runs)}.")
    members: list[Member] = []
    for run in map(Path, runs):
        folder = find_model(run)
        same = [m for m in members if m.folder.resolve() == folder.resolve()]
        if same:
            raise RecipeError(
                f"{same[0].name} and {run}: are the same model. Name it once; to let some models "
                "count more than others there is --how weights."
            )
        tasks = {n: task for n, task in saved_tasks(folder).items() if task.answers_questions}
        if not tasks:
            raise RecipeError(f"{run}: has no task that can be answered. Leave it out.")
        recipe = run_recipe(run) if (run / RECIPE).is_file() else None
        members.append(Member(str(run), folder, tasks, recipe))
    return members


def panels_of(members: Sequence[Member], how: How) -> dict[str, Panel]:
    """Who answers each task. Raises RecipeError where members mean different things by its name.

    Weights are still equal.
    """
    names = dict.fromkeys(name for member in members for name in member.tasks)
    panels = {}
    for name in names:
        places = tuple(i for i, member in enumerate(members) if name in member.tasks)
        for place in places[1:]:
            _refuse_unlike(name, members[places[0]], members[place])
        shared = how if len(places) > 1 else "mean"
        weights = (1 / len(places),) * len(places) if shared == "weights" else ()
        panels[name] = Panel(how=shared, members=places, weights=weights)
    return panels


def _refuse_unlike(task: str, first: Member, other: Member) -> None:
    one, two = _form(first.tasks[task]), _form(other.tasks[task])
    for key in one:
        if one[key] != two[key]:
            raise RecipeError(
                f"{first.name} and {other.name}: task {task!r}: {key}: {one[key]!r} in the first, "
                f"{two[key]!r} in the second. Members of an ensemble must agree about what an "
                "answer is: leave one of them out, or train it anew with the same setting."
            )


def _form(task: Task) -> dict[str, Any]:
    """What must be the same in all members of a task."""
    values = task.model_dump(mode="json")
    form = {key: values.get(key) for key in FORM} | {"texts of a row": len(task.text_columns)}
    if isinstance(form["labels"], dict):  # in the same order
        form["labels"] = [(canonical(key), name) for key, name in form["labels"].items()]
    return form


def short_names(names: Sequence[str]) -> list[str]:
    """Folders without the part of their path that all have in common, for tables."""
    try:
        home = os.path.commonpath(names)
    except ValueError:  # some are absolute, others not
        return list(names)
    short = [os.path.relpath(name, home) for name in names]
    return list(names) if "." in short else short


# --- what the ensemble is judged on ------------------------------------------------------------


def judged_recipe(members: Sequence[Member], panels: Mapping[str, Panel]) -> Recipe | None:
    """The tasks with their files, of the first member that says where dev rows are.

    Settings that only matter for training are left out. None where no member has a recipe.
    """
    known = [member for member in members if member.recipe is not None]
    tasks = {}
    for name in panels:
        recipes = [m.recipe for m in known if m.recipe and name in m.recipe.tasks]
        recipes.sort(key=lambda recipe: recipe.tasks[name].dev is None)  # stable
        if recipes:
            tasks[name] = _judged_task(recipes[0], name)
    if not tasks:
        return None
    assert known[0].recipe is not None
    data = Path(known[0].recipe.data).absolute()
    return Recipe(encoder=known[0].recipe.encoder, data=str(data), tasks=tasks)


def other_dev_files(members: Sequence[Member], judged: Recipe) -> Iterator[str]:
    """Notes on members whose own dev file is another one, or which were trained on this one."""
    for name, task in judged.tasks.items():
        for member in members:
            if member.recipe is None or name not in member.recipe.tasks:
                continue
            judged_on, found = task.dev, _judged_task(member.recipe, name)
            own, trained = found.dev, [source.file for source in found.sources("train")]
            if judged_on is not None and judged_on.file in trained:
                yield (
                    f"{name}: {member.name} was trained on {judged_on.file}, which all are judged "
                    "on here: its scores, and the ensemble's, say nothing"
                )
            elif own is not None and (judged_on is None or own.file != judged_on.file):
                yield (
                    f"{name}: judged on {judged_on.file if judged_on else None}; {member.name} had "
                    f"{own.file}, so the former may hold rows that it was trained on"
                )


def _judged_task(recipe: Recipe, name: str) -> Task:
    task = recipe.tasks[name]
    changes: dict[str, Any] = {"head": None, "loss": None, "weight": 1.0, "max_length": None}
    if "class_weights" in type(task).model_fields:
        changes["class_weights"] = None
    home = Path(recipe.data).absolute()
    found = {split: [_at(home, source) for source in task.sources(split)] for split in ALL}
    changes["train"] = tuple(found["train"]) or None
    changes |= {split: found[split][0] if found[split] else None for split in ("dev", "test")}
    return task.model_copy(update=changes)


def _at(home: Path, source: Source) -> Source:
    return source.model_copy(update={"file": str(home / source.file)})
