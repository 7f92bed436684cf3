"""The runs of a study: planned and checked before anything is trained, known by their folders."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.errors import RecipeError
from trivium.recipe import Recipe, load_recipe
from trivium.run.child import Job, refuse_other_run

TABLE = "table"
"""Stem of the study's own files, beside the folders of its recipes."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run(Job):
    """One recipe with one seed."""

    name: str
    """Of the recipe, and of its row in the table."""

    @property
    def seed(self) -> int:
        return self.recipe.seed

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
            name=name,
            path=path,
            recipe=loaded[name].model_copy(update={"seed": seed}),
            folder=out / name / f"seed-{seed}",
            changes=(*changes, f"seed={seed}"),
        )
        for seed in range(seeds)
        for name, path in paths.items()
    )
    for run in runs:
        refuse_other_run(run)
    return Plan(paths, out, seeds, tuple(changes), runs)


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
            # What a search would change is no part of a run.
            loaded[name] = load_recipe(path, changes).model_copy(update={"search": None})
        except RecipeError as error:
            # What is said of a change names the change only, but it may fit the other recipes.
            said = str(error)
            wrong.append(said if said.startswith(str(path)) else f"{path}: {said}")
    if wrong:
        raise RecipeError("\n".join(wrong))
    return loaded
