"""Runs that start from other runs of their study: found by their recipes, and put after them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trivium.apps.study.ensembles import Run
from trivium.errors import RecipeError
from trivium.recipe.plain_yaml import write_inline
from trivium.run.folder.started import is_recipe


def with_starts(
    runs: Sequence[Run], by_file: Mapping[str, Run]
) -> tuple[list[Run], dict[str, Run]]:
    """One seed's runs, each after the one whose model it starts from, else in their order; and
    which of them a recipe's file is.

    A run whose recipe starts from the file of a recipe gets the folder of that recipe's run in its
    place. Raises RecipeError where the study does not train it, or recipes start from each other.
    """
    made: dict[Run, Run] = {}

    def make(run: Run, waiting: tuple[Run, ...]) -> Run:
        if run in made:
            return made[run]
        start = run.recipe.start
        if start is None or not is_recipe(start):
            made[run] = run
            return run
        first = by_file.get(str(Path(start).resolve()))
        if first is None:
            raise RecipeError(
                f"{run.path}: start: {start} is no recipe that this study trains; name that file, "
                "too, or a finished run."
            )
        if first is run or first in waiting:
            raise RecipeError(f"{run.path}: start: {start} starts from this recipe itself.")
        first = make(first, (*waiting, run))
        folder = str((first.folder).resolve())
        made[run] = replace(
            run,
            recipe=run.recipe.model_copy(update={"start": folder}),
            changes=(*run.changes, f"start={write_inline(folder)}"),
            starts_from=first,
        )
        return made[run]

    for run in runs:
        make(run, ())
    return list(made.values()), {file: made[run] for file, run in by_file.items()}
