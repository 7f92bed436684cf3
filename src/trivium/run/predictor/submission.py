"""Answers as Stanford's CS224N default final project (minBERT) hands them in.

A first line of `id` and the answer's name between tab and spaces, then `ID , ANSWER` lines, as its
`evaluation.py` and `classifier.py` write them. A score is not clipped there: it is judged by its
correlation.
"""

from trivium.answering.form import Form
from trivium.answering.says import OneLabel, Score
from trivium.errors import RecipeError
from trivium.types import Answer, Row

CS224N = "cs224n"
FORMS = ("table", CS224N)
ID = "id"
SENTIMENT, PARAPHRASE = "Predicted_Sentiment", "Predicted_Is_Paraphrase"
SIMILARITY = "Predicted_Similiary"  # as it is spelt there


class Submission:
    """How one task's answers are written."""

    def __init__(self, form: Form) -> None:
        """Raises RecipeError where the task is none of the project's three."""
        self.name = _name(form)
        self._numbers: dict[Answer, int] = {}
        if isinstance(form.says, OneLabel):
            if form.says.abstains:
                raise RecipeError(
                    f"--format {CS224N}: task {form.name!r} leaves rows without an answer "
                    "(--answer-where), for which this format has no place. Calibrate it again "
                    "without that, or name a run that was not calibrated."
                )
            self._numbers = _numbers(form.name, form.says, binary=self.name == PARAPHRASE)

    @property
    def raw(self) -> bool:
        """Whether a score is written as it is, and not clipped to its range."""
        return self.name == SIMILARITY

    @property
    def header(self) -> str:
        return f"{ID} \t {self.name} "

    def line(self, row: Row, answer: Answer, where: str) -> str:
        """where: the row's file. Raises RecipeError for an id that cannot be written."""
        key = row.cells[ID].lower().strip()  # as the project's loader reads it
        if not key or any(character in key for character in ",\n\r"):
            raise RecipeError(
                f"{where}:{row.line}: the id is {row.cells[ID]!r}; in this format it is one word "
                "or number without a comma. Fix the row."
            )
        value = self._numbers.get(answer, answer)
        return f"{key} , {float(value) if self.name == PARAPHRASE else value} "


def _name(form: Form) -> str:
    """What the project calls the answers."""
    if isinstance(form.says, OneLabel) and not form.is_pair:
        return SENTIMENT
    if isinstance(form.says, OneLabel) and form.is_pair and form.says.outputs == 2:
        return PARAPHRASE
    if isinstance(form.says, Score) and form.is_pair:
        return SIMILARITY
    texts = "two texts" if form.is_pair else "a text"
    raise RecipeError(
        f"--format {CS224N}: task {form.name!r} ({form.kind}, {texts} a row) is none of the "
        "project's: a class for a text, yes or no for a pair, or a score for a pair. Leave "
        "--format out."
    )


def _numbers(task: str, says: OneLabel, *, binary: bool) -> dict[Answer, int]:
    """Name of a label -> the number that stands in the project's files for it."""
    numbers: dict[Answer, int] = {}
    for cell, name in says.labels.items():
        try:
            number = float(cell)
        except ValueError:
            number = 0.5
        if not number.is_integer() or (binary and number not in (0, 1)):
            form = "0 and 1" if binary else "whole numbers"
            raise RecipeError(
                f"--format {CS224N}: task {task!r}: the label column holds {cell!r}, but "
                f"{task!r} would be handed in as {form}. Train it on a table with those, "
                f"which may have names: `labels: {{0: {name}, …}}`."
            )
        numbers[name] = int(number)
    return numbers
