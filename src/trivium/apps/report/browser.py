"""The rows that a page's reader can leaf through: texts, labels, answers."""

from collections.abc import Callable, Sequence

from trivium.apps.report.answers import without_answers
from trivium.apps.report.figure import Panel, Section
from trivium.apps.report.quality import chosen, is_ordered, places
from trivium.apps.report.rows import AnsweredRow, RowAnswer, RowSet
from trivium.apps.report.runs import ReportedRun, names_of, same_rows
from trivium.parts.tasks import Classification, Labelled, Multilabel, Regression, Task
from trivium.run.folder.predictions import Answers
from trivium.types import Target

MOST_ANSWERS = 20_000
"""To the rows of a task in a page, all runs together: about 4 MB of sentences, if of one run."""
FEWEST_ROWS = 500
"""Of a task, however many runs answered it."""
MOST_PROBABILITIES = 8
"""Labels up to which a row shows all probabilities; of more labels it shows the largest ones."""


def browser(runs: Sequence[ReportedRun]) -> tuple[Section, list[RowSet]]:
    """The section, and the rows that its list is made of."""
    section = Section(
        "errors",
        "Mistakes",
        "Dev rows that were answered wrongly, the most confident mistake first (of scores, the one "
        "furthest off). Choose a task, a cell, a length, or search the texts.",
        notes=without_answers(runs),
    )
    sets = [_rows(name, group) for name in names_of(runs) for group in same_rows(runs, name)]
    for row_set in sets:
        if len(row_set.rows) < row_set.total:
            section.notes.append(
                f"{row_set.task}: {len(row_set.rows):,} of {row_set.total:,} dev rows are here, "
                "the worst mistakes first; counts elsewhere on the page are of all rows."
            )
    if sets:
        section.panels.append(
            Panel(template="browser.html.j2", values={"several": len(runs) > 1}, wide=True)
        )
    return section, sets


def _rows(name: str, runs: Sequence[ReportedRun]) -> RowSet:
    """A task's dev rows with the answers of all runs that were asked the same."""
    answers = [run.answers[name] for run in runs]
    task, first = answers[0].task, answers[0]
    by_run = [said(each) for each in answers]
    order = sorted(
        range(len(first.lines)), key=lambda row: -max(answered[row].error for answered in by_run)
    )
    kept = order[: max(FEWEST_ROWS, MOST_ANSWERS // len(runs))]
    true = _true(task, first)
    words = [len(" ".join(texts).split()) for texts in first.texts]
    ranked = sorted(words)
    return RowSet(
        task=name,
        kind=task.kind,
        columns=list(task.text_columns),
        labels=task.names if isinstance(task, Labelled) else None,
        ordered=is_ordered(task),
        runs=[run.place for run in runs],
        total=len(first.lines),
        thirds=(ranked[len(ranked) // 3], ranked[2 * len(ranked) // 3]),
        rows=[
            AnsweredRow(
                first.lines[row], first.texts[row], true(row), words[row],
                [answered[row] for answered in by_run],
            )
            for row in kept
        ],
    )  # fmt: skip


def _true(task: Task, answers: Answers) -> Callable[[int], Target]:
    if isinstance(task, Multilabel):
        applies = answers.target_B.tolist()
        return lambda row: tuple(place for place, value in enumerate(applies[row]) if value > 0)
    values = answers.target_B.tolist()
    if isinstance(task, Classification):
        return lambda row: int(values[row])
    return lambda row: round(values[row], 6)


def said(answers: Answers) -> list[RowAnswer]:
    """What a run answered, row by row."""
    task, readout = answers.task, answers.readout_BK.tolist()
    if isinstance(task, Regression):
        values = map(float, answers.predictions)
        return [
            RowAnswer(round(value, 4), round(abs(value - true), 4))
            for value, true in zip(values, answers.target_B.tolist(), strict=True)
        ]
    if isinstance(task, Multilabel):
        return _several_said(task, answers, readout)
    assert isinstance(task, Classification)
    rows = []
    predicted = places(task, answers.predictions)
    for row, place, true in zip(readout, predicted, answers.target_B.tolist(), strict=True):
        sure = round(row[place], 4)
        # A wrong answer stays a mistake, however little it was believed.
        wrong = max(sure, 0.0001) if place != true else 0
        rows.append(RowAnswer(place, wrong, sure, _largest(row, {place, int(true)})))
    return rows


def _several_said(
    task: Multilabel, answers: Answers, readout: Sequence[Sequence[float]]
) -> list[RowAnswer]:
    """Of several labels the error is the confidence in the most confident wrong yes or no."""
    rows = []
    predicted = chosen(task, answers.predictions)
    for row, given, true in zip(readout, predicted, answers.target_B.tolist(), strict=True):
        wrong = [
            max(row[place] if place in given else 1 - row[place], 0.0001)
            for place, value in enumerate(true)
            if (value > 0) != (place in given)
        ]
        error = round(max(wrong, default=0), 4)
        rows.append(RowAnswer(given, error, probabilities=_largest(row, {*given})))
    return rows


def _largest(row: Sequence[float], always: set[int]) -> list[tuple[int, float]]:
    """Index and probability of the labels worth showing, the likeliest first."""
    order = sorted(range(len(row)), key=lambda place: -row[place])
    shown = order[:MOST_PROBABILITIES]
    shown += [place for place in order[MOST_PROBABILITIES:] if place in always]
    return [(place, round(row[place], 4)) for place in shown]
