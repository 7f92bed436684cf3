"""A recipe whose tasks' rows are in tables that Python holds: their files put into it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks.sources import PLACE, Source, is_drawn
from trivium.recipe.given import AnyRecipe, Given, take
from trivium.recipe.reading import whole
from trivium.recipe.schema import Recipe

Files = Mapping[str, Mapping[str, Path]]
"""By task and split, where a table was written."""


def task_columns(recipe: AnyRecipe | Given, tasks: Mapping[str, object]) -> dict[str, list[str]]:
    """The columns that each of these tasks reads; none of one that is not well said, which the
    recipe's own check tells. Raises RecipeError for a task that the recipe has not."""
    given = take(recipe)
    known = whole(given).get("tasks")
    known = known if isinstance(known, dict) else {}
    for name in tasks:
        if name not in known:
            raise RecipeError(
                f"tables: {given.path} has no task {name!r}{did_you_mean(name, known)}."
            )
    return {name: _columns(known[name]) for name in tasks}


def with_files(recipe: AnyRecipe | Given, files: Files) -> Given:
    """The recipe with these files as the tasks' splits, in place of what it says of them."""
    given = take(recipe)
    values = whole(given)
    for name, splits in files.items():
        task = values["tasks"][name]
        for split, path in splits.items():
            task[split] = _with_file(task.get(split), str(path), f"tasks.{name}.{split}")
    return Given(given.path, values, is_file=given.is_file)


def in_folder(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with `folder` as the place of its data: files there are named by themselves,
    and all others by their whole path."""
    data = Path(recipe.data)

    def placed(source: Source) -> Source:
        if source.hub is not None:
            return source
        path = data / source.file
        within = path.parent == folder
        return source.model_copy(update={"file": path.name if within else str(path)})

    tasks = {}
    for name, task in recipe.tasks.items():
        changes: dict[str, Any] = {"train": tuple(map(placed, task.sources("train"))) or None}
        # What is drawn has no place of its own: its rows are those of the training files.
        changes |= {
            split: placed(held)
            for split in ("dev", "test")
            if isinstance(held := getattr(task, split), Source)
        }
        tasks[name] = task.model_copy(update=changes)
    return recipe.model_copy(update={"tasks": tasks, "data": str(folder)})


def _with_file(said: Any, path: str, place: str) -> Any:
    """What a recipe says of a split, of a table's file: how its rows are read and which are meant
    stays, wherever they were; of rows that were to be drawn nothing does. Raises RecipeError where
    several files are read in several ways."""
    more = [_settings(one) for one in (said if isinstance(said, list | tuple) else [said])]
    if any(one != more[0] for one in more):
        raise RecipeError(
            f"{place}: a table takes the place of its {len(more)} files, which have not the same "
            "`relabel`, `rows`, `where` and `license`. Name one file there, with those that the "
            "table needs."
        )
    return more[0] | {"file": path} if more and more[0] else path


def _settings(said: Any) -> dict[str, Any]:
    """What a recipe says of a file, but for where it is."""
    if not isinstance(said, dict) or is_drawn(said):
        return {}
    return {name: value for name, value in said.items() if name not in PLACE}


def _columns(task: Any) -> list[str]:
    text = task.get("text") if isinstance(task, dict) else None
    found = [text] if isinstance(text, str) else text
    return [c for c in found if isinstance(c, str)] if isinstance(found, (list, tuple)) else []
