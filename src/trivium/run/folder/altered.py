"""Whether answers are still those that a run gave: no cell contradicts another one of its row, and
together they score what scores.json tells of."""

import torch
from torch import Tensor

from trivium.parts.tasks import Labelled, Multilabel, Regression, Task
from trivium.parts.tasks.base import CORRELATIONS
from trivium.run.folder.names import SCORES
from trivium.run.folder.scores import Metrics

PRINTED = 1.5e-6
"""Probabilities no further apart may have been equal: a unit of the last decimal that is printed,
and what fp32 rounds."""
PRINTED_SHARE = 1e-5
"""And scores, as a share of themselves: six digits of them are printed."""
SAME = 1e-6
"""Scores no further apart are the same: they are of the same answers, in float64."""
REMEDY = "The file was altered after the run; train the run again, or leave it out."


def contradiction(task: Task, readout_BK: Tensor, predicted_B: Tensor) -> tuple[int, str] | None:
    """The first row whose answer is not that of its readout, by more than rounding, and in words
    why; None where there is none.

    readout_BK: as printed; predicted_B: the file's answers as targets. What `trivium calibrate`
    found has no part in them: runs and ensembles write what they say without it.
    """
    if not len(readout_BK):
        return None
    if isinstance(task, Multilabel):
        return _of_several(task, readout_BK, predicted_B)
    if isinstance(task, Labelled):
        return _of_one(task, readout_BK, predicted_B)
    if isinstance(task, Regression):
        return _of_score(task, readout_BK, predicted_B)
    return None


def other_score(
    task: Task, readout_BK: Tensor, target_B: Tensor, told: Metrics, *, is_whole: bool
) -> str:
    """What of these answers is not as scores.json tells of it; "" where nothing is.

    Only a score that the file gives again as it was: the main one; or, where that is of ranks that
    printing may tie, the accuracy. is_whole: whether scores stand there to the bit.
    """
    name = task.metric
    if isinstance(task, Labelled):
        name = "accuracy" if name in CORRELATIONS else name
    elif not is_whole:
        return ""
    if name not in told or not len(target_B):
        return ""
    found, wanted = task.scores(readout_BK, target_B)[name], told[name]
    if abs(found - wanted) <= SAME:
        return ""
    return f"its {name} is {found:.6g}, but {SCORES} tells of {wanted:.6g}"


def _of_one(task: Labelled, readout_BK: Tensor, predicted_B: Tensor) -> tuple[int, str] | None:
    said_B = readout_BK.gather(1, predicted_B[:, None]).squeeze(1)
    most_B, best_B = readout_BK.max(dim=1)
    row = _first(most_B - said_B > PRINTED)
    if row is None:
        return None
    answer, best = task.names[int(predicted_B[row])], task.names[int(best_B[row])]
    return row, (
        f"answers {answer!r}, whose probability is {float(said_B[row]):.6g}, but {best!r} has "
        f"{float(most_B[row]):.6g}"
    )


def _of_several(
    task: Multilabel, readout_BK: Tensor, predicted_BK: Tensor
) -> tuple[int, str] | None:
    is_said_BK = predicted_BK > 0
    above_BK = readout_BK - task.threshold
    wrong_BK = torch.where(is_said_BK, above_BK < -PRINTED, above_BK > PRINTED)
    row = _first(wrong_BK.any(dim=1))
    if row is None:
        return None
    label = int(wrong_BK[row].nonzero()[0])
    is_said = bool(is_said_BK[row, label])
    return row, (
        f"{'answers' if is_said else 'does not answer'} {task.names[label]!r}, whose probability "
        f"of {float(readout_BK[row, label]):.6g} is {'' if is_said else 'not '}below the threshold "
        f"of {task.threshold:g}"
    )


def _of_score(task: Regression, readout_BK: Tensor, predicted_B: Tensor) -> tuple[int, str] | None:
    raw_B, said_B = readout_BK[:, 0].double(), predicted_B.double()
    clipped_B = raw_B.clamp(*task.range)
    row = _first((said_B - clipped_B).abs() > PRINTED_SHARE * clipped_B.abs() + 1e-37)
    if row is None:
        return None
    return row, (
        f"answers {float(said_B[row]):.6g}, but the score before it was clipped is "
        f"{float(raw_B[row]):.6g}"
    )


def _first(is_wrong_B: Tensor) -> int | None:
    rows = is_wrong_B.nonzero().flatten()
    return int(rows[0]) if len(rows) else None
