"""How many rows two systems answer differently, and what so many can show at most.

A bootstrap draws from the rows that there are: of one row that one side lost every resample is the
same, and its interval has no width. An exact test knows better. Where the systems are no different,
either could have given either's answers to a row, so that of n rows that differ all 2^n ways of
exchanging them were as likely (the sign test: Dixon and Mood 1946, "The statistical sign test"; for
any metric Yeh 2000, "More accurate tests for the statistical significance of result differences").
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trivium.parts.tasks import Labelled
from trivium.run.folder.predictions import Answers
from trivium.run.verdict.bootstrap import LEVEL, Array

_NEAR = 1e-12
"""Share of a number; means of the same numbers over other numbers of seeds are no further apart."""


def least_p(rows: int) -> float:
    """The least two-sided p-value that so many differing rows allow: that of an exact sign test
    where all of them are for the same side."""
    return min(1.0, 2 * 0.5**rows)


FEWEST = next(rows for rows in range(100) if least_p(rows) <= 1 - LEVEL)
"""Of fewer rows that differ nothing can be beyond noise."""


def differing_rows(pairs: Iterable[tuple[Sequence[Answers], Sequence[Answers]]]) -> int:
    """Rows of which the metric sees two sides differ, in the mean over each side's seeds.

    pairs: by task the answers of both sides, a file for each seed. Tasks that are asked about the
    same texts share their rows, as they do in the bootstrap.
    """
    by_texts: dict[tuple[tuple[str, ...], ...], NDArray[np.bool_]] = {}
    for ours, theirs in pairs:
        names = _names([*ours, *theirs])
        one_RC, other_RC = (
            np.mean([_seen(a, names) for a in side], axis=0) for side in (ours, theirs)
        )
        is_near_RC = np.isclose(one_RC, other_RC, rtol=_NEAR, atol=0)
        differs_R = ~is_near_RC.all(axis=1)
        texts = tuple(ours[0].texts)
        by_texts[texts] = differs_R | by_texts.get(texts, False)
    return sum(int(differs_R.sum()) for differs_R in by_texts.values())


def _names(answers: Sequence[Answers]) -> list[str]:
    """Of all labels, each once: what two sides call alike need not be the same output of both."""
    tasks = [each.task for each in answers]
    return list(dict.fromkeys(n for t in tasks if isinstance(t, Labelled) for n in t.names))


def _seen(answers: Answers, names: Sequence[str]) -> Array:
    """What the task's metric sees of each row: seen_RC; by label, in the order of `names`."""
    task, readout_BK = answers.task, answers.readout_BK
    if not isinstance(task, Labelled):
        return np.asarray(readout_BK.double().numpy())
    said = task.settled(readout_BK)
    if task.metric in _OF_ROWS:
        return np.asarray(_OF_ROWS[task.metric](said, answers.target_B).double().numpy()[:, None])
    seen_BK = readout_BK
    if task.metric in _OF_ANSWERS:
        seen_BK = F.one_hot(said, task.outputs) if said.dim() == 1 else said
    seen_RC = np.zeros((len(seen_BK), len(names)))
    seen_RC[:, [names.index(name) for name in task.names]] = seen_BK.double().numpy()
    return seen_RC


_OF_ROWS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": lambda said_B, target_B: said_B == target_B,
    "exact_match": lambda said_BK, target_BK: (said_BK == target_BK).all(dim=1),
    "one_off": lambda said_B, target_B: (said_B - target_B).abs() <= 1,
}
"""Metrics that are means over rows. said: the answers as targets."""
_OF_ANSWERS = ("f1", "macro_f1", "micro_f1")
"""Metrics of the answers; all others are of readouts."""
