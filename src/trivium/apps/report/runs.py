"""The runs that a report is about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.apps.report.story import Story, story_of
from trivium.errors import RecipeError
from trivium.recipe import dump_recipe
from trivium.run.folder.finished import FinishedRun, read_run
from trivium.run.folder.names import GIVEN, RECIPE
from trivium.run.folder.predictions import Answers
from trivium.run.screen.grid import short_names
from trivium.run.verdict.systems import systems_of

SPLIT = "dev"
MOST_DRAWN = 12
"""Runs up to which the answers of all are drawn; of more runs, those of one per system."""


@dataclass(frozen=True, slots=True)
class ReportedRun:
    run: FinishedRun
    name: str
    """Its folder, without what the others' have in common."""
    place: int
    """Among the runs of the report; decides its colour."""
    story: Story
    answers: dict[str, Answers]
    """By task, on dev; only tasks whose answers the folder holds."""

    def metric(self, task: str) -> str:
        return self.run.recipe.tasks[task].metric

    @property
    def recipe_text(self) -> str:
        """The recipe as a file that means the same in any folder: tables that Python held lie in
        the run's own, where its own recipe looks for them."""
        text = (self.run.folder / RECIPE).read_text(encoding="utf-8")
        is_inside = Path(self.run.recipe.data) == self.run.folder.resolve() / GIVEN
        return dump_recipe(self.run.recipe) if is_inside else text


def each_once(folders: Iterable[Path]) -> list[Path]:
    """The folders in their order, as they were first named."""
    distinct: dict[Path, Path] = {}
    for folder in folders:
        distinct.setdefault(folder.resolve(), folder)
    return list(distinct.values())


def open_runs(folders: Sequence[Path]) -> list[ReportedRun]:
    """Every run of one folder or more, all different. Raises RecipeError for those that hold no
    finished run."""
    names = [folders[0].resolve().name] if len(folders) == 1 else short_names([*map(str, folders)])
    opened, problems = [], []
    for place, (folder, name) in enumerate(zip(folders, names, strict=True)):
        try:
            opened.append(_open_run(folder, name, place))
        except RecipeError as error:
            problems.append(str(error))
    if problems:
        raise RecipeError("\n".join(problems))
    return opened


def _open_run(folder: Path, name: str, place: int) -> ReportedRun:
    run = read_run(folder)
    answers = {task: found for task in run.recipe.tasks if (found := run.answers(task, SPLIT))}
    return ReportedRun(run, name, place, story_of(run), answers)


def drawn(runs: Sequence[ReportedRun]) -> tuple[list[ReportedRun], list[str]]:
    """The runs whose answers are drawn, and a note on the others.

    Of many runs it is the first one of each system: a page would grow with every seed of it.
    """
    if len(runs) <= MOST_DRAWN:
        return list(runs), []
    try:
        systems, _ = systems_of([run.run for run in runs])
    except RecipeError:  # which the verdict will tell
        return list(runs), []
    firsts = {system.runs[0].folder for system in systems}
    shown = [run for run in runs if run.run.folder in firsts]
    if len(shown) == len(runs):
        return shown, []
    names = ", ".join(run.name for run in shown)
    note = f"Of {len(runs)} runs, one of each system is drawn here, the first: {names}."
    return shown, [note]


def names_of(runs: Sequence[ReportedRun]) -> list[str]:
    """Every task of the runs, in the order of their recipes."""
    return list(dict.fromkeys(name for run in runs for name in run.run.recipe.tasks))


def same_rows(runs: Sequence[ReportedRun], task: str) -> list[list[ReportedRun]]:
    """The runs that answered a task, in groups that were asked the same rows by the same labels."""
    groups: list[list[ReportedRun]] = []
    for run in runs:
        if task not in run.answers:
            continue
        answers = run.answers[task]
        for group in groups:
            other = group[0].answers[task]
            if _form(answers) == _form(other) and answers.texts == other.texts:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _form(answers: Answers) -> tuple[object, ...]:
    """What must be alike for answers to stand side by side."""
    labels = getattr(answers.task, "names", None)
    return answers.task.kind, labels, answers.lines, answers.labels
