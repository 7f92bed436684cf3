"""A study in words: what its numbers are means of, what its rows are, what is missing."""

import json
from typing import Any

from trivium.apps.study.columns import NOTHING, questions_of
from trivium.apps.study.facts import Machine, Order, Row, Table
from trivium.apps.study.table import SPLIT
from trivium.recipe.budget import FULL
from trivium.run.screen.grid import MINILM

SHOWN_DIFFERENCES = 20
SHOWN_VALUE = 100
ORDER = (
    "Kendall's tau-b of our means and a report's scores: 1 is the report's order, -1 its reverse. "
    "Pairs count that the report sets apart; a pair is clear where our means differ by more than "
    "the standard deviation of the difference between two single runs."
)


def header(table: Table) -> str:
    seeds = table.seeds
    if len(seeds) == 1:
        return f"Scores on {SPLIT} with one seed, {seeds[0]}: no spread is known."
    return (
        f"Scores on {SPLIT}, mean ± sample standard deviation over {len(seeds)} seeds "
        f"({seeds[0]} to {seeds[-1]}); costs are means over the same runs."
    )


def circumstances(table: Table) -> str:
    """Budget, day and machine."""
    budget = table.budget
    parts = [f"Budget: {'full, every recipe as it stands' if budget == FULL else budget}."]
    parts.append(f"Last run: {table.date}.")
    machines = "; ".join(map(_machine, table.machines))
    return " ".join([*parts, f"Machine: {machines}."])


def _machine(machine: Machine) -> str:
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    parts = [machine.cpu or "CPU", f"{machine.cpus} cores", threads, machine.gpu]
    parts += [f"torch {machine.torch}", f"trivium {machine.trivium}"]
    return ", ".join(part for part in parts if part)


def count(row: Row, table: Table) -> str:
    return f"{row.n}/{len(table.seeds)}"


def notes(table: Table) -> list[str]:
    rows = table.recipes
    lines = []
    if any(row.encoder == "minilm" for row in rows):
        lines.append(MINILM)
    if len({frozenset(questions_of([row])) for row in rows}) > 1:
        lines.append(
            "The recipes differ in their tasks or dev rows, so their overall scores are means over "
            "different things."
        )
    if any(row.ensemble for row in rows):
        lines.append(
            "An ensemble's costs are those of its members together; its peak memory is their "
            "largest."
        )
    if chosen := [row.name for row in rows if row.ensemble and row.ensemble.how == "weights"]:
        lines.append(
            f"The weights of {', '.join(chosen)} were chosen on these dev rows, so the scores are "
            "optimistic."
        )
    return [*lines, *_other_encoders(rows)]


def _other_encoders(rows: list[Row]) -> list[str]:
    """Whose reported scores do not stand beside ours."""
    apart: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        reported = row.reported
        if reported and not reported.beside:
            key = (reported.report, reported.encoder, row.encoder)
            apart.setdefault(key, []).append(row.name)
    return [
        f"{report} reached its scores with {theirs}, but {_many(names)} here with {ours}: they do "
        "not stand beside ours, only the order of the rows is compared."
        for (report, theirs, ours), names in apart.items()
    ]


def _many(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{len(names)} rows are"


def order(found: Order) -> list[str]:
    """A row of the table of rank orders."""
    tau = NOTHING if found.tau_b is None else f"{found.tau_b:.3f}"
    clear = NOTHING if found.clear is None else f"{found.clear_same} of {found.clear}"
    task = f"{found.title} {found.metric}"
    recipes, pairs = str(len(found.recipes)), f"{found.same} of {found.pairs}"
    return [found.report, task, recipes, tau, pairs, clear]


def described(table: Table, row: Row) -> str:
    """A row's recipe, and what sets it apart from another."""
    line = f"- **{row.name}**: `{row.file}`"
    if ensemble := row.ensemble:
        return f"{line}{_source(row)}; {' + '.join(ensemble.members)} by {ensemble.how}"
    if changes := table.changes:
        line += ", with " + ", ".join(f"`--set {change}`" for change in changes)
    line += _source(row)
    if row.unlike is None:
        return line
    if not row.differs:
        return f"{line}; the same settings as {row.unlike}"
    lines = [f"  - `{place}`: {_shown(a)} -> {_shown(b)}" for place, (a, b) in row.differs.items()]
    more = len(lines) - SHOWN_DIFFERENCES
    lines = lines[:SHOWN_DIFFERENCES] + ([f"  - … and {more} more"] if more > 0 else [])
    return "\n".join([f"{line}; unlike {row.unlike}:", *lines])


def _source(row: Row) -> str:
    return f" ({row.reported.source})" if row.reported else ""


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        first = {"kind": value["kind"]} if "kind" in value else {}
        values = {key: v for key, v in (first | value).items() if v is not None}
        inside = ", ".join(f"{key}: {_shown(v)}" for key, v in values.items())
        text = f"{{{inside}}}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"


def unfinished(table: Table) -> list[str]:
    return [
        f"{row.name} seed {run.seed}: {run.state}"
        + ("" if run.reason is None else f", {run.reason}; {run.log}")
        for row in table.recipes
        for run in row.runs
        if run.state != "done"
    ]
