"""Penalties over several processes: their gradients' mean is the gradient of one process, whatever
the loss is; and distillation leaves labels no more than their share, whatever stands beside it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tests.support import distributed
from tests.support.stepping import begun
from trivium.run.training.batches import Drawn, _run_batch
from trivium.run.training.distributed import Processes
from trivium.run.training.tally import Tally
from trivium.types import Step

WORLD = 2
CPU = torch.device("cpu")


@dataclass
class Table:
    """On which the threads lay what each of them has."""

    meeting: Barrier = field(default_factory=lambda: Barrier(WORLD, timeout=60))
    rows: list[Tensor] = field(default_factory=lambda: [torch.empty(0)] * WORLD)


@dataclass(frozen=True, slots=True)
class InThreads(Processes):
    """A process that is a thread."""

    table: Table = field(default_factory=Table)

    def rows_of_each(self, mine_BK: Tensor, rows: int) -> list[Tensor]:
        assert len(mine_BK) == len(range(self.rank, rows, self.world))
        self.table.rows[self.rank] = mine_BK.detach().clone()
        self.table.meeting.wait()
        found = list(self.table.rows)
        self.table.meeting.wait()
        return found


Found = tuple[dict[str, Tensor], dict[str, float]]
"""Gradients by parameter, and penalties by kind of regularizer."""


def learned(
    values: dict[str, Any],
    stage: dict[str, Any],
    rows: Sequence[int],
    changed: Callable[[Tensor], Tensor],
    *,
    world: int = 1,
    relabelled: Callable[[Tensor], Tensor] | None = None,
) -> Found:
    """What one batch of the only task leaves in so many processes, on average, without dropout.

    changed: what a pass after the batch's own gives in place of the same outputs; relabelled: other
    targets.
    """
    (name,) = values["tasks"]
    table, runs = Table(), []
    for _ in range(world):  # one after another: all draw their first weights from one generator
        run = begun(values, steps=4, **stage)
        encoded = run.setup.encoded[name]
        target_B = encoded.target_B if relabelled is None else relabelled(encoded.target_B)
        taught = "distill" in str(stage)
        teacher_BK = teachers(len(encoded), encoded.task.outputs) if taught else None
        run.setup.encoded[name] = replace(encoded, target_B=target_B, teacher_BK=teacher_BK)
        # The batch's own pass is made in two halves, and not hooked.
        run.setup.model.register_forward_hook(lambda _, __, output_BK: changed(output_BK))
        runs.append(run)

    def learn(rank: int) -> Found:
        processes = Processes() if world == 1 else InThreads(rank, world, table)
        setup = replace(runs[rank].setup, processes=processes)
        tally, step = Tally(), Step(1, 4, 1, 1, torch.Generator(), {}, steps_per_epoch=4)
        tally.begin(name, len(rows), 1.0, CPU)
        drawn = Drawn(name, np.asarray(rows), 1.0, 1.0, is_last=True)
        _run_batch(setup, runs[rank].stage, None, drawn, (step, tally))
        named = dict(setup.model.named_parameters())
        told = tally.penalties.get(name, {}).items()
        return (
            {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()},
            {kind: float(torch.stack(batches).mean()) for kind, batches in told},
        )

    with ThreadPoolExecutor(world) as threads:
        each = list(threads.map(learn, range(world)))
    gradients = {n: torch.stack([g[n] for g, _ in each]).mean(0) for n in each[0][0]}
    kinds = {kind for _, penalties in each for kind in penalties}
    return gradients, {k: sum(p.get(k, 0.0) for _, p in each) / world for k in kinds}


def teachers(rows: int, outputs: int) -> Tensor:
    """Scores, or probabilities."""
    share_BK = torch.rand(rows, outputs, generator=torch.Generator().manual_seed(7))
    return 3 * share_BK if outputs == 1 else share_BK / share_BK.sum(1, keepdim=True)


def smaller(output_BK: Tensor) -> Tensor:
    return output_BK * torch.linspace(0.5, 0.8, output_BK.shape[1])


def turned(output_BK: Tensor) -> Tensor:
    """Vectors side by side, each with its numbers in other places, and so as long as it was."""
    return output_BK.view(len(output_BK), 2, -1).roll(1, dims=-1).flatten(1)


@pytest.fixture
def values(recipe_values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Without dropout anywhere, also in compiled kernels."""
    found: dict[str, Any] = yaml.safe_load(
        distributed.recipe_of(recipe_values, tmp_path).read_text()
    )
    return found


