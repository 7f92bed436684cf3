"""What wrong answers cost: a table, read from CSV or JSON, or given as dictionaries."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.jsons import shown
from trivium.parts.tasks import Labelled, Multilabel, Ordinal
from trivium.text.tables import BadRow, open_table

MISSED, FALSE_ALARM = "missed", "false_alarm"
BY_DISTANCE = {"distance": 1, "squared": 2}
"""Of labels that have an order: how many of them the answer is away, to this power."""

MOST = 1e12
"""That a cost may be, and one over the least that it may: sums and thresholds stay numbers."""

Costs = dict[str, dict[str, float]]


def costs_of(task: Labelled, given: "str | Path | Mapping[str, Any]") -> Costs:
    """Of one label: true label -> answer -> cost; of several: label -> missed and false_alarm.

    given: a file, such a table, or `distance` or `squared` for an ordinal task. A label's cost for
    itself may be left out, and is 0. Raises RecipeError.
    """
    if isinstance(given, Mapping):
        return _checked(task, given, "costs")
    if not isinstance(given, (str, os.PathLike)):
        raise RecipeError(
            f"--costs: must be a table of costs, a file of one, or {' or '.join(BY_DISTANCE)}; "
            f"found {type(given).__name__}."
        )
    if str(given) in BY_DISTANCE:
        return _by_distance(task, str(given))
    path = Path(given)
    if path.suffix.lower() == ".json":
        return _checked(task, _from_json(path), str(path))
    found, lines = _from_table(path)
    return _checked(task, found, str(path), lines)


def thresholds_of(costs: Costs) -> dict[str, float]:
    """Of several labels: the probability from which it costs less to say one than to miss it."""
    return {name: of[FALSE_ALARM] / (of[FALSE_ALARM] + of[MISSED]) for name, of in costs.items()}


def _by_distance(task: Labelled, how: str) -> Costs:
    if not isinstance(task, Ordinal):
        raise RecipeError(
            f"--costs {how}: is about labels that have an order, but task {task.name!r} is "
            f"{task.kind}; name a file with a cost for each pair of labels."
        )
    power = BY_DISTANCE[how]
    return {
        true: {said: float(abs(i - j) ** power) for j, said in enumerate(task.names)}
        for i, true in enumerate(task.names)
    }


def _from_json(path: Path) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise RecipeError(f"{path}: names {name!r} twice.")
            found[name] = value
        return found

    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except RecipeError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: wanted a table of tables, found {type(values).__name__}.")
    return values


def _from_table(path: Path) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """The costs, and each label's line. The first column holds true labels, the others are named by
    answers."""
    table = open_table(path)
    first, *others = table.columns
    found: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for row in table:
        if isinstance(row, BadRow):
            raise RecipeError(f"{path}:{row.line}: {row.problem}")
        name = row.cells[first].strip()
        if name in found:
            raise RecipeError(f"{path}:{row.line}: names {name!r} twice.")
        found[name] = {other: row.cells[other] for other in others if row.cells[other].strip()}
        lines[name] = row.line
    return found, lines


def _checked(
    task: Labelled, given: Mapping[str, Any], file: str, lines: Mapping[str, int] | None = None
) -> Costs:
    names = task.names
    wanted: Sequence[str] = [MISSED, FALSE_ALARM] if isinstance(task, Multilabel) else names
    costs: Costs = {}
    for true, row in given.items():
        where = f"{file}:{lines[true]}" if lines else file
        if true not in names:
            raise RecipeError(
                f"{where}: {true!r} is no label of task {task.name!r}{did_you_mean(true, names)}."
            )
        if not isinstance(row, Mapping):
            raise RecipeError(f"{where}: {true!r}: wanted a table of costs, found {row!r}.")
        for said in row:
            if said not in wanted:
                hint = did_you_mean(said, wanted)
                raise RecipeError(f"{where}: {true!r}: {said!r} is no answer{hint}.")
        costs[true] = {said: _number(row, true, said, where) for said in wanted}
        _refuse_gains(task, true, costs[true], where)
    if lacking := [name for name in names if name not in costs]:
        raise RecipeError(f"{file}: has no row for label {lacking[0]!r}; every label needs one.")
    is_said = isinstance(task, Multilabel) or any(
        len(set(of.values())) > 1 for of in costs.values()
    )
    if not is_said:  # the least of equals is always the first label
        raise RecipeError(
            f"{file}: every answer costs the same, whatever is true: these costs decide nothing. "
            "Say what each wrong answer costs."
        )
    return costs


def _refuse_gains(task: Labelled, true: str, of: Mapping[str, float], where: str) -> None:
    """Of wrong answers: a typing error more likely than not, and never needed."""
    if isinstance(task, Multilabel):
        if min(of.values()) <= 0:
            raise RecipeError(f"{where}: {true!r}: costs must be above 0.")
        return
    for said, cost in of.items():
        if said != true and cost < 0:
            raise RecipeError(
                f"{where}: {true!r}: {said!r}: a wrong answer must not cost less than 0, found "
                f"{cost:g}. Only differences count: add what it gains to the other costs of "
                f"{true!r}."
            )


def _number(row: Mapping[str, Any], true: str, said: str, where: str) -> float:
    found = row.get(said, 0.0 if said == true else None)
    if found is None:
        raise RecipeError(f"{where}: {true!r}: lacks the cost of the answer {said!r}.")
    place = f"{where}: {true!r}: {said!r}"
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(found, bool) or not abs(number) < float("inf"):
        raise RecipeError(f"{place}: {shown(found)} is no number.")
    if number != 0 and not 1 / MOST <= abs(number) <= MOST:
        raise RecipeError(
            f"{place}: {found} is not within {1 / MOST:g} and {MOST:g}. Since only ratios count, "
            "all costs can be multiplied by one number."
        )
    return number
