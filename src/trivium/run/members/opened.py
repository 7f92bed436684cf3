"""Runs that are to become one: opened, and held against one another before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.parts.tasks.base import FORM
from trivium.parts.tasks.cells import in_order
from trivium.recipe import Recipe
from trivium.run.folder.finished import refuse_unfinished
from trivium.run.folder.model import find_model, saved_tasks
from trivium.run.folder.names import RECIPE
from trivium.run.folder.panels import Panel
from trivium.run.folder.start import run_recipe
from trivium.types import How


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
        refuse_unfinished(run)
        same = [m for m in members if m.folder.resolve() == folder.resolve()]
        if same:
            raise RecipeError(
                f"{same[0].name} and {run}: are the same model. Name it once; to let some models "
                "count more than others there is --how weights."
            )
        every = saved_tasks(folder).items()
        # What a model's own answers are decided by is not what the mean's are.
        tasks = {n: task.undecided() for n, task in every if task.answers_questions}
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
    if isinstance(form["labels"], dict):
        form["labels"] = in_order(form["labels"])
    return form
