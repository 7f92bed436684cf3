"""Folders to systems: runs of one recipe with several seeds are one system."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.run.folder.differences import in_order
from trivium.run.folder.finished import FinishedRun, read_run
from trivium.run.folder.names import predictions_file
from trivium.run.folder.own_seed import with_seed_open
from trivium.run.folder.panels import weighed_tasks
from trivium.run.folder.predictions import Answers
from trivium.run.folder.studies import folders_of
from trivium.run.screen.grid import short_names

SPLIT = "dev"
CHOSEN_ON = "dev"
"""Where soups and the weights of ensembles are chosen."""
SAME_ANYWAY = {"seed", "device", "data", "probe"}
"""What runs of one system may have each their own."""
SEED_FOLDER = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class System:
    """One recipe's runs; or ensembles, or soups, that a study made alike."""

    name: str
    runs: tuple[FinishedRun, ...]
    split: str = SPLIT
    """On which answers it is compared: dev or test."""

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """What it was trained for: tasks that answer questions and are no means only."""
        tasks = self.runs[0].recipe.tasks
        return {n: t for n, t in tasks.items() if t.answers_questions and not t.auxiliary}

    @property
    def single(self) -> str | None:
        """Its only task, if it has just one."""
        return next(iter(self.tasks)) if len(self.tasks) == 1 else None

    @property
    def seeds(self) -> list[int | None]:
        """One per run; None where nothing tells."""
        return [seed_of(run) for run in self.runs]

    @property
    def is_ensemble(self) -> bool:
        return self.runs[0].is_ensemble

    @property
    def encoder(self) -> str:
        return self.runs[0].recipe.encoder

    @cached_property
    def chosen_here(self) -> set[str]:
        """Tasks whose answers were chosen by their score on the very rows that are compared: a
        soup's, whose runs were, and those of an ensemble by weights."""
        if self.split != CHOSEN_ON:
            return set()
        if any(run.scores.soup is not None for run in self.runs):
            return set(self.tasks)
        return set().union(*(weighed_tasks(run.folder) for run in self.runs if run.is_ensemble))

    @cached_property
    def answers(self) -> dict[str, list[Answers]]:
        """By task, those of each run. A task without rows of the split is left out.

        Raises RecipeError where a run was judged on a task but its answers are gone.
        """
        by_task = {}
        for task in self.tasks:
            by_run = [_answers(run, task, self.split) for run in self.runs]
            kept = [answers for answers in by_run if answers is not None]
            if kept and len(kept) < len(by_run):
                run = self.runs[by_run.index(None)]
                raise RecipeError(
                    f"{run.folder}: has no answers for task {task!r}, which other runs of "
                    f"{self.name} have. Leave it out, or make it again."
                )
            if kept:
                by_task[task] = kept
        return by_task


def systems_of(
    given: Sequence[str | Path | FinishedRun], split: str = SPLIT
) -> tuple[list[System], list[str]]:
    """The systems, in the order of their first runs; and notes on what was left out.

    given: folders of runs, or of studies, which stand for all their finished runs. Raises one
    RecipeError that names every folder that is neither, and where two runs have the same recipe
    and the same seed.
    """
    runs, notes = _opened(given)
    groups = _grouped(runs)
    for group in groups:
        _refuse_seed_twice(group)
    systems = [
        System(name, tuple(group), split)
        for name, group in zip(_names(groups), groups, strict=True)
    ]
    return systems, notes


def seed_of(run: FinishedRun) -> int | None:
    """An ensemble has none of its own, but may stand in a study's folder of one."""
    if not is_made(run):
        return run.recipe.seed
    match = SEED_FOLDER.fullmatch(run.folder.resolve().name)
    return int(match[1]) if match else None


def is_made(run: FinishedRun) -> bool:
    """Whether it was made of trained runs, and so is none itself."""
    return run.is_ensemble or run.scores.soup is not None


# --- which runs --------------------------------------------------------------------------------


