"""The runs of a study: planned and checked before anything is trained, known by their folders."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.recipe import Recipe, load_recipe
from trivium.run.directory import RECIPE, SCORES, run_recipe

TABLE = "table"
"""Stem of the study's own files, beside the folders of its recipes."""
SHOWN_DIFFERENCES = 5
LEFTOVERS = re.compile(r"\.recipe\.yaml\.new|\.trivium-\d+")
"""What a run that was killed in its first moment leaves in an otherwise empty folder."""


class Absent:
    """Stands for a setting that one of two recipes does not have."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One recipe with one seed."""

    name: str
    """Of the recipe, and of its row in the table."""
    path: Path
    recipe: Recipe
    """With the study's changes and the run's own seed."""
    folder: Path

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def log(self) -> Path:
        """What the child process said, of all its starts."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def has_begun(self) -> bool:
        return (self.folder / RECIPE).is_file()

    @property
    def is_finished(self) -> bool:
        return self.has_begun and (self.folder / SCORES).is_file()

    def __str__(self) -> str:
        return f"{self.name} seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    paths: dict[str, Path]
    """Name of a row -> its recipe's file, in the order of the command line."""
    out: Path
    seeds: int
    changes: tuple[str, ...]
    runs: tuple[Run, ...]
    """All recipes with the first seed, then all with the second: so that a study that is stopped
    early has something to compare."""

    @property
    def command(self) -> str:
        """What to type to go on."""
        changes = [word for change in self.changes for word in ("--set", change)]
        files = map(str, self.paths.values())
        words = ["trivium", "study", *files, "--seeds", str(self.seeds), *changes]
        return shlex.join([*words, "--out", str(self.out)])

    def runs_of(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.name == name]


def plan_study(
    recipes: Sequence[str | Path], out: str | Path, seeds: int, changes: Sequence[str]
) -> Plan:
    """All runs, every recipe loaded and every folder looked at. Writes nothing.

    Raises RecipeError: for all recipes that are wrong, for two that would share a folder, and for
    a folder with a run of other settings.
    """
    if seeds < 1:
        raise RecipeError(f"--seeds {seeds}: a study needs at least one seed.")
    if any(change.partition("=")[0] == "seed" for change in changes):
        raise RecipeError("--set seed: a study sets the seeds itself; say how many with --seeds.")
    out = Path(out)
    paths = _named(recipes)
    loaded = _loaded(paths, changes)
    runs = tuple(
        Run(
            name,
            path,
            loaded[name].model_copy(update={"seed": seed}),
            out / name / f"seed-{seed}",
        )
        for seed in range(seeds)
        for name, path in paths.items()
    )
    for run in runs:
        refuse_other_run(run)
    return Plan(paths, out, seeds, tuple(changes), runs)


def refuse_other_run(run: Run) -> None:
    """RecipeError where a run's folder holds anything that is not a part of this run."""
    for place in (run.folder, *run.folder.parents):
        if place.exists() and not place.is_dir():
            raise RecipeError(f"{place}: is a file, but the study needs a folder there.")
    if not run.has_begun:
        names = sorted(p.name for p in run.folder.iterdir()) if run.folder.is_dir() else []
        if foreign := [name for name in names if not LEFTOVERS.fullmatch(name)]:
            raise RecipeError(
                f"{run.folder}: holds {foreign[0]!r} but no run. Name another folder with --out."
            )
        return
    old = run_recipe(run.folder).model_dump(mode="json")
    new = run.recipe.model_dump(mode="json")
    found = [one for one in differences(old, new) if not _is_left_to_the_data(*one)]
    if found:
        shown = [f"{place} was {a!r} and is now {b!r}" for place, a, b in found]
        more = len(shown) - SHOWN_DIFFERENCES
        told = "; ".join(shown[:SHOWN_DIFFERENCES]) + (f"; … {more} more" if more > 0 else "")
        raise RecipeError(
            f"{run.folder}: holds a run of other settings than {run.path} asks for now: {told}. "
            "Nothing was changed. Name another folder with --out, or put the settings back."
        )


def differences(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two nested values differ: dotted path, the value in each (`ABSENT` for none)."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {str(key): (old.get(key, ABSENT), new.get(key, ABSENT)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list):
        longest = range(max(len(old), len(new)))
        pairs = {str(i): (_item(old, i), _item(new, i)) for i in longest}
    else:
        if old != new:
            yield place, old, new
        return
    for key, (a, b) in pairs.items():
        yield from differences(a, b, f"{place}.{key}".strip("."))


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ABSENT


def _is_left_to_the_data(place: str, old: Any, new: Any) -> bool:
    """Whether the run only has what it found in its tables where the recipe leaves it open."""
    if re.fullmatch(r"tasks\.[^.]+\.labels", place):
        return new is None and isinstance(old, dict) and all(k == v for k, v in old.items())
    if re.fullmatch(r"tasks\.[^.]+\.class_weights", place):
        return new == "balanced" and isinstance(old, dict)
    return False


def _named(recipes: Sequence[str | Path]) -> dict[str, Path]:
    """A name per recipe: its file's, without the ending. A file given twice counts once."""
    if not recipes:
        raise RecipeError("a study needs at least one recipe.")
    named: dict[str, Path] = {}
    for path in map(Path, recipes):
        same = [known for known in named if known.casefold() == path.stem.casefold()]
        if same and named[same[0]].resolve() == path.resolve():
            continue
        if same:
            raise RecipeError(
                f"{named[same[0]]} and {path}: both would be called {path.stem!r} in the study; "
                "rename one of the files."
            )
        if path.stem in ("", f"{TABLE}.md", f"{TABLE}.json"):
            raise RecipeError(f"{path}: give the recipe's file another name.")
        named[path.stem] = path
    return named


def _loaded(paths: dict[str, Path], changes: Sequence[str]) -> dict[str, Recipe]:
    """Every recipe, or one RecipeError with what is wrong in each of them."""
    loaded, wrong = {}, []
    for name, path in paths.items():
        try:
            loaded[name] = load_recipe(path, changes)
        except RecipeError as error:
            # What is said of a change names the change only, but it may fit the other recipes.
            said = str(error)
            wrong.append(said if said.startswith(str(path)) else f"{path}: {said}")
    if wrong:
        raise RecipeError("\n".join(wrong))
    return loaded
