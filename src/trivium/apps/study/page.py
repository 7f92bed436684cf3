"""A study's table for people: in Markdown and on a screen."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from trivium.apps.study.runs import TABLE, Plan
from trivium.apps.study.table import SPLIT
from trivium.run.atomic import write_text
from trivium.run.scoreboard import MINILM, print_grid

SHOWN_DIFFERENCES = 20
SHOWN_VALUE = 100
NOTHING = "–"


def write_table(plan: Plan, table: Mapping[str, Any]) -> None:
    """`table.json` and `table.md`, each replaced as a whole."""
    text = json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(plan.out / f"{TABLE}.json", text + "\n")
    write_text(plan.out / f"{TABLE}.md", as_markdown(table))


def as_markdown(table: Mapping[str, Any]) -> str:
    columns, rows = _columns(table), table["recipes"]
    heads = ["recipe", "seeds", *(column.title for column in columns)]
    marks = [":--", "--:", *("--:" for _ in columns)]
    cells = [
        [row["name"], _count(row, table), *texts] for row, texts in _cells(table, columns, _bold)
    ]
    lines = [f"| {' | '.join(map(_cell, line))} |" for line in (heads, marks, *cells)]
    parts = ["# Study", _header(table), "\n".join(lines), *_notes(table)]
    parts += ["## What each row is", "\n".join(_described(table, row) for row in rows)]
    if unfinished := _unfinished(table):
        told = "\n".join(f"- {line}" for line in unfinished)
        parts += ["## Not finished", f"{told}\n\nGo on with: `{table['command']}`"]
    return "\n\n".join(parts) + "\n"


def print_table(table: Mapping[str, Any], console: Console) -> None:
    """Scores and costs as two tables, since one would be wider than most screens."""
    columns = _columns(table)
    rows = _cells(table, columns, lambda text: f"[bold green]{text}[/]")
    for title, wanted in (("Scores", True), ("Costs", False)):
        chosen = [index for index, column in enumerate(columns) if column.is_score is wanted]
        grid = Grid(title=title, title_justify="left")
        grid.add_column("recipe", style="bold", overflow="fold")
        for head in ("seeds", *(columns[index].title for index in chosen)):
            grid.add_column(head, justify="right", overflow="fold")
        for row, texts in rows:
            grid.add_row(escape(row["name"]), _count(row, table), *(texts[i] for i in chosen))
        print_grid(grid, console)
    for line in (
        _header(table),
        *_notes(table),
        *map("not finished: {}".format, _unfinished(table)),
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    find: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """A row's summary; empty if it has none."""
    show: Callable[[float], str]
    best: Callable[[Sequence[float]], float] | None = max
    is_score: bool = False
    """Shown with its standard deviation."""


def _columns(table: Mapping[str, Any]) -> list[Column]:
    rows = table["recipes"]
    kinds = {(name, told["metric"]): None for row in rows for name, told in row["tasks"].items()}
    scores = [Column(f"{n} {m}", partial(_of_task, n, m), _score, is_score=True) for n, m in kinds]
    # A mean over other tasks is no better or worse.
    best = max if len({tuple(sorted(row["tasks"])) for row in rows}) == 1 else None
    means = [
        Column(f"overall {kind}", partial(_part, "overall", kind), _score, best, is_score=True)
        for kind in ("leaderboard", "mean")
    ]
    return [
        *scores,
        *means,
        Column("seconds", partial(_part, "cost", "seconds"), _few_digits, min),
        Column("tokens/s", partial(_part, "cost", "tokens_per_s"), _whole),
        Column("trained parameters", partial(_part, "cost", "trained_parameters"), _whole, min),
        Column("peak memory, GiB", partial(_part, "cost", "peak_memory_bytes"), _gibibytes, min),
    ]


def _of_task(name: str, metric: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    told: Mapping[str, Any] = row["tasks"].get(name, {})
    return told if told.get("metric") == metric else {}


def _part(part: str, kind: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    told: Mapping[str, Any] = row[part][kind]
    return told


def _cells(
    table: Mapping[str, Any], columns: Sequence[Column], mark: Callable[[str], str]
) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Each recipe's row with a text per column; the best of a column is marked."""
    rows = table["recipes"]
    texts: list[list[str]] = [[] for _ in rows]
    for column in columns:
        found = [column.find(row) for row in rows]
        means = [each.get("mean") for each in found]
        best = _best(column, means)
        for row, each, mean in zip(texts, found, means, strict=True):
            if mean is None:
                row.append(NOTHING)
                continue
            text = column.show(mean)
            is_best = text == best
            if column.is_score and each["sd"] is not None:
                text += f" ± {column.show(each['sd'])}"
            row.append(mark(text) if is_best else text)
    return list(zip(rows, texts, strict=True))


def _best(column: Column, means: Sequence[float | None]) -> str | None:
    """How the best mean is shown; None where there is nothing to choose between."""
    known = [mean for mean in means if mean is not None]
    if column.best is None or len({column.show(mean) for mean in known}) < 2:
        return None
    return column.show(column.best(known))


def _bold(text: str) -> str:
    return f"**{text}**"


def _score(value: float) -> str:
    return f"{value:.4f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _few_digits(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _gibibytes(value: float) -> str:
    return f"{value / 2**30:.2f}"


def _count(row: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    return f"{row['n']}/{len(table['seeds'])}"


# --- words -------------------------------------------------------------------------------------


def _header(table: Mapping[str, Any]) -> str:
    seeds = table["seeds"]
    if len(seeds) == 1:
        return f"Scores on {SPLIT} with one seed, {seeds[0]}: no spread is known."
    return (
        f"Scores on {SPLIT}, mean ± sample standard deviation over {len(seeds)} seeds "
        f"({seeds[0]} to {seeds[-1]}); costs are means over the same runs."
    )


def _notes(table: Mapping[str, Any]) -> list[str]:
    rows = table["recipes"]
    notes = []
    if any(row["encoder"] == "minilm" for row in rows):
        notes.append(MINILM)
    if len({tuple(sorted(row["tasks"])) for row in rows}) > 1:
        notes.append(
            "The recipes differ in their tasks, so their overall scores are means over different "
            "things."
        )
    return notes


def _described(table: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """A row's recipe, and what sets it apart from the first."""
    first = table["recipes"][0]
    line = f"- **{row['name']}**: `{row['file']}`"
    if changes := table["changes"]:
        line += ", with " + ", ".join(f"`--set {change}`" for change in changes)
    if row is first:
        return line
    if not row["differs"]:
        return f"{line}; the same settings as {first['name']}"
    told = [
        f"  - `{place}`: {_shown(a)} -> {_shown(b)}" for place, (a, b) in row["differs"].items()
    ]
    more = len(told) - SHOWN_DIFFERENCES
    told = told[:SHOWN_DIFFERENCES] + ([f"  - … and {more} more"] if more > 0 else [])
    return "\n".join([f"{line}; unlike {first['name']}:", *told])


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        first = {"kind": value["kind"]} if "kind" in value else {}
        told = {key: v for key, v in (first | value).items() if v is not None}
        inside = ", ".join(f"{key}: {_shown(v)}" for key, v in told.items())
        text = f"{{{inside}}}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"


def _unfinished(table: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['name']} seed {run['seed']}: {run['state']}"
        + (f", {run['reason']}; {run['log']}" if "reason" in run else "")
        for row in table["recipes"]
        for run in row["runs"]
        if run["state"] != "done"
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
