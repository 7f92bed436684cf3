"""Whether a search fits its recipe: every value is tried on it before anything is trained."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.recipe.change import change_recipe
from trivium.recipe.file import RecipeFile
from trivium.recipe.schema import Recipe
from trivium.recipe.search import DEFAULT_TRIALS, MOST_POINTS, OVERALL, Point, Search, label


def search_of(file: RecipeFile, path: Path) -> Search:
    """The search that a recipe's file asks for.

    Raises RecipeError: without one, and with one line per value that the recipe refuses, and per
    objective that it does not know.
    """
    if file.search is None:
        raise RecipeError(
            f"{path}: search: is missing; it says what to try, such as "
            "`search: {space: {stages.0.lr.encoder: {low: 1e-5, high: 2e-4, log: true}}}`."
        )
    recipe, search = file.recipe, file.search
    problems = [
        *_unknown_objectives(recipe, search),
        *_refused_values(recipe, search, path),
        *_endless_lists(recipe, search, path),
    ]
    if problems:
        raise RecipeError("\n".join(f"{path}: search.{problem}" for problem in problems))
    return search


def points_of(recipe: Recipe, search: Search, path: Path) -> list[Point]:
    """All points of a search that knows them beforehand; none of another."""
    if search.sampler.kind == "grid":
        values = {dotted: list(setting.values or ()) for dotted, setting in search.space.items()}
        return [dict(zip(values, p, strict=True)) for p in itertools.product(*values.values())]
    if search.sampler.kind != "one_at_a_time":
        return []
    own = own_values(recipe, search, path)
    others = [
        own | {dotted: value}
        for dotted, setting in search.space.items()
        for value in setting.values or ()
        if label(value) != label(own[dotted])
    ]
    return [own, *others]


def trials_of(search: Search, points: Sequence[Point]) -> int:
    """How many trials a search is to finish. points: all of them, if they are known."""
    wanted = search.trials or (len(points) if points else DEFAULT_TRIALS)
    return min(wanted, len(points)) if points else wanted


def search_in_words(recipe: Recipe, search: Search, path: Path) -> str:
    """What a search tries and is after, in a line."""
    trials = trials_of(search, points_of(recipe, search, path))
    aims = [f"high {name}" for name in search.maximize] + [f"low {n}" for n in search.minimize]
    pruner = "" if search.pruner.kind == "none" else f", pruner {search.pruner.kind}"
    settings = "; ".join(f"{path} {setting}" for path, setting in search.space.items())
    return f"{' and '.join(aims)} in {trials} trials by {search.sampler.kind}{pruner}: {settings}"


def _refused_values(recipe: Recipe, search: Search, path: Path) -> Iterator[str]:
    for dotted, setting in search.space.items():  # noqa: PLR1702
        said: set[str] = set()
        for value in setting.probes:
            for reason in _reasons_against(recipe, dotted, value, path):
                if reason not in said:
                    yield f"space.{dotted}: {label(value)} is refused: {reason}"
                said.add(reason)


def _reasons_against(recipe: Recipe, dotted: str, value: Any, path: Path) -> list[str]:
    """What the recipe says against a value; nothing if it takes it."""
    try:
        change_recipe(recipe, {dotted: value}, path)
    except RecipeError as error:
        return str(error).splitlines()
    return []


def _unknown_objectives(recipe: Recipe, search: Search) -> Iterator[str]:
    for place, name in enumerate(search.maximize):
        task = recipe.tasks.get(name.partition(".")[0])
        if name == OVERALL:
            ends = [n for n, t in recipe.tasks.items() if t.dev is None and not t.auxiliary]
            if ends:
                yield f"maximize.{place}: overall: {ends[0]!r} has no `dev` file to judge by"
        elif task is None:
            hint = did_you_mean(name, [OVERALL, *recipe.tasks])
            yield f"maximize.{place}: no objective {name!r}{hint}"
        elif not recipe.has_dev(task.name):
            yield f"maximize.{place}: {name!r} has no `dev` file to judge by"


def own_values(recipe: Recipe, search: Search, path: Path) -> Point:
    """What the recipe itself says at the search's paths, without those that it does not know.

    In the search's own words, where these mean the same: `lr: 1e-5` stands for a whole table.
    """
    values = recipe.model_dump(mode="json")
    unchanged = change_recipe(recipe, {}, path)
    found: Point = {}
    for dotted, setting in search.space.items():
        place: Any = values
        for key in dotted.split("."):
            if isinstance(place, dict) and key in place:
                place = place[key]
            elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            else:
                break
        else:
            alike = (v for v in setting.values or () if _is(recipe, unchanged, dotted, v, path))
            found[dotted] = next(alike, place)
    return found


def _is(recipe: Recipe, unchanged: Recipe, dotted: str, value: Any, path: Path) -> bool:
    """Whether a value is what the recipe says already."""
    try:
        return change_recipe(recipe, {dotted: value}, path) == unchanged
    except RecipeError:  # which is told elsewhere
        return False


def _endless_lists(recipe: Recipe, search: Search, path: Path) -> Iterator[str]:
    if search.sampler.kind not in ("grid", "one_at_a_time"):
        return
    kind = search.sampler.kind
    own = own_values(recipe, search, path)
    count = 1
    for dotted, setting in search.space.items():
        if setting.values is None:
            yield (
                f"space.{dotted}: {kind} tries every value, and these are too many; write a list, "
                "or a step"
            )
        elif kind == "one_at_a_time" and dotted not in own:
            yield f"space.{dotted}: {kind} starts from the recipe's own value, but it says none"
        count *= len(setting.values or ())
    if kind == "grid" and count > MOST_POINTS:
        yield f"sampler: a grid of {count:,} points; use random or tpe"
