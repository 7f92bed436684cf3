"""What a card tells of calibration: how answers are decided upon, and what that changed, where."""

from collections.abc import Iterator, Mapping

from trivium.answering.decide import Decide
from trivium.run.card.facts import Facts, shown
from trivium.run.card.markup import code, plain
from trivium.run.deciding.told import lines_of
from trivium.run.deciding.weights import threshold_of
from trivium.run.folder.decisions import Figures
from trivium.run.screen.grid import markdown_table

MOST_LABELS = 12
"""Whose thresholds or weights are named."""


def calibration(facts: Facts) -> list[str]:
    """Lines of Markdown; none of a model that answers as it was trained."""
    if not facts.decisions:
        return []
    lines = [
        "## Calibration",
        "",
        "`trivium calibrate` found how answers are best decided upon, without a change of weights. "
        "It stands in `trivium.json` and is used by all that Trivium answers with; the scores "
        "above are those of the model as it was trained.",
        "",
    ]
    told = {name: facts.figures[name] for name in facts.decisions if name in facts.figures}
    for name, decide in facts.decisions.items():
        lines.append(f"- {code(name)}: {_sentence(decide, told.get(name))}")
    rows = [
        [code(name) if place == 0 else "", title, *values]
        for name, of in told.items()
        for place, (title, values) in enumerate(lines_of(of))
    ]
    if rows:
        titles = ("task", "", "before", "after", "cross-fitted")
        lines += ["", markdown_table(titles, rows, left=(0, 1)), "", _READ]
    notes = [f"- {code(name)}: {plain(note)}." for name, of in told.items() for note in of.notes]
    return [*lines, "", *notes, *([""] if notes else [])]


_READ = (
    "*After* is on the very rows that all this was chosen on, and flatters; *cross-fitted*, each "
    "fifth of them is decided upon by what was found on the others: that is what to expect on new "
    "rows of this kind. Scores count every row, as if it were answered."
)


def uncalibrated(facts: Facts, labelled: list[str]) -> Iterator[str]:
    """Limits of probabilities. labelled: the tasks that have such."""
    left = [name for name in labelled if name not in facts.decisions]
    if left and len(left) == len(labelled):
        yield "Its probabilities are as training left them: they were not calibrated."
    elif left:
        names = ", ".join(map(code, left))
        yield f"Probabilities of {names} are as training left them: they were not calibrated."
    if len(left) < len(labelled):
        yield (
            "What calibration found holds for rows like those that it was found on, and for labels "
            "as frequent as there."
        )


def _sentence(decide: Decide, of: Figures | None) -> str:
    """How a task's answers are decided upon, found on what."""
    parts = [f"temperature {decide.temperature:.4g}", *_thresholds(decide)]
    if decide.prior:
        where = f" ({code(shown(of.shares_from))})" if of is not None and of.shares_from else ""
        parts.append(f"shares of labels as estimated among other rows{where}")
    if decide.costs:
        parts.append("the answer is the one that costs least, by the probabilities")
    if decide.abstain is not None:
        parts.append(f"no answer below a confidence of {decide.abstain:.4g}{_remaining(of)}")
    if of is None:
        return "; ".join(parts) + ". Its figures are not kept here."
    aim = "" if of.aim in ("none", "costs") else f", for {code(of.aim)}"
    on = "dev" if of.on == "dev" else code(shown(of.on))
    return f"found on {of.rows:,.0f} rows of {on}{aim}: " + "; ".join(parts) + "."


def _thresholds(decide: Decide) -> Iterator[str]:
    names = list(decide.weights)
    if (threshold := threshold_of(decide.weights, names)) is not None:
        yield f"{code(names[1])} from a probability of {threshold:.4g} on"
    elif decide.weights:
        yield f"each label's probability counts by a weight, {_some(decide.weights)}"
    if decide.thresholds:
        yield f"labels from a probability of {_some(decide.thresholds)} on"


def _some(values: Mapping[str, float]) -> str:
    each = [f"{code(name)} {value:.4g}" for name, value in values.items()]
    more = len(each) - MOST_LABELS
    told = ", ".join(each[:MOST_LABELS])
    return told + (f" and {more:,} more, which `trivium.json` lists" if more > 0 else "")


def _remaining(of: Figures | None) -> str:
    """How many rows are answered still, by rows that the level was not found on where there are
    such."""
    side = of and (of.crossfitted or of.after)
    if not side or side.answered is None:
        return ""
    right = "" if side.right is None else f", of which {side.right:.1%} are right"
    return f" ({side.answered:.1%} of the rows remain answered{right})"
