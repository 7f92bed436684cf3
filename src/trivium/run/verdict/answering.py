"""How long systems take to answer the same number of dev rows of each of their tasks."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.predictor.ensemble import EnsemblePredictor
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_trained, refuse_unknown
from trivium.run.screen.progress import rows_bar
from trivium.run.verdict.systems import System

ROUNDS = 3
WARM_ROWS = 16
MOST_ROWS = 512
WHOLE_S = 25.0
"""What all rounds of all systems together are to take."""
MOST_BYTES = 4 * 2**30
"""Of models that are loaded at once."""

Rows = dict[str, list[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Timing:
    rows: int
    """Of every task."""
    rounds: Mapping[str, list[float]]
    """By system: seconds of each round, over all its tasks."""
    bytes: Mapping[str, int]
    """By system: its parameters in memory."""

    def seconds(self, systems: Sequence[str]) -> float | None:
        """Of systems that answer one after another; the median round."""
        if not all(name in self.rounds for name in systems):
            return None
        rounds = zip(*(self.rounds[name] for name in systems), strict=True)
        return statistics.median([float(sum(values)) for values in rounds])

    def held(self, systems: Sequence[str]) -> int | None:
        """By all of them, which are kept at hand."""
        sizes = [self.bytes.get(name) for name in systems]
        return sum(value for value in sizes if value) if all(sizes) else None


def time_answers(
    systems: Sequence[System], device: str = "auto", console: Console | None = None
) -> tuple[Timing | None, list[str]]:
    """Time the first run of every system, in rounds in which all take turns, so that what else
    the machine does falls on all of them; and notes.

    None where a model cannot be loaded, or all of them together are too large. Raises RecipeError
    for a device that is not here.
    """
    refuse_unknown("auto", device)
    size = sum(system.runs[0].model_bytes for system in systems)
    if size > MOST_BYTES:
        return None, [
            f"Answers were not timed: these models take {size / 2**30:.1f} GiB together, more than "
            f"{MOST_BYTES / 2**30:.0f}. Name fewer runs."
        ]
    try:
        predictors = {
            system.name: load_trained(system.runs[0].folder, device=device) for system in systems
        }
    except RecipeError as error:
        return None, [f"Answers were not timed: {error}"]
    asked = {system.name: _rows(system) for system in systems}
    # Twice: the first call also makes oneDNN's kernels, which no later one pays for.
    warm = {n: _seconds(p, asked[n], WARM_ROWS) for n, p in predictors.items()}
    warm = {n: _seconds(p, asked[n], WARM_ROWS) for n, p in predictors.items()}
    have = min(len(rows) for each in asked.values() for rows in each.values())
    fits = WHOLE_S / ROUNDS / max(sum(warm.values()), 1e-9) * WARM_ROWS
    count = max(1, min(have, MOST_ROWS, int(fits)))
    rounds: dict[str, list[float]] = {name: [] for name in predictors}
    with rows_bar(console, "rounds") as bar:
        counter = bar.add_task("timing answers", total=ROUNDS * len(predictors))
        for _ in range(ROUNDS):
            for name, predictor in predictors.items():
                rounds[name].append(_seconds(predictor, asked[name], count))
                bar.advance(counter)
    held = {name: _bytes(predictor) for name, predictor in predictors.items()}
    return Timing(count, rounds, held), []


def _rows(system: System) -> Rows:
    return {name: each[0].texts for name, each in system.answers.items()}


def _seconds(predictor: ModelPredictor, rows: Rows, count: int) -> float:
    start = time.perf_counter()
    predictor.readouts({task: texts[:count] for task, texts in rows.items()})
    if torch.cuda.is_available():  # a GPU answers later than the call returns
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _bytes(predictor: TorchPredictor | EnsemblePredictor) -> int:
    """A parameter that several parts share counts once."""
    models = (
        [member.model for member in predictor.members]
        if isinstance(predictor, EnsemblePredictor)
        else [predictor.model]
    )
    return sum(p.numel() * p.element_size() for model in models for p in model.parameters())
