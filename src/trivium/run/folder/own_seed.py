"""Recipes that name folders of their own seed: what they have in common with other seeds'."""

import re

from trivium.parts.regularizers import SEED
from trivium.recipe import Recipe


def with_seed_open(recipe: Recipe) -> Recipe:
    """The same with `{seed}` where a folder that it names to learn from tells its own seed.

    A study writes down `start: …/base/seed-3` for seed 3 of a recipe that starts from another
    one's runs, so that recipes of one row are equal only thus. The number counts in a folder that
    is called seed-N, and at the very end.
    """
    number = re.compile(rf"(?<=[/\\]seed-){recipe.seed}(?=[/\\]|$)|(?<![\d.]){recipe.seed}$")

    def opened(folder: str) -> str:
        return number.sub(SEED, folder)

    changes = {
        "start": None if recipe.start is None else opened(recipe.start),
        "adapters": tuple(adapter.moved(opened) for adapter in recipe.adapters),
        "stages": tuple(
            stage.model_copy(
                update={"regularizers": tuple(part.moved(opened) for part in stage.regularizers)}
            )
            for stage in recipe.stages
        ),
    }
    return recipe.model_copy(update=changes)
