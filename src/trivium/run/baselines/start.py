"""Heads that start from a linear probe."""

from collections.abc import Mapping

from trivium.model.multitask import MultiTaskModel
from trivium.model.weights import Weights, check_tensors


def start_heads(model: MultiTaskModel, starts: Mapping[str, Weights]) -> None:
    """Give heads the parameters that were fitted for them, by task (Kumar et al. 2022, LP-FT)."""
    for name, weights in starts.items():
        head = model.head(name)
        check_tensors(weights, head.state_dict(), f"the probe of {name}")
        head.load_state_dict(weights)
