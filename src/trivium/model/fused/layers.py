"""All layers of a pass, and whether they may be computed so. Shape letters: see `trivium.types`."""

import logging
import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from subprocess import SubprocessError

import torch
from torch import Tensor

from trivium.errors import first_line
from trivium.model.attention import Stream
from trivium.model.copies import remade
from trivium.model.fused import launch, short
from trivium.model.fused.layer import Copies, How, Layer, Pass
from trivium.model.kernels import Linear, joined, lora_of
from trivium.model.native.stack import LayerModules

LOG = logging.getLogger("trivium.model")
SWITCH = "TRIVIUM_TRITON"
"""Environment variable: 0 leaves the kernels unused."""
WIDEST = 1024
"""Columns that a program of `norm` holds at once."""


def fits(x_ND: Tensor, layers: Sequence[LayerModules], heads: int) -> bool:
    """Whether layers can be computed so of such an input on this machine."""
    return x_ND.is_cuda and suits(x_ND, layers, heads) and is_there()


def suits(x_ND: Tensor, layers: Sequence[LayerModules], heads: int) -> bool:
    """Whether the kernels have what such layers need."""
    tokens, width = x_ND.shape
    size, inner = width // heads, layers[0].inner.out_features
    if x_ND.dtype != torch.bfloat16 or width > WIDEST or size % 8 or size > 256:
        return False
    if not 0 < tokens < 2**31 // max(3 * width, inner):  # the kernels count in 32 bits
        return False
    parts = [part for layer in layers for part in layer.linear()]
    plain = all(lora_of(part) is None and part.bias is not None for part in parts)
    return plain and all(part.weight.dtype == torch.float32 for part in parts)


def wanted() -> bool:
    """Unless somebody refuses the kernels."""
    return os.environ.get(SWITCH) != "0"


def is_there() -> bool:
    """Whether Triton is there, works, and is not refused."""
    return wanted() and _works()


def encode(x_ND: Tensor, stream: Stream, layers: Sequence[LayerModules], how: How) -> Tensor:
    """hidden_ND in bf16; p of `how`: 0 outside training."""
    # PyTorch launches where a tensor is, Triton on the current GPU.
    with torch.cuda.device_of(x_ND):  # type: ignore[no-untyped-call]
        return _encode(x_ND.contiguous(), stream, layers, how)  # the kernels read row after row


def _encode(x_ND: Tensor, stream: Stream, layers: Sequence[LayerModules], how: How) -> Tensor:
    # Drawn on the device, so that a recorded graph draws anew each time.
    seed = torch.empty(1, dtype=torch.int64, device=x_ND.device)
    if short.suits(stream.longest, x_ND.shape[1] // how.heads):
        how = how._replace(attention=short)
    drops = how.p > 0 or how.attention_p > 0
    one = Pass(how, stream, seed.random_() if drops else seed)
    for place, layer in enumerate(layers):
        parameters = parameters_of(layer)
        x_ND = Layer.apply(x_ND, one, _copies(layer), place, *parameters)  # type: ignore[no-untyped-call]
    return x_ND


def parameters_of(layer: LayerModules) -> list[Tensor]:
    """As `layer.Parameters` has them."""
    parts, norms = layer.linear(), (layer.mixed_norm, layer.outer_norm)
    return [
        *(part.weight for part in parts),
        *(part.bias for part in parts),
        *(each for norm in norms for each in (norm.weight, norm.bias)),
    ]


def _copies(layer: LayerModules) -> Copies:
    return Copies(*(_copy(parts) for parts in layer.products()))


def _copy(parts: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """The same that `kernels.linear` reads, which recorded graphs renew."""
    read = [*(part.weight for part in parts), *(part.bias for part in parts)]
    weight, bias = remade(parts, torch.bfloat16, joined, read)
    assert bias is not None
    return weight, bias


@cache
def _works() -> bool:
    """Whether Triton is installed, and can make a kernel here: it needs a C compiler."""
    if find_spec("triton") is None or torch.version.cuda is None:
        return False
    if torch.cuda.get_device_capability() < (8, 0):
        return False  # no bf16
    try:
        sums = launch.Sums(1, [16], torch.device("cuda"))
        sums.parts[0].place.fill_(3.0)
        return bool((sums.added()[0] == 3.0).all())
    except (ImportError, OSError, RuntimeError, SubprocessError) as error:
        LOG.warning(
            "Triton is installed, but makes no kernel here (%s): layers are computed without it, "
            "slower. A C compiler may help; %s=0 tries none.",
            first_line(error), SWITCH,
        )  # fmt: skip
        return False
