"""Hand-made batches, and how far apart two tensors are."""

from collections.abc import Sequence

import torch

from trivium.model.encoder import Encoder
from trivium.model.ownership import is_adapter_parameter
from trivium.types import Tokens


def packed(texts: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] = ()) -> Tokens:
    """Texts given as ids (and, if not all zero, their segments), packed one after another."""
    lengths = [len(ids) for ids in texts]
    flat = [segment for each in segments for segment in each] or [0] * sum(lengths)
    return Tokens(
        ids_N=torch.tensor([piece for ids in texts for piece in ids]),
        positions_N=torch.cat([torch.arange(length) for length in lengths]),
        segments_N=torch.tensor(flat),
        lengths_R=torch.tensor(lengths),
        longest=max(lengths),
    )


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was wanted."""
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


def adapter_names(encoder: Encoder) -> list[str]:
    """Names of the parameters that adapters added, in the encoder's order."""
    return [name for name, _ in encoder.named_parameters() if is_adapter_parameter(name)]
