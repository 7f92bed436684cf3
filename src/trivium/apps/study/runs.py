"""The runs of a study: planned and checked before anything is trained, known by their folders."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.apps.study.ensembles import EnsembleRun, Run, ensemble_run
from trivium.apps.study.entries import (
    PAGE,
    AnyRecipes,
    Entry,
    Loaded,
    entries_of,
    load_entries,
    refuse_foreign_file,
    text_of,
)
from trivium.apps.study.starts import with_starts
from trivium.errors import RecipeError
from trivium.recipe import Recipe, RecipeFile, Stage
from trivium.recipe.budget import FULL, Reported
from trivium.recipe.ensembles import EnsembleRecipe
from trivium.recipe.only import only_tasks

__all__ = ["PAGE", "Plan", "plan_study"]


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
    singles: bool
    """Whether recipes of several tasks are trained for each task alone, too."""
    runs: tuple[Run, ...]
    """All recipes with the first seed, then all with the second: so that a study that is stopped
    early has something to compare. Each seed's ensembles come after its runs, and a run after the
    one that it starts from."""
    texts: dict[Path, str]
    """What is to be written for recipes that have no file of their name: file -> content."""
    where: tuple[str, ...] = ()
    """Options that say where the runs are trained."""

    @property
    def command(self) -> str:
        """What to type to go on."""
        changes = [word for change in self.changes for word in ("--set", change)]
        budget = [] if self.budget == FULL else ["--budget", self.budget]
        files = dict.fromkeys(map(str, self.paths.values()))
        singles = ["--singles"] if self.singles else []
        words = ["trivium", "study", *files, "--seeds", str(self.seeds), *singles]
        words += [*budget, *changes, *self.where]
        return shlex.join([*words, "--out", str(self.out)])

    def runs_of(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.name == name]


def plan_study(
    recipes: AnyRecipes,
    out: str | Path,
    seeds: int,
    changes: Sequence[str],
    budget: str = FULL,
    *,
    singles: bool = False,
) -> Plan:
    """All runs, every recipe loaded and every folder looked at. Writes nothing.

    singles: with the runs of every recipe for one of its tasks alone. Raises RecipeError: for all
    recipes that are wrong or lack the budget, for two that would share a folder, for an ensemble
    whose members are no rows, for a folder with a run of other settings, and for a file where a
    recipe's would be written.
    """
    if seeds < 1:
        raise RecipeError(f"--seeds {seeds}: a study needs at least one seed.")
    if any(change.partition("=")[0] == "seed" for change in changes):
        raise RecipeError("--set seed: a study sets the seeds itself; say how many with --seeds.")
    out = Path(out)
    loaded = load_entries(entries_of(recipes, out), changes, budget)
    rows = _rows(loaded, singles=singles)
    runs = [run for seed in range(seeds) for run in _runs_of_seed(rows, seed, out, changes, budget)]
    for run in runs:
        run.refuse_other()
    texts = _texts(loaded, runs)
    for path in texts:
        refuse_foreign_file(path)
    return Plan(
        paths={row.name: row.entry.path for row in rows},
        reported={row.name: None if row.only else row.content.reported for row in rows},
        out=out,
        seeds=seeds,
        budget=budget,
        changes=tuple(changes),
        singles=singles,
        runs=tuple(runs),
        texts=texts,
    )


def uneven(plan: Plan) -> list[str]:
    """A line for each recipe whose tasks, alone, are trained for longer than beside the others."""
    if not plan.singles:
        return []
    rows = {
        run.name: [stage.name for stage in run.recipe.stages if _shares_steps(run.recipe, stage)]
        for run in plan.runs
        if not run.only and not isinstance(run, EnsembleRun)
    }
    return [
        f"{name}: with `steps` in {', '.join(stages)} each task alone gets all the steps that the "
        "tasks of the whole recipe share. For as many rows of a task on both sides write `epochs`."
        for name, stages in rows.items()
        if stages
    ]


def _shares_steps(recipe: Recipe, stage: Stage) -> bool:
    """Whether a stage counts steps, of which each of its tasks has a part only."""
    tasks = len(recipe.stage_tasks(stage))
    counts = bool(stage.steps) and stage.epochs is None
    return counts and stage.sampler.tasks_per_draw(tasks) < tasks


@dataclass(frozen=True, slots=True)
class _Row:
    """Of the table: a recipe, or a recipe for some of its tasks."""

    name: str
    entry: Entry
    content: Loaded
    only: tuple[str, ...] = ()


def _rows(loaded: Mapping[Entry, Loaded], *, singles: bool) -> list[_Row]:
    """In the order of the table. Raises RecipeError where two would have one name."""
    rows = []
    for entry, content in loaded.items():
        rows.append(_Row(entry.name, entry, content))
        if singles and isinstance(content, RecipeFile):
            tasks = content.recipe.tasks
            own = [n for n, t in tasks.items() if t.answers_questions and not t.auxiliary]
            alone = own if len(own) > 1 else []
            rows += [_Row(f"{entry.name}-only-{n}", entry, content, (n,)) for n in alone]
    names = [row.name.casefold() for row in rows]
    for row in rows:
        if names.count(row.name.casefold()) > 1:
            raise RecipeError(
                f"{row.entry.source}: a row of the study would be called {row.name!r}, as another "
                "one is; rename a recipe's file."
            )
    return rows


def _runs_of_seed(
    rows: Sequence[_Row],
    seed: int,
    out: Path,
    changes: Sequence[str],
    budget: str,
) -> list[Run]:
    """A seed's runs, and then the ensembles of them."""
    runs: list[Run] = []
    by_file: dict[str, Run] = {}
    for row in rows:
        if isinstance(row.content, RecipeFile):
            recipe = row.content.recipe.model_copy(update={"seed": seed})
            run = Run(
                name=row.name,
                path=row.entry.path,
                recipe=only_tasks(recipe, row.only) if row.only else recipe,
                folder=out / row.name / f"seed-{seed}",
                changes=(*changes, f"seed={seed}"),
                budget=budget,
                only=row.only,
            )
            runs.append(run)
            by_file |= {} if row.only else dict.fromkeys(row.entry.files, run)
    runs, by_file = with_starts(runs, by_file)
    runs.extend(
        ensemble_run(row.name, row.entry.source, row.content, by_file, out)
        for row in rows
        if isinstance(row.content, EnsembleRecipe)
    )
    return runs


def _texts(loaded: Mapping[Entry, Loaded], runs: Sequence[Run]) -> dict[Path, str]:
    """What the study writes for recipes that have no file of their name."""
    members = {
        run.name: [str(member.path.resolve()) for member in run.members]
        for run in runs
        if isinstance(run, EnsembleRun)
    }
    return {
        entry.path: text_of(entry, content, members.get(entry.name, ()))
        for entry, content in loaded.items()
        if entry.is_written
    }
