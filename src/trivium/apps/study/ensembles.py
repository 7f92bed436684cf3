"""What a study makes with one seed: a run, or an ensemble of runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe.ensembles import EnsembleRecipe
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MEMBERS, MODEL, SCORES
from trivium.run.folder.panels import read_contents
from trivium.run.folder.scores import Cost, read_scores
from trivium.run.jobs.child import Job, refuse_foreign
from trivium.types import How


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run(Job):
    """One recipe with one seed."""

    name: str
    """Of the recipe, and of its row in the table."""
    starts_from: "Run | None" = None
    """The run of this study whose model it starts from."""

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def waits_for(self) -> list["Run"]:
        """Runs that must be finished before this one can be made."""
        first = self.starts_from
        return [first] if first is not None and not first.is_finished else []

    @property
    def cost(self) -> Cost:
        """What the finished run cost."""
        return read_scores(self.folder).cost

    def __str__(self) -> str:
        return f"{self.name} seed {self.seed}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EnsembleRun(Run):
    """An ensemble of one seed's runs. Its recipe is the first member's, with the tasks of all."""

    how: How
    members: tuple[Run, ...]

    @property
    def has_begun(self) -> bool:
        return (self.folder / ENSEMBLE).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether it is there, of the models that the members have now, all of them finished."""
        there = self.has_begun and (self.folder / SCORES).is_file() and not self.waits_for
        return there and all(map(self._has_copy, range(len(self.members))))

    @property
    def command(self) -> list[str]:
        folders = [str(member.folder) for member in self.members]
        words = ["ensemble", *folders, "--how", self.how, "--out", str(self.folder)]
        again = ["--overwrite"] if self.has_begun else []
        device = ["--device", self.recipe.device]
        return [sys.executable, "-m", "trivium", *words, *device, *again]

    @property
    def waits_for(self) -> list[Run]:
        return [member for member in self.members if not member.is_finished]

    @property
    def cost(self) -> Cost:
        """What its members cost together: sums, and the largest peak."""
        costs = [member.cost for member in self.members]
        return Cost(
            seconds=sum(cost.seconds or 0 for cost in costs),
            trained_parameters=sum(cost.trained_parameters or 0 for cost in costs),
            peak_memory_bytes=max(cost.peak_memory_bytes or 0 for cost in costs),
        )

    def placed(self) -> Self:
        members = tuple(member.placed() for member in self.members)
        return replace(
            self, path=self.path.resolve(), folder=self.folder.resolve(), members=members
        )

    def refuse_other(self) -> None:
        refuse_foreign(self.folder, "ensemble", self.has_begun)
        if not self.has_begun:
            return
        contents = read_contents(self.folder)
        # An origin is a model's folder, .../NAME/seed-K/model; the study may have been moved.
        made_of = [Path(origin.folder).parts[-3:-1] for origin in contents.members]
        wanted = [member.folder.parts[-2:] for member in self.members]
        shared = {name: p.how for name, p in contents.tasks.items() if len(p.members) > 1}
        ways = set(shared.values())
        if made_of != wanted or any(how != self._way(name) for name, how in shared.items()):
            there = ", ".join("/".join(parts) for parts in made_of)
            raise RecipeError(
                f"{self.folder}: holds an ensemble of {there} by {' and '.join(sorted(ways))}, not "
                f"what {self.path} asks for now. Nothing was changed. Name another folder with "
                "--out, or put the settings back."
            )

    def _way(self, task: str) -> How:
        """How it is to answer a task: without dev rows there is nothing to choose weights by."""
        has_dev = task in self.recipe.tasks and self.recipe.has_dev(task)
        return "mean" if self.how == "weights" and not has_dev else self.how

    def _has_copy(self, place: int) -> bool:
        """Whether a member's model is still the one that was copied, as far as can be known."""
        original = self.members[place].folder / MODEL / MANIFEST
        copy = self.folder / MEMBERS / str(place) / MANIFEST
        if not original.is_file():
            return True
        return copy.is_file() and copy.read_bytes() == original.read_bytes()


def ensemble_run(
    name: str, path: Path, recipe: EnsembleRecipe, runs: Mapping[str, Run], out: Path
) -> EnsembleRun:
    """The ensemble of some of a seed's runs. Raises RecipeError where a member is none of them.

    path: of the recipe's file. runs: by the files of their recipes.
    """
    for place, member in enumerate(recipe.ensemble.members):
        if member not in runs:
            raise RecipeError(
                f"{path}: ensemble.members.{place}: {member} is no recipe that this study trains; "
                "an ensemble is made of other rows of its study, so name that file, too."
            )
    members = tuple(runs[member] for member in recipe.ensemble.members)
    tasks = _tasks(members)
    for problem in recipe.reported.problems(tasks) if recipe.reported else ():
        raise RecipeError(f"{path}: {problem}")
    first = members[0].recipe
    return EnsembleRun(
        name=name,
        path=path,
        recipe=first.model_copy(update={"tasks": tasks}),
        folder=out / name / f"seed-{first.seed}",
        members=members,
        how=recipe.ensemble.how,
    )


def _tasks(members: tuple[Run, ...]) -> dict[str, Task]:
    """What the members answer together, each as the first says it that has dev rows."""
    tasks: dict[str, Task] = {}
    for member in members:
        for name, task in member.recipe.tasks.items():
            if task.answers_questions and (name not in tasks or tasks[name].dev is None):
                tasks[name] = task
    return tasks
