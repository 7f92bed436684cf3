"""Whether two systems were asked the same, so that their answers can be compared row by row."""

from collections import Counter
from collections.abc import Sequence

from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled
from trivium.run.folder.predictions import Answers
from trivium.run.verdict.systems import System


def refuse_other_rows(systems: Sequence[System], task: str) -> None:
    """Raises RecipeError where a run was judged on other rows than the first system's first."""
    first_run, first = systems[0].runs[0], systems[0].answers[task][0]
    for system in systems:
        for run, answers in zip(system.runs, system.answers[task], strict=True):
            where = f"task {task!r}: {first_run.folder} and {run.folder}"
            if answers.task.metric != first.task.metric:
                raise RecipeError(
                    f"{where}: are judged by {first.task.metric} and by {answers.task.metric}, "
                    "which cannot be compared. Leave one of them out, or train it anew with the "
                    "same kind of task."
                )
            if (one := _is_of(first)) != (other := _is_of(answers)):
                raise RecipeError(
                    f"{where}: are judged by {first.task.metric} of {one} and of {other}, since "
                    "their `labels` are not the same in the same order. Leave one of them out, or "
                    "train it anew with the other's `labels`."
                )
            if answers.texts != first.texts or answers.labels != first.labels:
                raise RecipeError(
                    f"{where}: {_difference(first, answers, system.split)}, so their answers "
                    f"cannot be compared row by row. Train both with the same `{system.split}` "
                    f"file (and the same `rows` of it, labels and relabelling) for {task}, or "
                    "leave one of them out."
                )


def _is_of(answers: Answers) -> str:
    """Of which labels a metric that depends on their order is; no words of any other metric."""
    task = answers.task
    if not isinstance(task, Labelled):
        return ""
    if task.metric == "f1":
        return repr(task.names[1])
    if task.metric in _OF_ORDER:  # from the lowest up, or from the highest down
        return " < ".join(min(task.names, task.names[::-1]))
    return ""


_OF_ORDER = ("one_off", "spearman")
"""Metrics of labels that have an order, equal where all of it is turned round."""


def _difference(first: Answers, other: Answers, split: str) -> str:
    one, two = _rows(first), _rows(other)
    common = (one & two).total()
    of = f"their {len(first.lines):,} and {len(other.lines):,} {split} rows"
    if common == one.total() == two.total():
        return f"{of} are the same, but in another order"
    texts = (Counter(first.texts) & Counter(other.texts)).total()
    more = f", {texts:,} if labels are left aside" if texts > common else ""
    return f"of {of} {common:,} are in common{more}"


def _rows(answers: Answers) -> Counter[tuple[tuple[str, ...], str]]:
    return Counter(zip(answers.texts, answers.labels, strict=True))
