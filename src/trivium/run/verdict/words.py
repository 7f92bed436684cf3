"""A verdict's numbers as sentences."""

from collections.abc import Sequence

from trivium.run.verdict.bootstrap import LEVEL
from trivium.run.verdict.data import OVERALL, Outcome

CONCLUSIONS: dict[Outcome, str] = {
    "better": "more than noise",
    "worse": "more than noise",
    "noise": "not distinguishable from noise",
    "same": "no difference at all",
}


def outcome_of(difference: float, low: float, high: float) -> Outcome:
    if difference == low == high == 0:
        return "same"
    return "better" if low > 0 else "worse" if high < 0 else "noise"


def sentence(
    who: tuple[str, str],
    where: tuple[str, str],
    scores: tuple[float, float],
    bounds: tuple[float, float],
    *,
    is_sharing: bool,
) -> str:
    """who: the system and its baseline; where: task and metric; scores: before and after."""
    before, after = scores
    outcome = outcome_of(after - before, *bounds)
    said = _said(who, where[0], after - before, outcome, is_sharing)
    between = f"{LEVEL * 100:.0f} % interval {signed(bounds[0])} to {signed(bounds[1])}"
    shown = f"{where[1]} {100 * before:.1f} -> {100 * after:.1f}"
    return f"{said} ({shown}, {between}: {CONCLUSIONS[outcome]})"


def _said(who: tuple[str, str], task: str, gain: float, outcome: Outcome, is_sharing: bool) -> str:
    system, baseline = who
    on = task if task == OVERALL else f"on {task}"
    if outcome == "same":
        same = f"{system}: sharing changed nothing" if is_sharing else f"{system} equals {baseline}"
        return f"{same} {on}"
    if points(abs(gain)) == points(0):
        least = "less than 0.1 points"
        if is_sharing:
            return f"{system}: sharing changed {least} {on}"
        return f"{system} and {baseline} differ by {least} {on}"
    if is_sharing:
        return f"{system}: sharing {'gained' if gain > 0 else 'cost'} {points(abs(gain))} {on}"
    verb = "gained" if gain > 0 else "lost"
    return f"{system} {verb} {points(abs(gain))} {on} over {baseline}"


def points(value: float) -> str:
    return f"{100 * value:.1f} points"


def signed(value: float) -> str:
    """A difference in points; +0.0 and -0.0 are 0.0."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text


def summed_up(
    system: str,
    baselines: Sequence[str],
    found: tuple[Sequence[str], Sequence[str], Sequence[str]],
    ratios: tuple[float | None, float | None, float | None],
    *,
    is_sharing: bool,
) -> str:
    """found: all tasks, those better and those worse beyond noise; ratios: of parameters, seconds
    of training and of answering to the baselines'."""
    tasks, better, worse = found
    whom = " and ".join(baselines)
    if is_sharing and len(baselines) > 1:
        whom = f"{len(baselines)} single-task models"
    start = f"{system}, one model in place of {whom}" if is_sharing else f"{system}, against {whom}"
    fine = len(tasks) - len(worse)
    told = [
        f"{start}, is at least as good on {fine} of {len(tasks)} tasks, as far as these rows tell",
        f"beyond noise it is better on {_joined(better)} and worse on {_joined(worse)}",
    ]
    kinds = ("parameters", "training time", "time to answer")
    shares = [
        f"{100 * ratio:.0f} % of the {kind}"
        for ratio, kind in zip(ratios, kinds, strict=True)
        if ratio is not None
    ]
    return "; ".join([*told, f"at {_joined(shares)}"] if shares else told) + "."


def _joined(words: Sequence[str]) -> str:
    *first, last = words or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
