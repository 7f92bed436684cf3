"""A verdict for people: on a screen, and as a file."""

import json

from rich.console import Console

from trivium.run.screen.console import note, say
from trivium.run.screen.grid import Grid, markdown_table, print_grid
from trivium.run.verdict.facts import Comparison, Cost, Group, Verdict
from trivium.run.verdict.forest import ASCII, Glyphs, forest, ranked
from trivium.run.verdict.narrow import Table, fitted
from trivium.run.verdict.scored import MOST_ACROSS, NOTHING, scores_of
from trivium.run.verdict.sentences import shown_p, signed

DIFFERENCES, HOLM = "Differences, in points", "after Holm"
MARKS = {"better": "green", "worse": "red"}


def print_verdict(verdict: Verdict, console: Console) -> None:
    for table in tables_of(verdict):
        _print_table(table, console)
        if table.title.startswith(DIFFERENCES):
            _print_forest(verdict, console)
    for line in lines_of(verdict):
        say(console, line)
    for text in verdict.notes:
        note(console, text)


def _print_table(table: Table, console: Console) -> None:
    """In a file, which has no edge, with all its columns."""
    shown, left_out = fitted(table, console.width) if console.is_terminal else (table, [])
    grid = Grid(shown.title)
    for place, name in enumerate(shown.head):
        is_word = place < shown.words
        grid.add_column(name, justify="left" if is_word else "right", no_wrap=not is_word)
    for cells, style in zip(shown.cells, shown.styles, strict=True):
        grid.add_row(*cells, style=style)
    print_grid(grid, console)
    if left_out:
        say(console, f"(for {', '.join(left_out)}: a wider terminal, or --out)", style="dim")


def _print_forest(verdict: Verdict, console: Console) -> None:
    glyphs = ASCII if console.options.ascii_only else Glyphs()
    for line in forest(ranked(verdict.comparisons), console.width, glyphs):
        style = MARKS.get(line.comparison.corrected, "") if line.comparison else "dim"
        say(console, line.name, " " if line.name else "", (line.drawn.rstrip(), style))


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
    said = [comparison.sentence for comparison in ranked(verdict.comparisons)]
    said += [summary.sentence for summary in verdict.summaries]
    return said + [one_pass.sentence for one_pass in verdict.one_pass]


# --- tables ------------------------------------------------------------------------------------


def tables_of(verdict: Verdict) -> list[Table]:
    return [scores_of(verdict), _differences(verdict), _costs(verdict)]


def _differences(verdict: Verdict) -> Table:
    bounds = f"{verdict.level * 100:.0f} % interval"
    comparisons = ranked(verdict.comparisons)
    columns = {
        "system": [c.system for c in comparisons],
        "baseline": [c.baseline for c in comparisons],
        "task": [c.task for c in comparisons],
        "difference": [signed(c.difference) for c in comparisons],
        bounds: [f"{signed(c.low)} to {signed(c.high)}" for c in comparisons],
        "p": [shown_p(c.p) for c in comparisons],
        HOLM: [_after_holm(c) for c in comparisons],
        "by seed": [_by_seed(c) for c in comparisons],
        "rows": [f"{c.rows:,}" for c in comparisons],
    }
    if all(c.tests == 1 for c in comparisons):
        del columns[HOLM]
    title, words, spare = DIFFERENCES, 3, ["by seed", "rows", "baseline", "p"]
    if len(set(columns["system"])) == 1:
        spare += ["system", HOLM, bounds]
        if len(comparisons) > MOST_ACROSS:  # not the same name in every line
            title, words = f"{DIFFERENCES}: {comparisons[0].system}", 2
            del columns["system"]
    cells = [list(row) for row in zip(*columns.values(), strict=True)]
    styles = [MARKS.get(c.corrected, "") for c in comparisons]
    return Table(title, list(columns), cells, words, styles, spare)


def _after_holm(comparison: Comparison) -> str:
    """What remains of it, and its adjusted p-value."""
    if comparison.tests == 1:
        return NOTHING
    return f"{comparison.corrected} ({shown_p(comparison.adjusted_p)})"


def _by_seed(comparison: Comparison) -> str:
    parts = [f"{seed}: {signed(value)}" for seed, value in comparison.by_seed.items()]
    return ", ".join(parts) or NOTHING


def _costs(verdict: Verdict) -> Table:
    timed = next((cost.timed_rows for cost in verdict.costs if cost.timed_rows), None)
    head = ["system", "training s", "peak GiB", "parameters", "on disk MiB"]
    if timed:
        head += ["answers rows/s", f"s for {timed} rows of each task", "held MiB"]
    cells = [_cost(cost)[: len(head)] for cost in verdict.costs]
    spare = ["answers rows/s", "peak GiB", "held MiB", "training s", *head[6:7], "on disk MiB"]
    return Table("Costs", head, cells, 1, [""] * len(cells), spare)


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


def _runs(group: Group) -> str:
    return ", ".join(
        f"`{folder}`" + ("" if seed is None else f" (seed {seed})")
        for folder, seed in zip(group.folders, group.seeds, strict=True)
    )
