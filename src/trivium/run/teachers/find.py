"""Teachers that a recipe names: found, and refused where they do not fit, by what is written of
them alone, before anything is computed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.digest import sha256
from trivium.errors import RecipeError, did_you_mean
from trivium.jsons import first_problem
from trivium.parts.regularizers import SEED, Teacher, Teaching
from trivium.parts.tasks import Task
from trivium.parts.tasks.base import FORM
from trivium.parts.tasks.cells import in_order
from trivium.recipe import Recipe
from trivium.run.folder.decisions import seal_as_trained
from trivium.run.folder.model import find_model, saved_tasks
from trivium.run.folder.names import ENSEMBLE, MEMBERS, RECIPE, SCORES
from trivium.run.folder.panels import Contents
from trivium.run.folder.sealed import read_sealed
from trivium.run.rows.splits import Data, Split
from trivium.run.teachers.lessons import Found, Lesson, Lessons
from trivium.run.teachers.unlabelled import bare, own_rows, read_unlabelled

SHOWN = 8
"""Labels in a message."""


def find_lessons(recipe: Recipe, data: Data) -> Lessons:
    """What the recipe's teachers will be asked. Reads no weights.

    recipe, data: as `load_data` gives them. Raises RecipeError where a teacher is not there, not
    finished, or does not fit its task, and for text without labels that cannot be used.
    """
    finder = _Finder(recipe, data)
    by_stage = {}
    for index, stage in enumerate(recipe.stages):
        for number, part in enumerate(stage.regularizers):
            placed = part.moved(lambda run: run.replace(SEED, str(recipe.seed)))
            applying = [name for name in recipe.stage_tasks(stage) if placed.applies(name)]
            if (teaching := placed.teaching) is None or not applying:
                continue  # with a weight of 0 there is nothing to ask, whoever the teacher is
            where = f"stages.{index}.regularizers.{number}"
            names = [name for name in applying if recipe.tasks[name].answers_questions]
            if lessons := finder.lessons(teaching, names, where):
                by_stage[stage.name] = lessons
    return Lessons(finder.titled(by_stage))


# --- teachers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What is written of a trained model."""

    folder: Path
    tasks: Mapping[str, Task]
    digest: str


@dataclass
class _Finder:
    recipe: Recipe
    data: Data
    known: dict[str, _Known] = field(default_factory=dict)
    made: list[tuple[Any, Lesson]] = field(default_factory=list)
    """Every lesson so far, with what makes it another one."""

    def lessons(self, asked: Teaching, names: Sequence[str], where: str) -> dict[str, Lesson]:
        """The lessons of one stage. where: the path of the part that asks, in the recipe."""
        lessons = {}
        for name, (place, teachers) in self._named(asked, names, where).items():
            fitting = tuple(self._fitting(name, one, f"{where}.{place}") for one in teachers)
            file = asked.unlabelled.get(name)
            lesson = next((one for key, one in self.made if key == (name, fitting, file)), None)
            if lesson is None:
                lesson = self._lesson(name, fitting, file, where)
                self.made.append(((name, fitting, file), lesson))
            lessons[name] = lesson
        return lessons

    def titled(self, by_stage: Mapping[str, Mapping[str, Lesson]]) -> dict[str, dict[str, Lesson]]:
        """The stages' lessons, each under a name of its own: a task's first one under the task's,
        others with a number behind it, by which no other task is called that has lessons, too."""
        taken = {lesson.task.name for _, lesson in self.made}
        counts = dict.fromkeys(taken, 0)
        own: dict[int, Lesson] = {}
        for _, lesson in self.made:
            title = name = lesson.task.name
            counts[name] += 1
            while counts[name] > 1 and (title := f"{name}-{counts[name]}") in taken:
                counts[name] += 1
            taken.add(title)
            own[id(lesson)] = replace(lesson, name=title)
        return {
            stage: {task: own[id(lesson)] for task, lesson in of.items()}
            for stage, of in by_stage.items()
        }

    def _named(
        self, asked: Teaching, names: Sequence[str], where: str
    ) -> dict[str, tuple[str, tuple[Teacher, ...]]]:
        """Task -> where its teachers are named, and who they are."""
        if not isinstance(asked.teachers, str):
            return {name: (f"teachers.{name}", asked.teachers[name]) for name in names}
        tasks = self._look(asked.teachers, f"{where}.teachers").tasks
        meant = [name for name in names if name in tasks or name in asked.wanted]
        if not meant:
            raise RecipeError(
                f"{where}.teachers: {asked.teachers} knows none of the stage's tasks, but "
                f"{', '.join(tasks)}. Name a teacher for each task, or one that knows them."
            )
        return {name: ("teachers", (Teacher(run=asked.teachers),)) for name in meant}

    def _look(self, folder: str, where: str) -> _Known:
        if folder not in self.known:
            try:
                self.known[folder] = _known(Path(folder))
            except RecipeError as error:
                raise RecipeError(f"{where}: {error}") from error
        return self.known[folder]

    def _fitting(self, name: str, teacher: Teacher, where: str) -> Found:
        """A teacher of the student's task of this name."""
        model, task = self._look(teacher.run, where), teacher.task or name
        if task not in model.tasks:
            raise RecipeError(
                f"{where}: {teacher.run} has no task {task!r}"
                f"{did_you_mean(task, model.tasks)}. Say what it calls it, "
                f"{{run: {teacher.run}, task: NAME}}, or name another run."
            )
        if why := _misfit(self.recipe.tasks[name], model.tasks[task]):
            raise RecipeError(
                f"{where}: {teacher.run} cannot teach it: {why}. Name another teacher, or train "
                "one on a task that answers as this one does."
            )
        return Found(model.folder, task, model.digest)

    def _lesson(
        self, name: str, teachers: tuple[Found, ...], file: str | None, where: str
    ) -> Lesson:
        task, splits = self.recipe.tasks[name], self.data[name]
        if file is None:
            return Lesson(name, task, teachers, splits["train"])
        split = read_unlabelled(task, Path(self.recipe.data) / file)
        in_files = own_rows(task, Path(self.recipe.data), splits["train"])
        fresh = [example for example in split.examples if bare(example) not in in_files]
        if not fresh:
            why = "stand in the task's own files" if split.examples else "cannot be used"
            raise RecipeError(
                f"{where}.unlabelled.{name}: {split.where}: all its rows {why}, so nothing is left "
                "to learn from. Name another file, or leave it out."
            )
        left_out = len(split.examples) - len(fresh)
        rest = Split(split.name, split.files, fresh)
        return Lesson(name, task, teachers, splits["train"], rest, left_out)


