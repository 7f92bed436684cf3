"""What `trivium calibrate` found of a task, put into a last layer as far as it can hold that.

softmax(log softmax(z) / T + log prior) is softmax(z / T + log prior), and of several labels it is
the same with the sigmoid: another linear layer, W / T and b / T + log prior. Which label is then
answered, and whether one is, no layer can say where it is not the most probable one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.run.exporting.layers import Plain

CALIBRATED, IN_WEIGHTS, TO_APPLY = "calibrated", "in_the_weights", "to_be_applied"
"""What is told of it, in a `config.json` and a `trivium.json`."""
HELD = ("temperature", "prior")
"""Settings of Decide that a layer can hold."""


@dataclass(frozen=True, slots=True)
class Folded:
    plain: Plain
    in_weights: Mapping[str, Any] = field(default_factory=dict)
    """Settings of Decide that the layers hold now."""
    to_apply: Mapping[str, Any] = field(default_factory=dict)
    """Those that whoever reads the outputs is to see to."""

    def facts(self) -> dict[str, Any]:
        """Of a task that was calibrated; else nothing."""
        if not self.in_weights and not self.to_apply:
            return {}
        told = {IN_WEIGHTS: dict(self.in_weights), TO_APPLY: dict(self.to_apply)}
        return {CALIBRATED: told}


def folded(found: Plain, task: Task) -> Folded:
    """found: as trained, with logits as outputs."""
    if not isinstance(task, Labelled) or task.decide is None:
        return Folded(found)
    decide, (*first, last) = task.decide, found.layers
    prior_K = torch.tensor([decide.prior.get(name, 1.0) for name in task.names])
    calibrated = replace(
        last,
        weight_CF=last.weight_CF / decide.temperature,
        bias_C=last.bias_C / decide.temperature + prior_K.log().to(last.bias_C.dtype),
    )
    told = decide.model_dump(mode="json", exclude_defaults=True)
    to_apply = {name: value for name, value in told.items() if name not in HELD}
    if to_apply and isinstance(task, Multilabel):
        # So that each label's is there, whether it was found or is the task's own.
        own = decide.thresholds
        to_apply["thresholds"] = {name: own.get(name, task.threshold) for name in task.names}
    in_weights = {name: told[name] for name in HELD if name in told}
    return Folded(Plain(found.pooling, (*first, calibrated)), in_weights, to_apply)
