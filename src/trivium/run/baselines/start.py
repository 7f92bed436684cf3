"""Heads that start from a linear probe, or are one for as long as they are judged."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from trivium.model.multitask import MultiTaskModel
from trivium.model.weights import Weights, check_tensors


def start_heads(model: MultiTaskModel, starts: Mapping[str, Weights]) -> None:
    """Give heads the parameters that were fitted for them, by task (Kumar et al. 2022, LP-FT)."""
    for name, weights in starts.items():
        head = model.head(name)
        check_tensors(weights, head.state_dict(), f"the probe of {name}")
        head.load_state_dict(weights)


@contextmanager
def fallen_back(model: MultiTaskModel, probes: Mapping[str, Weights]) -> Iterator[None]:
    """Inside, heads are the probes of their tasks; then what they were, to the bit."""
    own = {
        name: {key: tensor.clone() for key, tensor in model.head(name).state_dict().items()}
        for name in probes
    }
    try:
        start_heads(model, probes)
        yield
    finally:
        start_heads(model, own)