def _opened(given: Sequence[str | Path | FinishedRun]) -> tuple[list[FinishedRun], list[str]]:
    """Every run once, in order."""
    runs: dict[Path, FinishedRun] = {}
    notes: list[str] = []
    wrong = []
    for one in given:  # noqa: PLR1702
        if isinstance(one, FinishedRun):
            runs.setdefault(one.folder.resolve(), one)
            continue
        try:
            for folder in folders_of(Path(one), notes):
                if folder.resolve() not in runs:
                    runs[folder.resolve()] = read_run(folder)
        except RecipeError as error:
            wrong.append(str(error))
    if wrong:
        count = f"{len(wrong)} of the folders cannot be compared:\n" if len(wrong) > 1 else ""
        raise RecipeError(count + "\n".join(wrong))
    return list(runs.values()), notes


def _answers(run: FinishedRun, task: str, split: str) -> Answers | None:
    if task not in run.recipe.tasks:
        return None
    answers = run.answers(task, split)
    if answers is None and run.scores.of(task, split):
        raise RecipeError(
            f"{run.folder}: task {task!r}: its answers ({predictions_file(task, split)}) are gone. "
            "Copy the whole folder, or train the run again."
        )
    return answers


# --- which of them belong together -------------------------------------------------------------


def _grouped(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs of one system together, in the order of their first."""
    as_written: dict[str, list[FinishedRun]] = {}
    for run in runs:
        as_written.setdefault(_key(run, run.recipe), []).append(run)
    groups: dict[str, list[FinishedRun]] = {}
    for key, group in as_written.items():
        # Several seeds that name one folder mean that one, whatever number it ends in.
        is_one_seed = len({seed_of(run) for run in group}) == 1
        common = _key(group[0], with_seed_open(group[0].recipe)) if is_one_seed else key
        groups.setdefault(common, []).extend(group)
    parts = [part for group in groups.values() for part in _parted(group)]
    return sorted(parts, key=lambda part: runs.index(part[0]))


def _parted(group: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Where a seed was trained on several folders of data, it is these that are compared."""
    seeds = [seed_of(run) for run in group]
    parts: dict[str, list[FinishedRun]] = {}
    for run in group:
        parts.setdefault(run.recipe.data, []).append(run)
    return [list(group)] if len(set(seeds)) == len(seeds) else list(parts.values())


def _key(run: FinishedRun, recipe: Recipe) -> str:
    """Equal for runs of one system. Rows of a study stay apart, whatever their settings.

    Where a run was trained, and where its files lay, are no settings: whether dev rows are the
    same is seen in the answers.
    """
    settings = in_order(recipe.model_dump(mode="json", exclude=SAME_ANYWAY))
    row = _row_name(run)
    if is_made(run):
        settings = {"made": run.is_ensemble, "place": str(run.folder.resolve().parent)}
        settings |= {} if row else {"folder": str(run.folder.resolve())}
    return json.dumps([row, settings], sort_keys=True)


def _row_name(run: FinishedRun) -> str | None:
    """NAME of a study's NAME/seed-K."""
    folder = run.folder.resolve()
    return folder.parent.name if SEED_FOLDER.fullmatch(folder.name) else None


def _refuse_seed_twice(runs: Sequence[FinishedRun]) -> None:
    seeds: dict[int | None, FinishedRun] = {}
    for run in runs:
        seed = seed_of(run)
        if seed is not None and seed in seeds:
            raise RecipeError(
                f"{seeds[seed].folder} and {run.folder}: have the same recipe and the same seed "
                f"({seed}), so they are one run made twice. Name only one of them."
            )
        seeds[seed] = run


def _names(groups: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """A name of its own for each."""
    names = [_name(group) for group in groups]
    if len(set(names)) < len(names):
        homes = [str(_home(group)) for group in groups]
        names = short_names(homes) if len(set(homes)) == len(homes) else homes
    return [
        name if names.count(name) == 1 else f"{name} #{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]


def _name(group: Sequence[FinishedRun]) -> str:
    if row := _row_name(group[0]):
        return row
    folders = [run.folder.resolve().name for run in group]
    if len(folders) == 1:
        return folders[0]
    # joint and joint-1, joint-s0 and joint-s1, joint0 and joint1 are `joint`.
    stems = {re.sub(r"([-_.]+(seed|s))?[-_.]*\d*$", "", name) for name in folders}
    return stems.pop() or folders[0] if len(stems) == 1 else folders[0]


def _home(group: Sequence[FinishedRun]) -> Path:
    folder = group[0].folder.resolve()
    return folder.parent if _row_name(group[0]) else folder
