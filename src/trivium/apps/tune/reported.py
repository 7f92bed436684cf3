"""What a report reached with the settings of a search's trials, beside what they reached here."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.apps.tune.rows import Overview, Row
from trivium.recipe.budget import Reported
from trivium.recipe.search import Point, label
from trivium.run.screen.grid import markdown_table


def beside(view: Overview, reported: Reported | None, own: Point) -> list[str]:
    """Parts of a page in Markdown, the report's numbers in its own order; none without numbers.

    own: the recipe's values of what is searched.
    """
    aims = [o for o in view.objectives if not o.is_cost]
    if reported is None or len(aims) != 1:
        return []
    objective = aims[0]
    told = [({}, reported.scores), *((trial.set, trial.scores) for trial in reported.trials)]
    rows = []
    for changes, scores in told:
        score = scores.get(objective.task or "")
        if score is None:
            continue
        words = ", ".join(f"{view.names.get(path, path)} {label(v)}" for path, v in changes.items())
        trial = _trial(view.rows, {**own, **changes})
        ours = view.shown_values(trial)[view.objectives.index(objective)] if trial else "–"
        cells = [words or "as the recipe has it", f"{score:.3f}", ours]
        rows.append([*cells, str(trial.number) if trial else "–"])
    if not rows:
        return []
    heads = ["settings", f"{objective.title} reported", "here", "trial"]
    note = f"{reported.source}; its encoder: {reported.encoder}."
    return ["## Reported", note, markdown_table(heads, rows, left=(0,))]


def _trial(rows: Sequence[Row], wanted: Mapping[str, Any]) -> Row | None:
    """The trial with these settings; with several, one that is finished."""
    asked = {path: label(value) for path, value in wanted.items()}
    found = [r for r in rows if {p: label(v) for p, v in r.settings.items()} == asked]
    return next((row for row in found if row.state == "done"), found[0] if found else None)
