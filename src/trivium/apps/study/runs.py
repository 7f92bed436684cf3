"""The runs of a study: planned and checked before anything is trained, known by their folders."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.apps.study.ensembles import Run, ensemble_run
from trivium.errors import RecipeError
from trivium.recipe import RecipeFile, load_recipe_file
from trivium.recipe.budget import FULL, Reported
from trivium.recipe.ensembles import EnsembleRecipe, load_ensemble
from trivium.run.folder.names import TABLE

PAGE = Path(TABLE).with_suffix(".md").name
"""The table for people, beside TABLE, the one for programs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    paths: dict[str, Path]
    """Name of a row -> its recipe's file, in the order of the command line."""
    reported: dict[str, Reported | None]
    """Name of a row -> what its recipe's file says was reported."""
    out: Path
    seeds: int
    budget: str
    changes: tuple[str, ...]
    runs: tuple[Run, ...]
    """All recipes with the first seed, then all with the second: so that a study that is stopped
    early has something to compare. Each seed's ensembles come after its runs."""

    @property
    def command(self) -> str:
        """What to type to go on."""
        changes = [word for change in self.changes for word in ("--set", change)]
        budget = [] if self.budget == FULL else ["--budget", self.budget]
        files = map(str, self.paths.values())
        words = ["trivium", "study", *files, "--seeds", str(self.seeds), *budget, *changes]
        return shlex.join([*words, "--out", str(self.out)])

    def runs_of(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.name == name]


def plan_study(
    recipes: Sequence[str | Path],
    out: str | Path,
    seeds: int,
    changes: Sequence[str],
    budget: str = FULL,
) -> Plan:
    """All runs, every recipe loaded and every folder looked at. Writes nothing.

    Raises RecipeError: for all recipes that are wrong or lack the budget, for two that would share
    a folder, for an ensemble whose members are no rows, and for a folder with a run of other
    settings.
    """
    if seeds < 1:
        raise RecipeError(f"--seeds {seeds}: a study needs at least one seed.")
    if any(change.partition("=")[0] == "seed" for change in changes):
        raise RecipeError("--set seed: a study sets the seeds itself; say how many with --seeds.")
    out = Path(out)
    paths = _named(recipes)
    loaded = _loaded(paths, changes, budget)
    trained = {name: r.recipe for name, r in loaded.items() if isinstance(r, RecipeFile)}
    ensembles = {name: r for name, r in loaded.items() if isinstance(r, EnsembleRecipe)}
    runs: list[Run] = []
    for seed in range(seeds):
        own = {
            name: Run(
                name=name,
                path=paths[name],
                recipe=recipe.model_copy(update={"seed": seed}),
                folder=out / name / f"seed-{seed}",
                changes=(*changes, f"seed={seed}"),
                budget=budget,
            )
            for name, recipe in trained.items()
        }
        runs += own.values()
        runs += [
            ensemble_run(name, paths[name], found, own, out) for name, found in ensembles.items()
        ]
    for run in runs:
        run.refuse_other()
    reported = {name: found.reported for name, found in loaded.items()}
    return Plan(paths, reported, out, seeds, budget, tuple(changes), tuple(runs))


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
        if path.stem in ("", PAGE, TABLE):
            raise RecipeError(f"{path}: give the recipe's file another name.")
        named[path.stem] = path
    return named


def _loaded(
    paths: Mapping[str, Path], changes: Sequence[str], budget: str
) -> dict[str, RecipeFile | EnsembleRecipe]:
    """Every recipe, or one RecipeError with what is wrong in each of them."""
    loaded: dict[str, RecipeFile | EnsembleRecipe] = {}
    wrong = []
    for name, path in paths.items():
        try:
            loaded[name] = load_ensemble(path) or load_recipe_file(path, changes, budget)
        except RecipeError as error:
            # What is said of a change names the change only, but it may fit the other recipes.
            said = str(error)
            wrong.append(said if said.startswith(str(path)) else f"{path}: {said}")
    if wrong:
        raise RecipeError("\n".join(wrong))
    return loaded
