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
    out: so it is done where nobody said what they shall be for."""
    found, figures = judge(task, readout_BK, split, wanted, on)
    if gains(figures):
        return found, figures
    found, plain = judge(task, readout_BK, split, replace(wanted, aim=Aim("none")), on)
    assert figures.crossfitted is not None, "else nothing was compared"
    score = _sought(figures)
    was, now = (side.scores[score] for side in (figures.before, figures.crossfitted))
    line = (
        f"thresholds are left as they are: others would bring {score} from {was:.4f} to {now:.4f} "
        "on rows that they were not found on"
    )
    return found, plain.model_copy(update={"notes": [*plain.notes, line]})


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
