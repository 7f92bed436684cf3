"""Where a run's weights began: what regularizers hold them to."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.ownership import is_adapter_parameter
from trivium.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Start:
    """The encoder's weights as its checkpoint has them, by name; nothing where nobody asks."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    digest: str = ""


def start_of(recipe: Recipe, encoder: Encoder) -> Start:
    """Copies of an encoder's weights, from before anything was trained or resumed."""
    if not any(part.about_weights for stage in recipe.stages for part in stage.regularizers):
        return Start()
    weights = {
        name: parameter.detach().clone()
        for name, parameter in encoder.named_parameters()
        if not is_adapter_parameter(name)
        and not (name.startswith("pooler.") and encoder.pooler_is_fresh)
    }
    digest = hashlib.sha256()
    for name, weight in weights.items():
        digest.update(name.encode())
        digest.update(weight.cpu().numpy().tobytes())
    return Start(weights, digest.hexdigest())


def refuse_another_start(start: Start, saved: str) -> None:
    """Raises RecipeError where a resumed run's checkpoint is not the one that it began with.

    saved: the digest of then; empty where nobody asked.
    """
    if start.digest != saved:
        raise RecipeError(
            "--resume: the encoder's checkpoint changed since this run began, and `l2_sp` holds "
            "the weights to those that it had. Put it back, or start a new run."
        )
