"""Teachers that a recipe names: found, and refused where they do not fit, by what is written of
them alone, before anything is computed."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trivium.errors import RecipeError, did_you_mean
from trivium.model.pretrained import sha256
from trivium.parts.regularizers import Distill, Teacher
from trivium.parts.regularizers.distill import SEED
from trivium.parts.tasks import RowError, Task
from trivium.parts.tasks.cells import canonical
from trivium.recipe import Recipe
from trivium.run.atomic import read_sealed
from trivium.run.checkpoint import ENSEMBLE, find_model, saved_tasks
from trivium.run.data import Data, FileRows, Split, open_task_table, read_split, refuse_bad_rows
from trivium.run.directory import RECIPE, SCORES
from trivium.run.ensemble import MEMBERS, Contents
from trivium.run.members import FORM
from trivium.text.tables import BadRow
from trivium.types import Example

SHOWN = 8
"""Labels in a message."""


@dataclass(frozen=True, slots=True)
class Found:
    """A teacher that is there and fits."""

    folder: Path
    task: str
    """What the teacher calls the task."""
    digest: str
    """sha256 of its description, which has those of its files."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teachers of one task are asked: the training rows, then those without labels."""

    name: str
    """Of the file that keeps the answers."""
    task: Task
    teachers: tuple[Found, ...]
    train: Split
    unlabelled: Split | None = None
    left_out: int = 0
    """Rows without labels that stand in the task's own files."""

    @property
    def extra(self) -> list[Example]:
        return self.unlabelled.examples if self.unlabelled else []

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [example.texts for example in (*self.train.examples, *self.extra)]

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on, for JSON."""
        texts = hashlib.sha256(repr(self.rows).encode()).hexdigest()
        teachers = [
            {"run": str(one.folder), "task": one.task, "sha256": one.digest}
            for one in self.teachers
        ]
        return {"task": self.task.name, "teachers": teachers, "texts": texts}


@dataclass(frozen=True, slots=True)
class Lessons:
    """The lessons of a recipe's stages: stage -> task -> lesson."""

    by_stage: Mapping[str, Mapping[str, Lesson]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Lesson]:
        """Each one once, however many stages share it."""
        return iter(
            {one.name: one for of in self.by_stage.values() for one in of.values()}.values()
        )

    def of(self, stage: str) -> Mapping[str, Lesson]:
        return self.by_stage.get(stage, {})

    def digest(self, data: str) -> str:
        """sha256 of what a run learns from: data, and what teachers say of it."""
        if not self.by_stage:
            return data
        told = json.dumps([data, *(one.identity() for one in self)])
        return hashlib.sha256(told.encode()).hexdigest()


def find_lessons(recipe: Recipe, data: Data) -> Lessons:
    """What the recipe's teachers will be asked. Reads no weights.

    recipe, data: as `load_data` gives them. Raises RecipeError where a teacher is not there, not
    finished, or does not fit its task, and for text without labels that cannot be used.
    """
    finder = _Finder(recipe, data)
    by_stage = {}
    for index, stage in enumerate(recipe.stages):
        for number, part in enumerate(stage.regularizers):
            if isinstance(part, Distill):
                part = part.moved(lambda run: run.replace(SEED, str(recipe.seed)))
                where = f"stages.{index}.regularizers.{number}"
                names = [
                    name
                    for name in recipe.stage_tasks(stage)
                    if part.applies(name) and recipe.tasks[name].answers_questions
                ]
                if found := finder.lessons(part, names, where):
                    by_stage[stage.name] = found
    return Lessons(by_stage)


