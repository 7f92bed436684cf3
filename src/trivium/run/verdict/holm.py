"""Several tests at once (Holm 1979, "A simple sequentially rejective multiple test procedure").

A family is a system's tasks, each against its baseline: what is said of the system as a whole, that
it is better here and worse there, is wrong anywhere in at most 5 of 100 verdicts.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trivium.run.verdict.bootstrap import LEVEL, Array
from trivium.run.verdict.facts import OVERALL, Comparison
from trivium.run.verdict.sentences import ROUNDING


def p_value(difference_M: Array) -> float:
    """Two-sided, of a percentile bootstrap (Davison and Hinkley 1997, equation 4.11, of both
    sides): how many resamples lie on the other side of 0, or on it.

    It is never 0, since M resamples cannot tell what is rarer than one of them.
    """
    beyond = min((difference_M <= ROUNDING).sum(), (difference_M >= -ROUNDING).sum())
    return float(min(1.0, 2 * (1 + beyond) / (1 + len(difference_M))))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: the k-th smallest of m times m - k + 1, and no
    less than those before it."""
    p_T = np.asarray(p_values, dtype=np.float64)
    order_T = np.argsort(p_T, kind="stable")
    stepped_T = np.maximum.accumulate(p_T[order_T] * np.arange(len(p_T), 0, -1))
    found_T = np.empty_like(p_T)
    found_T[order_T] = np.minimum(stepped_T, 1.0)
    return [float(p) for p in found_T]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """A system's comparisons, its tasks as one family; overall is one question and stays as it is.

    What is beyond noise afterwards was so by its own interval, too.
    """
    family = [one for one in comparisons if one.task != OVERALL]
    found = dict(zip((c.task for c in family), adjusted([c.p for c in family]), strict=True))
    return [
        _with(one, len(family), found[one.task]) if one.task in found else one
        for one in comparisons
    ]


def fewest_resamples(tests: int) -> int:
    """Below this nothing can be beyond noise after the correction: the smallest p-value that there
    is, 2 / (1 + M), times the number of tests is above 1 - LEVEL."""
    return round(2 * tests / (1 - LEVEL)) - 1


def correction_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """What was corrected, and where resamples are too few for it."""
    families = {c.system: c.tests for c in comparisons if c.tests > 1}
    if not families:
        return []
    chance = f"{100 * (1 - LEVEL):.0f} %"
    over = ", ".join(f"the {tests} tasks of {name}" for name, tests in families.items())
    notes = [
        f"Holm's correction (1979, step-down) over {over}: that any of a system's tasks is called "
        f"better or worse where there is no difference has a chance of {chance} at most. "
        "Intervals are not corrected; p is of the paired bootstrap."
    ]
    few = [c for c in comparisons if c.resamples < fewest_resamples(c.tests)]
    if few:
        wanted = max(fewest_resamples(c.tests) for c in few)
        names = ", ".join(dict.fromkeys(c.task for c in few))
        notes.append(
            f"{names}: of {min(c.resamples for c in few):,} resamples nothing can be beyond noise "
            f"after the correction; it takes {wanted:,} (--resamples)."
        )
    return notes


def _with(one: Comparison, tests: int, p: float) -> Comparison:
    is_lost = tests > 1 and p > 1 - LEVEL and one.outcome in ("better", "worse")
    after = "noise" if is_lost else one.outcome
    return replace(one, tests=tests, adjusted_p=p, corrected=after)
