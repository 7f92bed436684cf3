"""A verdict for people: on a screen, and as a file."""

import json
from dataclasses import dataclass

from rich.console import Console

from trivium.run.screen.console import note, say
from trivium.run.screen.grid import Grid, markdown_table, print_grid
from trivium.run.verdict.facts import Comparison, Cost, Group, TaskScore, Verdict
from trivium.run.verdict.sentences import signed

NOTHING = "–"
MARKS = {"better": "green", "worse": "red"}


def print_verdict(verdict: Verdict, console: Console) -> None:
    for table in tables_of(verdict):
        grid = Grid(table.title)
        for place, name in enumerate(table.head):
            grid.add_column(name, justify="left" if place < table.words else "right")
        for cells, style in zip(table.cells, table.styles, strict=True):
            grid.add_row(*cells, style=style)
        print_grid(grid, console)
    for line in lines_of(verdict):
        say(console, line)
    for text in verdict.notes:
        note(console, text)


def as_markdown(verdict: Verdict) -> str:
    parts = ["# Verdict", "\n".join(f"- {line}" for line in lines_of(verdict))]
    for table in tables_of(verdict):
        lines = markdown_table(table.head, table.cells, range(table.words))
        parts += [f"## {table.title}", lines]
    runs = [f"- **{group.name}**: {_runs(group)}" for group in verdict.groups]
    parts += ["## Runs", "\n".join(runs)]
    parts += ["## Notes", "\n".join(f"- {note}" for note in verdict.notes)] if verdict.notes else []
    return "\n\n".join(parts) + "\n"


def as_json(verdict: Verdict) -> str:
    return json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def lines_of(verdict: Verdict) -> list[str]:
    """Every comparison in a sentence, and what comes of them."""
    return [c.sentence for c in verdict.comparisons] + [s.sentence for s in verdict.summaries]


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    head: list[str]
    cells: list[list[str]]
    words: int
    """Columns of words, on the left."""
    styles: list[str]
    """Of each row, on a screen."""


def tables_of(verdict: Verdict) -> list[_Table]:
    return [_scores(verdict), _differences(verdict), _costs(verdict)]


def _scores(verdict: Verdict) -> _Table:
    tasks = list(
        dict.fromkeys((n, s.metric) for group in verdict.groups for n, s in group.scores.items())
    )
    head = ["system", "seeds", *(f"{name} {metric}" for name, metric in tasks), "overall"]
    cells = [
        [
            group.name,
            str(len(group.folders)),
            *(_score(group.scores.get(name)) for name, _ in tasks),
            _score(group.overall if len(group.scores) > 1 else None),
        ]
        for group in verdict.groups
    ]
    return _Table(f"Scores on {verdict.split}, in points", head, cells, 1, [""] * len(cells))


def _differences(verdict: Verdict) -> _Table:
    bounds = f"{verdict.level * 100:.0f} % interval"
    head = ["system", "baseline", "task", "difference", bounds, "by seed", "rows"]
    cells = [
        [
            c.system,
            c.baseline,
            c.task,
            signed(c.difference),
            f"{signed(c.low)} to {signed(c.high)}",
            _by_seed(c),
            f"{c.rows:,}",
        ]
        for c in verdict.comparisons
    ]
    styles = [MARKS.get(c.outcome, "") for c in verdict.comparisons]
    return _Table("Differences, in points", head, cells, 3, styles)


def _by_seed(comparison: Comparison) -> str:
    parts = [f"{seed}: {signed(value)}" for seed, value in comparison.by_seed.items()]
    return ", ".join(parts) or NOTHING


def _costs(verdict: Verdict) -> _Table:
    timed = next((cost.timed_rows for cost in verdict.costs if cost.timed_rows), None)
    head = ["system", "training s", "peak GiB", "parameters", "on disk MiB"]
    if timed:
        head += ["answers rows/s", f"s for {timed} rows of each task", "held MiB"]
    cells = [_cost(cost)[: len(head)] for cost in verdict.costs]
    return _Table("Costs", head, cells, 1, [""] * len(cells))


def _cost(cost: Cost) -> list[str]:
    return [
        cost.name,
        _number(cost.train_seconds),
        _number(cost.peak_bytes, 2**30, 2),
        _number(cost.parameters),
        _number(cost.disk_bytes, 2**20, 1),
        _number(cost.rows_per_s),
        _number(cost.answer_seconds, 1, 2),
        _number(cost.held_bytes, 2**20, 1),
    ]


def _number(value: float | None, unit: int = 1, digits: int = 0) -> str:
    return NOTHING if value is None else f"{value / unit:,.{digits}f}"


def _score(score: TaskScore | None) -> str:
    if score is None:
        return NOTHING
    return f"{100 * score.mean:.1f}" + (f" ± {100 * score.sd:.1f}" if score.sd is not None else "")


def _runs(group: Group) -> str:
    return ", ".join(
        f"`{folder}`" + ("" if seed is None else f" (seed {seed})")
        for folder, seed in zip(group.folders, group.seeds, strict=True)
    )
