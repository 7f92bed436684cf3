"""A finished run (or ensemble) as its folder tells it: recipe, scores, journal, dev answers."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.recipe import Recipe
from trivium.run.folder.altered import REMEDY, other_score
from trivium.run.folder.environment import Environment, read_environment
from trivium.run.folder.journal import read_journal
from trivium.run.folder.names import (
    ENSEMBLE,
    JOURNAL,
    MANIFEST,
    MEMBERS,
    MODEL,
    PREDICTIONS,
    RECIPE,
    RESUME,
    SCORES,
    predictions_file,
)
from trivium.run.folder.predictions import Answers, read_answers
from trivium.run.folder.scores import Scores, read_scores
from trivium.run.folder.start import run_recipe


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run, or an ensemble, that has its scores, as its folder tells it."""

    folder: Path
    recipe: Recipe
    """As in the folder, with labels as found; of an ensemble only its tasks and their files."""
    scores: Scores
    environment: Environment
    """Tells nothing where the folder has no such file."""

    @property
    def is_ensemble(self) -> bool:
        return (self.folder / ENSEMBLE).is_file()

    @property
    def model_bytes(self) -> int:
        """Size on disk of what answers: model/, or an ensemble's members/."""
        home = self.folder / (MEMBERS if self.is_ensemble else MODEL)
        return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())

    def events(self) -> Iterator[dict[str, Any]]:
        """The journal, oldest first; nothing where there is none, as in an ensemble.

        Raises RecipeError with the line where it is damaged: no event, or a step of no stage.
        """
        path = self.folder / JOURNAL
        if not path.is_file():
            return
        line, is_begun = 1, False
        try:
            for event in read_journal(self.folder):
                kind = event["event"]
                is_begun = is_begun or kind == "stage"
                if kind == "step" and not is_begun:
                    raise RecipeError(
                        f"{path}:{line}: a step before any stage has begun. The file was cut; copy "
                        "it again."
                    )
                yield event
                line += 1
        except RecipeError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(
                f"{path}:{line}: is no event, or cannot be read: {error!r}. The file is "
                "damaged; copy it again."
            ) from error

    def answers(self, task: str, split: str = "dev") -> Answers | None:
        """What was answered on a split; None where there is no such file.

        Raises RecipeError where the file does not fit the run: of other rows, or another score,
        than scores.json tells of among them.
        """
        path = self.folder / predictions_file(task, split)
        if task not in self.recipe.tasks or not path.is_file():
            return None
        answers = read_answers(path, self.recipe.tasks[task])
        told = self.scores.of(task, split)
        rows = told.get("rows")
        if rows is not None and rows != len(answers.lines):
            raise RecipeError(
                f"{path}: holds {len(answers.lines):,} rows, but {SCORES} tells of {rows:,}. "
                "It was altered after the run, or cut short; train the run again, or leave it out."
            )
        wrong = other_score(
            answers.task, answers.readout_BK, answers.target_B, told, is_whole=answers.is_whole
        )
        if wrong:
            raise RecipeError(f"{path}: {wrong}. {REMEDY}")
        return answers


def read_run(folder: str | Path) -> FinishedRun:
    """A finished run or ensemble. Raises RecipeError where it is none, or lacks its answers."""
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise RecipeError(f"{folder}: {what}; name the folder of a finished run.")
    if not (folder / SCORES).is_file():
        raise RecipeError(f"{folder}: {_why_unfinished(folder)}")
    scores = read_scores(folder)
    if not (folder / RECIPE).is_file():
        raise RecipeError(
            f"{folder}: has no {RECIPE}, which says what its tasks are. An ensemble of bare model "
            "folders has none: make it of whole runs."
        )
    recipe = run_recipe(folder)
    if strange := [name for name in scores.tasks if name not in recipe.tasks]:
        raise RecipeError(
            f"{folder / SCORES}: tells of {', '.join(map(repr, strange))}, which is no task of "
            f"{RECIPE} ({', '.join(recipe.tasks)}). One of the files is another run's, or damaged; "
            "copy the whole folder again, or train the run again."
        )
    judged = [n for n, t in recipe.tasks.items() if t.answers_questions and scores.tasks.get(n)]
    if judged and not (folder / PREDICTIONS).is_dir():
        raise RecipeError(
            f"{folder}: has no {PREDICTIONS}/, the answers to its dev rows that every run leaves. "
            "Copy the whole folder, or train the run again."
        )
    return FinishedRun(folder, recipe, scores, read_environment(folder) or Environment())


def refuse_unfinished(run: Path) -> None:
    """Refuse a run, by its folder or that of its model, that is not trained to its end: what is
    made of it would be of a model that is about to change."""
    folder = run.parent if run.name == MODEL else run
    if (folder / RECIPE).is_file() and not (folder / SCORES).is_file():
        raise RecipeError(f"{folder}: {_why_unfinished(folder)}")


def _why_unfinished(folder: Path) -> str:
    if (folder / RECIPE).is_file():
        after = "--resume" if (folder / RESUME).is_dir() else "--resume or --overwrite"
        return (
            f"this run is not finished (no {SCORES}). Finish it: "
            f"trivium train RECIPE --out {shlex.quote(str(folder))} {after}"
        )
    if (folder / MANIFEST).is_file():
        return f"is a model's folder; name the run's folder, which holds {MODEL}/ and {SCORES}."
    return f"is no run (no {RECIPE} and no {SCORES}); name the folder that `trivium train` made."