def only(values: dict[str, Any], task: str, **changes: Any) -> dict[str, Any]:
    pairs = {"text": ["first", "second"], "train": "near-train.tsv", "dev": "near-dev.tsv"}
    known = values["tasks"] | {"match": {"kind": "matching", **pairs}}
    return values | {"tasks": {task: known[task] | changes}}


RANKED = {"loss": {"kind": "cosent", "anchor": 0.3}}
DISTILL = {"kind": "distill", "teachers": "x", "weight": 0.8}
CASES: dict[str, tuple[str, dict[str, Any], list[Any], Callable[[Tensor], Tensor]]] = {
    "distill": ("near", RANKED, [DISTILL], smaller),
    "rdrop": ("near", RANKED, [{"kind": "rdrop", "weight": 0.7}], smaller),
    "both": ("near", RANKED, [DISTILL, "rdrop"], smaller),
    "rdrop of pairs": ("match", {}, ["rdrop"], turned),
    "both, by rows": ("near", {}, ["rdrop", DISTILL], smaller),
    "both, weighted": ("mood", {"class_weights": {"up": 5}}, ["rdrop", DISTILL], smaller),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("rows", [8, 7, 1], ids=lambda rows: f"{rows} rows")
def test_two_processes_have_the_gradient_of_one(
    values: dict[str, Any], case: Any, rows: int
) -> None:
    task, changes, regularizers, changed = case
    values = only(values, task, **changes)
    asked = (values, {"regularizers": regularizers}, range(3, 3 + rows), changed)
    (one, told), (two, told_by_two) = learned(*asked), learned(*asked, world=WORLD)
    largest = max(float(tensor.abs().max()) for tensor in one.values())
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=2e-6 * largest, msg=name)
    if rows >= WORLD:  # else one of them has no row of which to tell
        assert told_by_two == pytest.approx(told, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("beside", [[], ["rdrop"], [{"kind": "rdrop", "alpha": 0, "weight": 0.5}]])
@pytest.mark.parametrize("task", ["mood", "near"])
def test_labels_have_no_say_where_teachers_have_all_of_it(
    values: dict[str, Any], task: str, beside: list[Any]
) -> None:
    values = only(values, task)
    stage = {"regularizers": [DISTILL | {"weight": 1, "anneal": False}, *beside]}
    most = {"mood": 1, "near": 3}[task]

    def learn(relabelled: Callable[[Tensor], Tensor] | None) -> dict[str, Tensor]:
        return learned(values, stage, range(12), smaller, relabelled=relabelled)[0]

    right, turned_over = learn(None), learn(lambda target_B: most - target_B)
    largest = max(float(tensor.abs().max()) for tensor in right.values())
    assert largest > 0
    for name, tensor in right.items():
        torch.testing.assert_close(turned_over[name], tensor, rtol=1e-5, atol=2e-6 * largest)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_both_passes_of_rdrop_have_the_mixed_loss(values: dict[str, Any], share: float) -> None:
    """By hand: without the passes' own divergence its penalty is half of what they differ in."""
    values = only(values, "near")
    distill = DISTILL | {"weight": share, "anneal": False}
    stage = {"regularizers": [{"kind": "rdrop", "alpha": 0}, distill]}
    _, told = learned(values, stage, range(5), smaller)
    run = begun(values, steps=4)
    encoded = run.setup.encoded["near"]
    teacher_BK = teachers(len(encoded), 1)[:5] / 3
    batch = encoded.batch(np.arange(5))
    first_BK = run.setup.model.train()(batch).detach()
    unit_B = batch.target_B / 3

    def mixed(output_BK: Tensor) -> Tensor:
        imitation = (output_BK - teacher_BK).square().mean()
        return share * imitation + (1 - share) * (output_BK[:, 0] - unit_B).square().mean()

    wanted = (mixed(0.5 * first_BK) - mixed(first_BK)) / 2
    assert told["rdrop"] == pytest.approx(float(wanted), rel=1e-4)
