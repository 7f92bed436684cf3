"""A verdict's numbers as sentences."""

from collections.abc import Sequence

from trivium.run.verdict.bootstrap import LEVEL
from trivium.run.verdict.facts import OVERALL, Comparison, Outcome, Summary

CONCLUSIONS: dict[Outcome, str] = {
    "better": "more than noise",
    "worse": "more than noise",
    "noise": "not distinguishable from noise",
    "same": "no difference at all",
}
ONE_SEED = "more than the noise of these rows; one seed only"
"""In place of `more than noise` where a side has one seed, whose spread is in no interval."""
_ROUNDING = 1e-10
"""What lies nearer to 0 is an error of rounding, not a difference of scores."""
_MOST_DIGITS = 9
"""Of a difference in points; enough for all that is no error of rounding."""


def outcome_of(difference: float, low: float, high: float) -> Outcome:
    if max(abs(difference), abs(low), abs(high)) <= _ROUNDING:
        return "same"
    return "better" if low > _ROUNDING else "worse" if high < -_ROUNDING else "noise"


def conclusion(outcome: Outcome, seeds: int) -> str:
    """seeds: the fewest on either side."""
    return ONE_SEED if seeds == 1 and outcome in ("better", "worse") else CONCLUSIONS[outcome]


def sentence(comparison: Comparison) -> str:
    between = f"{LEVEL * 100:.0f} % interval {signed(comparison.low)} to {signed(comparison.high)}"
    shown = f"{comparison.metric} {100 * comparison.before:.1f} -> {100 * comparison.after:.1f}"
    words = conclusion(comparison.outcome, min(comparison.seeds))
    return f"{_said(comparison)} ({shown}, {between}: {words})"


def _said(comparison: Comparison) -> str:
    system, baseline, gain = comparison.system, comparison.baseline, comparison.difference
    on = comparison.task if comparison.task == OVERALL else f"on {comparison.task}"
    if comparison.outcome == "same":
        equal = f"{system} equals {baseline}"
        return f"{f'{system}: sharing changed nothing' if comparison.is_sharing else equal} {on}"
    if points(abs(gain)) == points(0):
        least = "less than 0.1 points"
        if comparison.is_sharing:
            return f"{system}: sharing changed {least} {on}"
        return f"{system} and {baseline} differ by {least} {on}"
    if comparison.is_sharing:
        return f"{system}: sharing {'gained' if gain > 0 else 'cost'} {points(abs(gain))} {on}"
    verb = "gained" if gain > 0 else "lost"
    return f"{system} {verb} {points(abs(gain))} {on} over {baseline}"


def points(value: float) -> str:
    return f"{100 * value:.1f} points"


def signed(value: float) -> str:
    """A difference in points. What is not 0 does not read 0.0: it gets the digits that it needs."""
    for digits in range(1, _MOST_DIGITS):
        text = f"{100 * value:+.{digits}f}"
        if float(text) != 0:
            return text
    return "0.0"


def summed_up(summary: Summary) -> str:
    """What comes of the comparisons with all baselines, and at what share of their costs."""
    whom = " and ".join(summary.baselines)
    if summary.is_sharing and len(summary.baselines) > 1:
        whom = f"{len(summary.baselines)} single-task models"
    role = "one model in place of" if summary.is_sharing else "against"
    fine = summary.tasks - len(summary.worse)
    noise = "the noise of these rows (one seed only)" if summary.seeds == 1 else "noise"
    parts = [
        f"{summary.system}, {role} {whom}, is not measurably worse on {fine} of {summary.tasks} "
        "tasks",
        f"beyond {noise} it is better on {_joined(summary.better)} and worse on "
        f"{_joined(summary.worse)}",
    ]
    if summary.undecided:
        parts.append(f"undecided on {_joined(summary.undecided)}")
    if summary.same:
        parts.append(f"no different on {_joined(summary.same)}")
    ratios = {
        "parameters": summary.parameters,
        "training time": summary.train_seconds,
        "time to answer": summary.answer_seconds,
    }
    shares = [f"{100 * r:.0f} % of the {kind}" for kind, r in ratios.items() if r is not None]
    return "; ".join([*parts, f"at {_joined(shares)}"] if shares else parts) + "."


def _joined(words: Sequence[str]) -> str:
    *first, last = words or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
