"""What a report reached with the settings of a search's trials, beside what they reached here."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.apps.tune.rows import Overview, Row
from trivium.parts.tasks import Task
from trivium.recipe.budget import Reported
from trivium.recipe.search import Point, label
from trivium.run.folder.objectives import Objective
from trivium.run.screen.grid import markdown_table


def beside(
    view: Overview, reported: Reported | None, own: Point, tasks: Mapping[str, Task]
) -> list[str]:
    """Parts of a page in Markdown, the report's numbers in its own order; none without numbers.

    They are in the task's main metric, whatever the search is after. own: the recipe's values of
    what is searched.
    """
    aims = [o for o in view.objectives if not o.is_cost]
    if reported is None or len(aims) != 1 or (name := aims[0].task) is None:
        return []
    metric = tasks[name].metric
    told = [({}, reported.scores), *((trial.set, trial.scores) for trial in reported.trials)]
    rows = []
    for changes, scores in told:
        score = scores.get(name)
        if score is None:
            continue
        words = ", ".join(f"{view.names.get(path, path)} {label(v)}" for path, v in changes.items())
        trial = _trial(view.rows, {**own, **changes})
        ours = _score(trial, aims[0], view, metric) if trial else "–"
        cells = [words or "as the recipe has it", f"{score:.3f}", ours]
        rows.append([*cells, str(trial.number) if trial else "–"])
    if not rows:
        return []
    heads = ["settings", f"{name} {metric} reported", "here", "trial"]
    note = f"{reported.source}; its encoder: {reported.encoder}."
    return ["## Reported", note, markdown_table(heads, rows, left=(0,))]


def _score(trial: Row, aim: Objective, view: Overview, metric: str) -> str:
    """A trial's score in the metric, which may be another than the objective's."""
    if aim.metric == metric:
        return view.shown_values(trial)[view.objectives.index(aim)]
    score = trial.scores.get(f"{aim.task}.{metric}")
    return "–" if score is None else aim.shown(score)


def _trial(rows: Sequence[Row], wanted: Mapping[str, Any]) -> Row | None:
    """The trial with these settings; with several, one that is finished."""
    asked = {path: label(value) for path, value in wanted.items()}
    found = [r for r in rows if {p: label(v) for p, v in r.settings.items()} == asked]
    return next((row for row in found if row.state == "done"), found[0] if found else None)
