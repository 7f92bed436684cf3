"""What thresholds shall be good for, as people say it: `accuracy`, `f1`, `precision=0.9`."""

from dataclasses import dataclass

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks import Labelled, Multilabel

ONE = ("none", "accuracy", "f1", "macro_f1", "precision", "recall")
SEVERAL = ("none", "accuracy", "f1", "macro_f1", "micro_f1", "precision", "recall")
LEVELLED = ("precision", "recall")
OF_METRIC = {
    "accuracy": "accuracy",
    "f1": "f1",
    "macro_f1": "macro_f1",
    "micro_f1": "micro_f1",
    "exact_match": "accuracy",
    "one_off": "accuracy",
    "spearman": "accuracy",
}
"""A task's main metric -> what its thresholds are for where nobody says."""
MOST_LABELS = 300
"""Of which one applies, for which weights are sought: it takes a pass over all rows for each."""


@dataclass(frozen=True, slots=True)
class Aim:
    measure: str
    level: float | None = None
    """Of precision or recall."""
    label: int | None = None
    """Whose precision or recall, as its output, where one label applies."""

    def __str__(self) -> str:
        return self.measure if self.level is None else f"{self.measure}={self.level:g}"


def aim_of(task: Labelled, text: str | None, label: str | None) -> Aim:
    """What `--for` and `--label` say of a task; by default its main metric. Raises RecipeError."""
    if text is None:
        many = len(task.names) > MOST_LABELS and not isinstance(task, Multilabel)
        return Aim("none" if many else OF_METRIC[task.metric])
    kind, _, number = text.partition("=")
    known = SEVERAL if isinstance(task, Multilabel) else ONE
    if kind not in known:
        shown = ", ".join(f"{name}=0.9" if name in LEVELLED else name for name in known)
        raise RecipeError(
            f"--for {text}: is nothing that task {task.name!r} ({task.kind}) can be decided for"
            f"{did_you_mean(kind, known)}. Say one of {shown}."
        )
    level = _level(text, number) if kind in LEVELLED else None
    if kind not in LEVELLED and number:
        raise RecipeError(f"--for {text}: {kind} is as high as it gets, and takes no number.")
    if isinstance(task, Multilabel):
        return Aim(kind, level)
    if kind == "f1" and len(task.names) != 2:
        raise RecipeError(
            f"--for f1: is that of the second of two labels, but task {task.name!r} has "
            f"{len(task.names)}; say macro_f1."
        )
    if kind != "none" and len(task.names) > MOST_LABELS:
        raise RecipeError(
            f"--for {text}: task {task.name!r} has {len(task.names):,} labels, and thresholds are "
            f"sought for {MOST_LABELS} at most; say --for none."
        )
    return Aim(kind, level, _label(task, text, label) if kind in LEVELLED else None)


def _level(text: str, number: str) -> float:
    try:
        level = float(number)
    except ValueError:
        level = 0.0
    if not 0 < level <= 1:
        raise RecipeError(f"--for {text}: wants a number above 0, up to 1, as in precision=0.9.")
    return level


def _label(task: Labelled, text: str, label: str | None) -> int:
    names = task.names
    if label is None and len(names) == 2:
        return 1
    if label is None:
        raise RecipeError(
            f"--for {text}: task {task.name!r} has {len(names)} labels; say whose, by --label."
        )
    if label not in names:
        raise RecipeError(
            f"--label {label}: task {task.name!r} has no such label{did_you_mean(label, names)}."
        )
    return names.index(label)
