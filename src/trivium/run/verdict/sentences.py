"""A verdict's numbers as sentences."""

from collections.abc import Sequence

from trivium.run.verdict.bootstrap import LEVEL
from trivium.run.verdict.facts import OVERALL, Comparison, OnePass, Outcome, Summary

CONCLUSIONS: dict[Outcome, str] = {
    "better": "more than noise",
    "worse": "more than noise",
    "noise": "not distinguishable from noise",
    "same": "no difference at all",
}
ONE_SEED = "more than the noise of these rows; one seed only"
"""In place of `more than noise` where a side has one seed, whose spread is in no interval."""
ROUNDING = 1e-10
"""What lies nearer to 0 is an error of rounding, not a difference of scores."""
TOO_FEW = "not distinguishable from noise, since only {rows}"
"""Where no interval tells anything, though it may leave out 0."""
FLATTERED = "nothing is told by rows that its weights were chosen on"
"""Where the higher score is of what was chosen by it, though its interval may leave out 0."""
LOST = "more than noise by itself, not after Holm's correction over {tests} tasks"
"""Of a difference that only its own interval shows."""
MILLION = 10**6
_MOST_DIGITS = 9
"""Of a difference in points; enough for all that is no error of rounding."""


def outcome_of(difference: float, low: float, high: float, least: float = 0.0) -> Outcome:
    """What the 95 % interval [low, high] of a difference says of it, uncorrected.

    least: the least p-value that the number of differing rows allows. Where that is above 5 %, an
    interval that leaves out 0 is only of too few rows to be as wide as it should be.
    """
    if max(abs(difference), abs(low), abs(high)) <= ROUNDING:
        return "same"
    if least > 1 - LEVEL:
        return "noise"
    return "better" if low > ROUNDING else "worse" if high < -ROUNDING else "noise"


def conclusion(comparison: Comparison) -> str:
    """What can be concluded, in a few words, after the correction for several tests."""
    outcome = comparison.outcome
    if outcome != comparison.corrected:
        return LOST.format(tests=comparison.tests)
    if outcome == "noise" and (comparison.low > ROUNDING or comparison.high < -ROUNDING):
        few = rows_differ(comparison.differing)
        return FLATTERED if comparison.is_flattered else TOO_FEW.format(rows=few)
    is_one = min(comparison.seeds) == 1
    return ONE_SEED if is_one and outcome in ("better", "worse") else CONCLUSIONS[outcome]


def rows_differ(count: int) -> str:
    return "1 row differs" if count == 1 else f"{count:,} rows differ"


def sentence(comparison: Comparison) -> str:
    """A comparison in a sentence, with its scores, interval and p-values."""
    between = f"{LEVEL * 100:.0f} % interval {signed(comparison.low)} to {signed(comparison.high)}"
    shown = f"{comparison.metric} {100 * comparison.before:.1f} -> {100 * comparison.after:.1f}"
    tested = f", {tested_words(comparison)}" if comparison.tests > 1 else ""
    return f"{_said(comparison)} ({shown}, {between}{tested}: {conclusion(comparison)})"


def tested_words(comparison: Comparison) -> str:
    """Raw and corrected, as in `p .004, .036 after Holm`."""
    return f"p {shown_p(comparison.p)}, {shown_p(comparison.adjusted_p)} after Holm"


def shown_p(value: float) -> str:
    """Three digits; what is less is no 0, since resamples are finite."""
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


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
    """A share of 1 in hundredths, as in `1.3 points`."""
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
    # By each interval alone: a correction makes fewer tasks worse, which is no reason for trust.
    fine = summary.tasks - len(summary.worse) - len(summary.worse_alone)
    held = ["one seed only"] if summary.seeds == 1 else []
    held += [f"Holm over {summary.tasks} tasks"] if summary.tasks > 1 else []
    noise = "the noise of these rows" if summary.seeds == 1 else "noise"
    noise += f" ({'; '.join(held)})" if held else ""
    parts = [
        f"{summary.system}, {role} {whom}, is not measurably worse on {fine} of {summary.tasks} "
        "tasks",
        f"beyond {noise} it is better on {_joined(summary.better)} and worse on "
        f"{_joined(summary.worse)}",
    ]
    alone = {"better": summary.better_alone, "worse": summary.worse_alone}
    if told := [f"{word} on {_joined(tasks)}" for word, tasks in alone.items() if tasks]:
        parts.append(f"by their own intervals only {_joined(told)}")
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


def saved(found: OnePass) -> str:
    """What one model saves where its heads answer the same texts in one pass."""
    count = len(found.tasks)
    parts = []
    if found.parameters and found.parameters_apart:
        ours, theirs = found.parameters / MILLION, found.parameters_apart / MILLION
        few = f"{found.parameters:,} in place of {found.parameters_apart:,}"
        many = f"{ours:.1f} in place of {theirs:.1f} million"
        parts.append(f"{few if ours < 1 else many} parameters")
    if found.disk_bytes and found.disk_bytes_apart:
        ours, theirs = found.disk_bytes / 2**20, found.disk_bytes_apart / 2**20
        parts.append(f"{ours:.1f} in place of {theirs:.1f} MiB on disk")
    if found.ms is not None and found.ms_apart:
        asked = f"all {count} tasks" if len(found.asked) == count else _joined(found.asked)
        parts.append(
            f"{found.ms:.2f} in place of {found.ms_apart:.2f} ms a text where {asked} are asked "
            f"about the same texts in one pass ({found.ms_apart / found.ms:.1f} times as fast)"
        )
    told = _joined(parts) if parts else "nothing is told of what it saves"
    return f"{found.system}, one model in place of {count} single-task models: {told}."


def _joined(words: Sequence[str]) -> str:
    *first, last = words or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
