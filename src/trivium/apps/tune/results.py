"""What a search leaves for people: the best recipe, a table, a file of all trials."""

import csv
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.apps.tune.rows import Overview, Row
from trivium.recipe import Recipe, dump_recipe
from trivium.recipe.search import COSTS, label
from trivium.run.folder.atomic import write_text
from trivium.run.screen.console import say
from trivium.run.screen.grid import MINILM, Grid, markdown_table, print_grid

BEST, FRONT, CSV, TABLE = "best.yaml", "pareto", "trials.csv", "table.md"
SHOWN_ROWS = 10
CAUTION = (
    "The best of many trials is in part the luckiest one: on rows that chose nothing it will score "
    "lower than it does here, on dev."
)


def write_results(
    out: Path,
    view: Overview,
    recipes: dict[int, Recipe],
    encoder: str,
    reported: Sequence[str] = (),
) -> None:
    """Everything but the pictures, each file replaced as a whole. recipes: of the best trials.
    reported: parts of the page on what was reported elsewhere."""
    write_text(out / CSV, as_csv(view))
    parts = [as_markdown(out.name, view, encoder), *reported]
    write_text(out / TABLE, "\n\n".join(part.rstrip("\n") for part in parts) + "\n")
    if len(view.objectives) == 1:
        for number, recipe in recipes.items():
            write_text(out / BEST, _recipe_file(out, view, number, recipe))
        return
    folder = out / FRONT
    folder.mkdir(exist_ok=True)
    numbers = {f"{number:04d}.yaml": number for number in recipes}
    for path in folder.iterdir():
        if re.fullmatch(r"\d{4,}\.yaml", path.name) and path.name not in numbers:
            path.unlink()  # beaten meanwhile
    for name, number in numbers.items():
        write_text(folder / name, _recipe_file(out, view, number, recipes[number]))


def as_csv(view: Overview) -> str:
    """A line per trial: objectives, settings, every dev score, costs."""
    paths = list(view.names)
    aims = [objective.name for objective in view.objectives]
    scores = {name: None for row in view.rows for name in row.scores if name not in aims}
    costs = [cost for cost in COSTS.values() if cost not in aims]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *aims, *paths, *scores, *costs, "place", "reason"])
    for row in view.rows:
        values: list[Any] = [*row.values, *[None] * (len(aims) - len(row.values))]
        settings = [label(row.settings[path]) if path in row.settings else None for path in paths]
        numbers = [row.scores.get(name) for name in scores]
        numbers += [row.costs.get(cost) for cost in costs]
        cells = [row.number, row.state, *values, *settings, *numbers, row.place, row.reason]
        writer.writerow(cells)
    return text.getvalue()


def as_markdown(name: str, view: Overview, encoder: str) -> str:
    aims = [f"{'low' if o.is_cost else 'high'} {o.title}" for o in view.objectives]
    heads = ["trial", "state", *(o.title for o in view.objectives), *view.names]
    heads += ["seconds"] if _tells_seconds(view) else []
    rows = (_cells(view, row) for row in _in_order(view))
    parts = [f"# Search {name}", f"{view.counts()}. Wanted: {', '.join(aims)}."]
    parts += [_verdict(view)] if view.best else []
    parts += [markdown_table(heads, rows, left=(1,))]
    parts += ["A pruned trial shows the last score that it had."] if _has_pruned(view) else []
    parts += [CAUTION] if len(view.done) > 1 else []
    parts += [MINILM] if encoder == "minilm" else []
    failed = [f"- trial {row.number}: {row.reason}" for row in view.rows if row.state == "failed"]
    parts += ["## Failed", "\n".join(failed)] if failed else []
    return "\n\n".join(parts) + "\n"


def print_results(console: Console, out: Path, view: Overview) -> None:
    """The best trials and where the rest is."""
    rows = [row for row in _in_order(view) if row.state in ("done", "pruned")][:SHOWN_ROWS]
    if rows:
        print_grid(trial_grid(view, rows), console)
    for line in (view.counts(), _verdict(view) if view.best else "no trial is finished"):
        say(console, line)
    if view.best:
        where = BEST if len(view.objectives) == 1 else f"{FRONT}/{view.best[0]:04d}.yaml"
        say(
            console,
            f"train it anew: trivium train {shlex.quote(str(out / where))} · table: {out / TABLE}",
        )


def trial_grid(view: Overview, rows: list[Row]) -> Grid:
    """Trials as a table on a screen; the best are green."""
    grid = Grid()
    grid.add_column("trial", justify="right")
    for name in view.names.values():
        grid.add_column(name, justify="right")
    for objective in view.objectives:
        grid.add_column(objective.title, justify="right")
    grid.add_column("state")
    for row in rows:
        settings = view.shown_settings(row)
        style = "bold green" if row.number in view.best else _STYLES.get(row.state)
        grid.add_row(str(row.number), *settings, *view.shown_values(row), row.state, style=style)
    return grid


_STYLES = {"failed": "red", "pruned": "dim", "running": "yellow"}


def _cells(view: Overview, row: Row) -> list[str]:
    seconds = row.costs.get("seconds")
    cells = [str(row.number), row.state, *view.shown_values(row), *view.shown_settings(row)]
    if _tells_seconds(view):
        cells.append("–" if seconds is None else f"{seconds:,.1f}")
    return [f"**{cell}**" for cell in cells] if row.number in view.best else cells


def _in_order(view: Overview) -> list[Row]:
    """Done ones first, the best of them above; then pruned ones, then the rest."""
    states = ["done", "pruned", "failed", "running"]
    first = view.objectives[0]

    def place(row: Row) -> tuple[int, bool, float, int]:
        value = row.values[0] if row.values else 0.0
        is_best = row.number in view.best
        return states.index(row.state), not is_best, value if first.is_cost else -value, row.number

    return sorted(view.rows, key=place)


def _verdict(view: Overview) -> str:
    if len(view.objectives) > 1:
        numbers = ", ".join(map(str, sorted(view.best)))
        return (
            f"Pareto front: trial {numbers}. Whatever is better than one of these in one objective "
            "is worse than it in another."
        )
    row = view.row(view.best[0])
    objective = view.objectives[0]
    return (
        f"Best: trial {row.number} with {objective.title} {view.shown_values(row)[0]}; "
        f"{view.in_words(row)}."
    )


def _tells_seconds(view: Overview) -> bool:
    """Whether the table has a column for them, beside those of the objectives."""
    return all(objective.name != "seconds" for objective in view.objectives)


def _has_pruned(view: Overview) -> bool:
    return any(row.state == "pruned" for row in view.rows)


def _recipe_file(out: Path, view: Overview, number: int, recipe: Recipe) -> str:
    row = view.row(number)
    aims = zip(view.objectives, view.shown_values(row), strict=True)
    reached = ", ".join(f"{objective.title} {value}" for objective, value in aims)
    settings = [f"#   {path}: {label(value)}" for path, value in row.settings.items()]
    head = [
        f"# Trial {number} of {len(view.ended)} so far in the search {out.name}: {reached}, with"
    ]
    return "\n".join([*head, *settings]) + "\n" + dump_recipe(recipe)
