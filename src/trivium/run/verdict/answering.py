"""How long systems take to answer: the same number of dev rows of each of their tasks; and the same
texts, about which all tasks are asked at once."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.predictor.ensemble import EnsemblePredictor
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_trained, refuse_unknown
from trivium.run.screen.progress import rows_bar
from trivium.run.verdict.systems import System
from trivium.run.verdict.together import SameTexts, Timed, same_texts

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

    same: SameTexts = field(default_factory=SameTexts)
    texts: int = 0
    """Of `same`, that every task was asked about."""
    together: Mapping[str, list[float]] = field(default_factory=dict)
    """By system: seconds of each round, in which all its tasks are asked about these."""

    def seconds(self, systems: Sequence[str]) -> float | None:
        """Of systems that answer one after another; the median round."""
        return _median(self.rounds, systems)

    def timed(self, system: System, singles: Sequence[System]) -> Timed | None:
        """The same texts, asked of a system and of the single-task models in its place."""
        tasks = tuple(name for name in self.same.tasks if name in system.answers)
        apart = [single.name for single in singles if single.single in tasks]
        ours = _median(self.together, [system.name])
        theirs = _median(self.together, apart)
        if ours is None or theirs is None or len(apart) != len(tasks) or len(tasks) < 2:
            return None
        return Timed(tasks, self.texts, ours, theirs)

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
    same = same_texts(systems)
    texts = min(count, len(same.texts))
    alike = {one.name: rows for one in systems if (rows := same.asked(one, texts))}
    with rows_bar(console, "rounds") as bar:
        total = ROUNDS * (len(asked) + len(alike))
        on_round = partial(bar.advance, bar.add_task("timing answers", total=total))
        rounds = _rounds(predictors, asked, count, on_round)
        together = _rounds(predictors, alike, texts, on_round)
    held = {name: _bytes(predictor) for name, predictor in predictors.items()}
    return Timing(count, rounds, held, same, texts, together), []


def _rounds(
    predictors: Mapping[str, ModelPredictor],
    asked: Mapping[str, Rows],
    count: int,
    on_round: Callable[[], None],
) -> dict[str, list[float]]:
    """Seconds by system; all have one round before any has another."""
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, rows in asked.items():
            found[name].append(_seconds(predictors[name], rows, count))
            on_round()
    return found


def _median(rounds: Mapping[str, list[float]], systems: Sequence[str]) -> float | None:
    """Of systems that take turns; None where one was not timed."""
    if not systems or not all(name in rounds for name in systems):
        return None
    each = zip(*(rounds[name] for name in systems), strict=True)
    return statistics.median([float(sum(values)) for values in each])


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
