"""A linear probe: the task's own loss, minimised over one linear layer on fixed features.

For one label of several this is multinomial logistic regression, for several labels one logistic
regression each, for ordered labels proportional odds (McCullagh 1980), for scores ridge regression.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.model.multitask import Head
from trivium.model.uncompiled import Uncompiled
from trivium.model.weights import Weights
from trivium.parts.heads.linear import one_layer
from trivium.parts.tasks import Task

PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
"""l: the mean loss has l/2 |W|^2 added, W for features of deviation 1. The strongest first, from
whose solution the next begins."""
MIDDLE = 0.01
"""Where there are too few rows to choose by."""
HELD_OUT = 5
"""Of the training rows each n-th text, by its hash, is held out to choose the penalty by."""
FEWEST = 20
"""Rows from which some are held out."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe that was fitted."""

    weights: Weights
    """Parameters of a linear head for features as they come."""
    penalty: float


def fit(
    task: Task, feature_BF: Tensor, target_B: Tensor, texts: Sequence[tuple[str, ...]]
) -> Probe:
    """The probe of a task on these rows; the penalty is the one with the least loss on rows that
    were held out, and the fit is then repeated on all of them. texts: of the rows, by which copies
    of one stay together."""
    held_B = torch.tensor([_is_held(row) for row in texts])
    mean_F, deviation_F = feature_BF.double().mean(0), feature_BF.double().std(0, unbiased=False)
    deviation_F = deviation_F.clamp_min(1e-6 * max(1.0, float(deviation_F.max())))
    x_BF = (feature_BF.double() - mean_F) / deviation_F
    module, penalty = _module(task, x_BF.shape[1]), MIDDLE
    if len(texts) >= FEWEST and held_B.any() and not held_B.all():
        penalty = _choose(module, task, (x_BF, target_B), held_B)
    _minimise(module, task, x_BF, target_B, penalty)
    return Probe(_unscaled(module, mean_F, deviation_F), penalty)


def linear(task: Task) -> Task:
    """The task with one linear layer on features as its head, and the plain loss of its kind."""
    return task.model_copy(update={"head": one_layer(), "loss": None})


def readout(task: Task, weights: Weights, feature_BF: Tensor) -> Tensor:
    """What a probe says: readout_BK, fp32."""
    module = _module(task, feature_BF.shape[1])
    module.load_state_dict(weights)
    with torch.no_grad():
        return task.readout(module.decide(feature_BF.double()[:, None])).float()


def _is_held(row: tuple[str, ...]) -> bool:
    return hashlib.sha256("\0".join(row).encode()).digest()[0] % HELD_OUT == 0


def _choose(module: Head, task: Task, rows: tuple[Tensor, Tensor], held_B: Tensor) -> float:
    """The penalty that does best on the rows held out; the module is left as fitted with it."""
    x_BF, target_B = rows
    plain, best, least = linear(task), PENALTIES[0], math.inf
    kept: Weights = {}
    for penalty in PENALTIES:
        _minimise(module, task, x_BF[~held_B], target_B[~held_B], penalty)
        with torch.no_grad():
            output_BK = module.decide(x_BF[held_B][:, None])
            loss = float(plain.compute_loss(output_BK, target_B[held_B]))
        if loss >= least:  # weaker ones overfit still more
            break
        best, least = penalty, loss
        kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.load_state_dict(kept)
    return best


def _module(task: Task, features: int) -> Head:
    with torch.random.fork_rng(devices=[]):  # training draws the same numbers as without a probe
        return linear(task).build_head(features).double()


def _minimise(module: Head, task: Task, x_BF: Tensor, target_B: Tensor, penalty: float) -> None:
    """L-BFGS (Liu & Nocedal 1989) from where the module is."""
    plain, layer = linear(task), _layer(module)
    # A tenth of a correct digit more is nothing that scores could tell.
    optimizer = _LBFGS(
        module.parameters(),
        max_iter=100,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    target_B = target_B.double() if target_B.is_floating_point() else target_B

    def loss() -> Tensor:
        optimizer.zero_grad()
        output_BK = module.decide(x_BF[:, None])
        total = plain.compute_loss(output_BK, target_B) + penalty / 2 * layer.weight.square().sum()
        torch.autograd.backward(total)
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]


class _LBFGS(Uncompiled, torch.optim.LBFGS):
    pass


def _layer(module: Head) -> nn.Linear:
    (layer,) = (part for part in module.modules() if isinstance(part, nn.Linear))
    return layer


def _unscaled(module: Head, mean_F: Tensor, deviation_F: Tensor) -> Weights:
    """The same function of features as they come, as parameters."""
    layer = _layer(module)
    with torch.no_grad():
        layer.weight.div_(deviation_F)
        layer.bias.sub_(layer.weight @ mean_F)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
