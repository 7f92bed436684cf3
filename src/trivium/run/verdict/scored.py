"""The table of scores: a line per system; or, of many tasks, a line per task."""

from collections.abc import Sequence

from trivium.run.verdict.facts import OVERALL, Group, TaskScore, Verdict
from trivium.run.verdict.narrow import Table

NOTHING = "–"
MOST_ACROSS = 4
"""Tasks that stand side by side; more stand one below the other."""


def scores_of(verdict: Verdict) -> Table:
    tasks = {n: s.metric for group in verdict.groups for n, s in group.scores.items()}
    title = f"Scores on {verdict.split}, in points"
    return _tall(verdict, tasks, title) if len(tasks) > MOST_ACROSS else _flat(verdict, title)


def _flat(verdict: Verdict, title: str) -> Table:
    """Every system with all its tasks."""
    tasks = list(
        dict.fromkeys((n, s.metric) for group in verdict.groups for n, s in group.scores.items())
    )
    head = ["system", "seeds", *(f"{name} {metric}" for name, metric in tasks), "overall"]
    cells = [
        [
            group.name,
            str(len(group.folders)),
            *(score(group.scores.get(name)) for name, _ in tasks),
            score(group.overall if len(group.scores) > 1 else None),
        ]
        for group in verdict.groups
    ]
    return Table(title, head, cells, 1, [""] * len(cells), ["seeds"])


def _tall(verdict: Verdict, tasks: dict[str, str], title: str) -> Table:
    """Every task with its baseline, and with all systems that stand against one on any task.

    A system's score stands once: in its own column on tasks that no other has, and as the baseline
    where others stand against it.
    """
    baselines = {name: _baseline(verdict, name) for name in tasks}
    standing = {c.system for c in verdict.comparisons}
    others = [group for group in verdict.groups if group.name in standing]
    cells = [
        [name, metric, *_line(verdict, baselines[name], others, name)]
        for name, metric in tasks.items()
    ]
    if any(group.overall for group in others):
        overall = [score(group.overall if len(group.scores) > 1 else None) for group in others]
        cells.append([OVERALL, "leaderboard mean", NOTHING, *overall])
    head = ["task", "metric", "baseline", *(group.name for group in others)]
    return Table(title, head, cells, 2, [""] * len(cells), ["metric"])


def _baseline(verdict: Verdict, task: str) -> Group:
    """What others stand against on a task; the only system where there are no others."""
    names = [c.baseline for c in verdict.comparisons if c.task == task]
    groups = [group for group in verdict.groups if task in group.scores]
    return next((group for group in groups if group.name in names), groups[0])


def _line(verdict: Verdict, baseline: Group, others: Sequence[Group], task: str) -> list[str]:
    """Of a task: its baseline's score, and those of the others."""
    scores = [score(group.scores.get(task)) for group in others]
    if baseline not in others:
        return [score(baseline.scores[task]), *scores]
    if all(c.task != task for c in verdict.comparisons):
        return [NOTHING, *scores]
    scores[others.index(baseline)] = NOTHING
    return [score(baseline.scores[task]), *scores]


def score(found: TaskScore | None) -> str:
    if found is None:
        return NOTHING
    spread = f" ± {100 * found.sd:.1f}" if found.sd is not None else ""
    return f"{100 * found.mean:.1f}{spread}"
