"""The runs that a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.apps.report.story import Story, story_of
from trivium.errors import RecipeError
from trivium.run.finished import Answers, FinishedRun, read_run
from trivium.run.members import short_names

SPLIT = "dev"


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


def open_runs(folders: Sequence[Path]) -> list[ReportedRun]:
    """Raises RecipeError for a folder that is no finished run, or is named twice."""
    for place, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:place]]:
            raise RecipeError(f"{folder}: is named twice; name every run once.")
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


def names_of(runs: Sequence[ReportedRun]) -> list[str]:
    """Every task of the runs, in the order of their recipes."""
    return list(dict.fromkeys(name for run in runs for name in run.run.recipe.tasks))


def same_rows(runs: Sequence[ReportedRun], task: str) -> list[list[ReportedRun]]:
    """The runs that answered a task, in groups that were asked the same rows by the same labels."""
    groups: list[list[ReportedRun]] = []
    for run in runs:
        if task not in run.answers:
            continue
        own = run.answers[task]
        for group in groups:
            other = group[0].answers[task]
            if _form(own) == _form(other) and own.texts == other.texts:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _form(answers: Answers) -> tuple[object, ...]:
    """What must be alike for answers to stand side by side."""
    labels = getattr(answers.task, "names", None)
    return answers.task.kind, labels, answers.lines, answers.labels  # type: ignore[attr-defined]