def _known(folder: Path) -> _Known:
    """A finished run, or the folder of a model or of an ensemble."""
    if not folder.is_dir():
        raise RecipeError(
            f"{folder}: no such folder. Train the teacher first (trivium train RECIPE --out "
            f"{folder}), or name the folder of another."
        )
    if (folder / ENSEMBLE).is_file():
        return _Known(folder, _tasks_of_ensemble(folder), sha256(folder / ENSEMBLE))
    if (folder / RECIPE).is_file() and not (folder / SCORES).is_file():
        raise RecipeError(
            f"{folder}: this run is not finished. Go on with it first: "
            f"trivium train RECIPE --out {shlex.quote(str(folder))} --resume"
        )
    model = find_model(folder)
    return _Known(folder, saved_tasks(model), seal_as_trained(model))


def _tasks_of_ensemble(folder: Path) -> dict[str, Task]:
    """Of each task, what the first of the members that answer it says."""
    facts = read_sealed(folder / ENSEMBLE)
    try:
        contents = Contents.model_validate({key: facts.get(key) for key in Contents.model_fields})
    except ValidationError as error:
        raise RecipeError(f"{folder / ENSEMBLE}: cannot be read: {first_problem(error)}") from error
    first = {name: panel.members[0] for name, panel in contents.tasks.items()}
    members = {place: saved_tasks(folder / MEMBERS / str(place)) for place in set(first.values())}
    try:
        return {name: members[place][name] for name, place in first.items()}
    except KeyError as error:
        raise RecipeError(f"{folder}: none of its members has the task {error}.") from None


def _misfit(student: Task, teacher: Task) -> str | None:
    """Why the answers to one task are no answers to the other; None where they are."""
    if teacher.is_pair != student.is_pair:
        one, two = "about one text", "about a pair of texts"
        return (
            f"its {teacher.name} is {two if teacher.is_pair else one}, "
            f"this one {two if student.is_pair else one}"
        )
    for setting in FORM:
        theirs, ours = (_plain(getattr(task, setting, None)) for task in (teacher, student))
        if theirs != ours:
            shown = ", ".join(theirs[:SHOWN]) + (", …" if len(theirs) > SHOWN else "")
            own = ", ".join(ours[:SHOWN]) + (", …" if len(ours) > SHOWN else "")
            order = ", in another order" if sorted(theirs) == sorted(ours) else ""
            return f"its {setting}: {shown}; this task's: {own}{order}"
    return None


def _plain(value: Any) -> list[str]:
    """A setting for people; of labels what stands in the column, and the name in answers."""
    if isinstance(value, dict):
        return [key if key == name else f"{key} ({name})" for key, name in in_order(value)]
    return [str(one) for one in value] if isinstance(value, tuple) else [str(value)]
