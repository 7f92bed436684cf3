"""A study's table for people: in Markdown and on a screen."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from trivium.apps.study import prose
from trivium.apps.study.columns import cells_of, columns_of
from trivium.apps.study.facts import Row, Table
from trivium.apps.study.runs import PAGE, Plan
from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import TABLE
from trivium.run.screen.console import say
from trivium.run.screen.grid import Grid, markdown_table, print_grid

ORDER_HEADS = (
    "report",
    "task",
    "recipes",
    "tau-b",
    "pairs in its order",
    "clear pairs in its order",
)


def write_table(plan: Plan, table: Table) -> None:
    """`table.json` and `table.md`, each replaced as a whole."""
    text = json.dumps(table.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(plan.out / TABLE, text + "\n")
    write_text(plan.out / PAGE, as_markdown(table))


def as_markdown(table: Table) -> str:
    groups = groups_of(table.recipes)
    parts = ["# Study", prose.header(table), prose.circumstances(table)]
    for report, rows in groups.items():
        title = [f"## {report or 'Not reported elsewhere'}"] if len(groups) > 1 else []
        parts += [*title, _rows_as_markdown(table, rows)]
    parts += prose.notes(table)
    if orders := table.orders:
        lines = markdown_table(ORDER_HEADS, map(prose.order, orders), left=(0, 1))
        parts += ["## Rank order", prose.ORDER, lines]
    described = [prose.described(table, row) for row in table.recipes]
    parts += ["## What each row is", "\n".join(described)]
    if unfinished := prose.unfinished(table):
        listed = "\n".join(f"- {line}" for line in unfinished)
        parts += ["## Not finished", f"{listed}\n\nGo on with: `{table.command}`"]
    return "\n\n".join(parts) + "\n"


def groups_of(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    """The rows by the report that they come from, None for those of no report, which come last."""
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        report = row.reported.report if row.reported else None
        groups.setdefault(report, []).append(row)
    return dict(sorted(groups.items(), key=lambda group: group[0] is None))  # stable


def print_table(table: Table, console: Console) -> None:
    """Scores and costs as two tables, since one would be wider than most screens."""
    rows = table.recipes
    columns = columns_of(rows)
    cells = cells_of(rows, columns, lambda text: Text(text, style="bold green"))
    for title, wanted in (("Scores", True), ("Costs", False)):
        chosen = [index for index, column in enumerate(columns) if column.is_score is wanted]
        grid = Grid(title)
        grid.add_column("recipe", style="bold")
        for head in ("seeds", *(columns[index].title for index in chosen)):
            grid.add_column(head, justify="right")
        for row, texts in cells:
            grid.add_row(row.name, prose.count(row, table), *(texts[i] for i in chosen))
        print_grid(grid, console)
    _print_orders(table, console)
    for line in (
        prose.header(table),
        *prose.notes(table),
        *map("not finished: {}".format, prose.unfinished(table)),
    ):
        say(console, line)


def _print_orders(table: Table, console: Console) -> None:
    if not table.orders:
        return
    grid = Grid("Rank order")
    for index, head in enumerate(ORDER_HEADS):
        grid.add_column(head, justify="left" if index < 2 else "right")
    for order in table.orders:
        grid.add_row(*prose.order(order))
    print_grid(grid, console)
    say(console, prose.ORDER)


def _rows_as_markdown(table: Table, rows: Sequence[Row]) -> str:
    columns = columns_of(rows)
    heads = ["recipe", "seeds", *(column.title for column in columns)]
    cells = cells_of(rows, columns, lambda text: f"**{text}**")
    lines = [[row.name, prose.count(row, table), *texts] for row, texts in cells]
    return markdown_table(heads, lines)