def refuse_itself(lessons: Lessons, run_dir: Path) -> None:
    """RecipeError where a teacher is in the folder that the run is about to write."""
    own = run_dir.resolve()
    for lesson in lessons:
        for teacher in lesson.teachers:
            if own in (teacher.folder.resolve(), *teacher.folder.resolve().parents):
                raise RecipeError(
                    f"{run_dir}: {lesson.task.name} has its teacher in this very folder, which the "
                    "run would replace. Name another folder with --out."
                )


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

    def lessons(self, part: Distill, names: Sequence[str], where: str) -> dict[str, Lesson]:
        """The lessons of one stage. where: the part's path in the recipe."""
        found = {}
        for name, (place, teachers) in self._named(part, names, where).items():
            fitting = tuple(self._fitting(name, one, f"{where}.{place}") for one in teachers)
            file = part.unlabelled.get(name)
            known = next((one for key, one in self.made if key == (name, fitting, file)), None)
            if known is None:
                known = self._lesson(name, fitting, file, where)
                self.made.append(((name, fitting, file), known))
            found[name] = known
        return found

    def _named(
        self, part: Distill, names: Sequence[str], where: str
    ) -> dict[str, tuple[str, tuple[Teacher, ...]]]:
        """Task -> where its teachers are named, and who they are."""
        if not isinstance(part.teachers, str):
            return {name: (f"teachers.{name}", part.teachers[name]) for name in names}
        tasks = self._look(part.teachers, f"{where}.teachers").tasks
        meant = [name for name in names if name in tasks or name in part.named_tasks]
        if not meant:
            raise RecipeError(
                f"{where}.teachers: {part.teachers} knows none of the stage's tasks, but "
                f"{', '.join(tasks)}. Name a teacher for each task, or one that knows them."
            )
        return {name: ("teachers", (Teacher(run=part.teachers),)) for name in meant}

    def _look(self, folder: str, where: str) -> _Known:
        if folder not in self.known:
            try:
                self.known[folder] = _known(Path(folder))
            except RecipeError as error:
                raise RecipeError(f"{where}: {error}") from error
        return self.known[folder]

    def _fitting(self, name: str, teacher: Teacher, where: str) -> Found:
        """A teacher of the student's task of this name."""
        known, wanted = self._look(teacher.run, where), teacher.task or name
        if wanted not in known.tasks:
            raise RecipeError(
                f"{where}: {teacher.run} has no task {wanted!r}"
                f"{did_you_mean(wanted, known.tasks)}. Say what it calls it, "
                f"{{run: {teacher.run}, task: NAME}}, or name another run."
            )
        if why := _misfit(self.recipe.tasks[name], known.tasks[wanted]):
            raise RecipeError(
                f"{where}: {teacher.run} cannot teach it: {why}. Name another teacher, or train "
                "one on a task that answers as this one does."
            )
        return Found(known.folder, wanted, known.digest)

    def _lesson(
        self, name: str, teachers: tuple[Found, ...], file: str | None, where: str
    ) -> Lesson:
        number = 1 + sum(one.task.name == name for _, one in self.made)
        title = name if number == 1 else f"{name}-{number}"
        task, splits = self.recipe.tasks[name], self.data[name]
        if file is None:
            return Lesson(title, task, teachers, splits["train"])
        split = _read_unlabelled(task, Path(self.recipe.data) / file)
        own = _own_rows(task, Path(self.recipe.data), splits["train"])
        fresh = [example for example in split.examples if _bare(example) not in own]
        if not fresh:
            why = "stand in the task's own files" if split.examples else "cannot be used"
            raise RecipeError(
                f"{where}.unlabelled.{name}: {split.where}: all its rows {why}, so nothing is left "
                "to learn from. Name another file, or leave it out."
            )
        left_out = len(split.examples) - len(fresh)
        rest = Split(split.name, split.files, fresh)
        return Lesson(title, task, teachers, splits["train"], rest, left_out)


def _own_rows(task: Task, home: Path, train: Split) -> set[tuple[str, ...]]:
    """What stands in a task's files: rows of training files that have a label, whether a sample
    of them is used or all; and every row of the others."""
    found = {_bare(example) for example in train.examples}
    for source in task.sources("train") if train.is_sample else ():
        whole = read_split(task, "train", home / source.file, source.relabel)
        found |= {_bare(example) for example in whole.examples}
    for source in (*task.sources("dev"), *task.sources("test")):
        held_out = _read_unlabelled(task, home / source.file)
        found |= {_bare(example) for example in held_out.examples}
    return found


def _bare(example: Example) -> tuple[str, ...]:
    """The texts, in whatever order and space they stand."""
    return tuple(sorted(text.strip() for text in example.texts))


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
            f"trivium train RECIPE --out {folder} --resume"
        )
    model = find_model(folder)
    return _Known(folder, saved_tasks(model), sha256(model / "trivium.json"))


def _tasks_of_ensemble(folder: Path) -> dict[str, Task]:
    """Of each task, what the first of the members that answer it says."""
    told = read_sealed(folder / ENSEMBLE)
    try:
        contents = Contents.model_validate({key: told.get(key) for key in Contents.model_fields})
    except ValidationError as error:
        raise RecipeError(f"{folder / ENSEMBLE}: cannot be read: {error}") from error
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
        each = ((canonical(key), name) for key, name in value.items())
        return [key if key == name else f"{key} ({name})" for key, name in each]
    return [str(one) for one in value] if isinstance(value, tuple) else [str(value)]


# --- text without labels -------------------------------------------------------------------------


def _read_unlabelled(task: Task, path: Path) -> Split:
    """The texts of a file's rows. Raises RecipeError naming bad rows by file and line."""
    table = open_task_table(task, path, task.text_columns)
    examples: list[Example] = []
    bad: list[BadRow] = []
    for row in table:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            examples.append(Example(task.texts_of(row), None, row.line))
        except RowError as error:
            bad.append(BadRow(row.line, str(error)))
    refuse_bad_rows(task, "unlabelled", table, bad)
    return Split("unlabelled", (FileRows(table, 0, len(examples), bad),), examples)
