"""The figures before and after, and cross-fitted."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from trivium.answering.decide import Decide, Decided
from trivium.parts.tasks import Labelled
from trivium.run.deciding.abstaining import coverage
from trivium.run.deciding.aims import Aim
from trivium.run.deciding.folds import FOLDS, folds_of
from trivium.run.deciding.found import Found, Wanted, as_choices, cost_of, find, find_by_folds
from trivium.run.deciding.temperature import bins, calibration_error, likelihood
from trivium.run.folder.decisions import Figures, Side
from trivium.run.rows.splits import Split

FEWEST_ANSWERED = 30
"""Rows from which on it can be believed that so many of the answers are right."""


def judge(
    task: Labelled, readout_BK: Tensor, split: Split, wanted: Wanted, on: str
) -> tuple[Found, Figures]:
    """What is best decided by on a split's rows, and what that changes."""
    targets = [example.target for example in split.examples if example.target is not None]
    target_B = task.targets(targets)
    found = find(task, readout_BK, target_B, wanted)
    before = task.deciding(Decide()).decided(readout_BK)
    after = task.deciding(found.decide).decided(readout_BK)
    fold_B = folds_of(split.examples)
    enough = len(np.unique(fold_B)) == FOLDS
    notes = list(found.notes)
    if not enough:
        notes.append(
            f"{len(targets)} rows are too few to deal into {FOLDS} parts: not cross-fitted"
        )
    answered = int(after.answered_B.sum())
    if wanted.answer_where is not None and answered < FEWEST_ANSWERED:
        notes.append(f"only {answered} rows are answered, too few to tell how many are right")
    fitted = find_by_folds(task, readout_BK, target_B, wanted, fold_B) if enough else None
    figures = Figures(
        on=on,
        rows=len(targets),
        aim="costs" if wanted.costs else str(wanted.aim),
        metric=task.metric,
        before=_side(task, before, target_B, wanted, abstains=False),
        after=_side(task, after, target_B, wanted),
        crossfitted=_side(task, fitted, target_B, wanted) if fitted is not None else None,
        folds=FOLDS if enough else 0,
        answer_where=wanted.answer_where,
        decide=found.decide.model_dump(mode="json", exclude_defaults=True),
        notes=notes,
    )
    return found, figures


def _side(
    task: Labelled, decided: Decided, target_B: Tensor, wanted: Wanted, *, abstains: bool = True
) -> Side:
    log_NK, label_N = as_choices(task, decided.told_BK, target_B)
    sure_N, said_N = np.exp(log_NK.max(axis=1)), log_NK.argmax(axis=1)
    of_bins = bins(sure_N, said_N == label_N)
    right_B = task.right(decided, target_B).numpy()
    answered_B = decided.answered_B
    told = abstains and wanted.answer_where is not None
    is_any = bool(answered_B.any())
    return Side(
        scores=task.scores_of(decided, target_B),
        nll=likelihood(np.exp(log_NK), label_N),
        ece=calibration_error(of_bins),
        cost=cost_of(task, decided, target_B, wanted.costs, task.names) if wanted.costs else None,
        answered=float(answered_B.mean()) if told else None,
        right=float(right_B[answered_B].mean()) if told and is_any else None,
        reliability=[[sure, right, rows] for sure, right, rows in of_bins],
        coverage=coverage(decided.confidence_B, right_B),
    )


def judge_unless_worse(
    task: Labelled, readout_BK: Tensor, split: Split, wanted: Wanted, on: str
) -> tuple[Found, Figures]:
    """As `judge`; but thresholds that are no better on rows that they were not found on are left
    out, or by which the task's own metric falls there: so it is done where nobody said what they
    shall be for. With too few rows to tell, they are left out, too."""
    found, figures = judge(task, readout_BK, split, wanted, on)
    if figures.crossfitted and gains(figures) and figures.metric == _sought(figures):
        return found, figures
    left, plain = judge(task, readout_BK, split, replace(wanted, aim=Aim("none")), on)
    if not (why := _why_not(figures, plain)):
        return found, figures
    line = f"thresholds are left as they are: {why}"
    return left, plain.model_copy(update={"notes": [*plain.notes, line]})


def _why_not(of: Figures, plain: Figures) -> str:
    """Why thresholds that nobody asked for are left out, in words; or nothing. plain: without."""
    if of.crossfitted is None or plain.crossfitted is None:
        is_same = of.decide == plain.decide
        return "" if is_same else "so few rows cannot tell whether others are better"
    # Folds have a temperature each, by which a correlation changes whatever is answered.
    score, was = (of.metric, plain.crossfitted) if gains(of) else (_sought(of), of.before)
    before, after = was.scores[score], of.crossfitted.scores[score]
    if gains(of) and after >= before:
        return ""
    return (
        f"others would bring {score} from {before:.4f} to {after:.4f} on rows that they were not "
        "found on"
    )


def gains(of: Figures) -> bool:
    """Whether thresholds, weights or costs make answers better, in what they were sought for, on
    rows that they were not found on; or nothing was sought, or can be told."""
    if of.crossfitted is None:
        return True
    if of.before.cost is not None and of.crossfitted.cost is not None:
        return of.crossfitted.cost <= of.before.cost
    score = _sought(of)
    if score not in of.before.scores or not (
        of.decide.get("weights") or of.decide.get("thresholds")
    ):
        return True
    return of.crossfitted.scores[score] > of.before.scores[score]


def _sought(of: Figures) -> str:
    """The score that the aim makes the most of; of precision and recall there is none."""
    if "exact_match" in of.before.scores:
        return {"accuracy": "exact_match", "f1": "macro_f1"}.get(of.aim, of.aim)
    return of.aim
