"""The limit of training: how fast the matrix products of a step would be, if nothing else were.

Of a linear layer on M tokens, from K to N numbers, a step has three products of 2 M K N operations:
the layer itself, the gradient of its input, and that of its weight. What is measured here are these
products of every layer of the encoder, one at a time, again and again on the same tensors: weights
and tokens stand in the processor's caches, and what is packed is packed before the clock starts.
Attention, LayerNorm, GELU, dropout, embeddings, head and optimizer are not in it, nor is padding.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from trivium.model.encoder import EncoderConfig
from trivium.run.assembly.machine import keep_memory

ROUNDS, CALLS = 15, 4
"""A time is the median of so many rounds; in each a product is made so often."""
PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
PASSES = ("forward", "input's gradient", "weight's gradient")

Way = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Product:
    """One of a linear layer's three products."""

    layer: str
    which: str
    """One of PASSES."""
    tokens: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> int:
        return 2 * self.tokens * self.inputs * self.outputs

    def operands(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Laid out in memory as a step has them."""
        x_MK = torch.randn(self.tokens, self.inputs).to(dtype)
        weight_NK = torch.randn(self.outputs, self.inputs).to(dtype)
        grad_MN = torch.randn(self.tokens, self.outputs).to(dtype)
        return {
            "forward": (x_MK, weight_NK.t()),
            "input's gradient": (grad_MN, weight_NK),
            "weight's gradient": (grad_MN.t(), x_MK),
        }[self.which]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a precision allows."""

    tokens_per_s: float
    gflops: float
    """Per second."""
    packed: int
    """How many of the products oneDNN makes faster from packed weights than torch from plain."""


def products(config: EncoderConfig, tokens: int) -> list[Product]:
    """Those of one layer of the encoder."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes = {
        "query, key, value": (width, 3 * width),
        "attention output": (width, width),
        "intermediate": (width, inner),
        "output": (inner, width),
    }
    return [Product(name, which, tokens, *shapes[name]) for name in shapes for which in PASSES]


def limit(config: EncoderConfig, tokens: int, precision: str) -> Limit:
    """tokens: of a batch, without padding."""
    keep_memory()  # as while training: what a product writes is not mapped anew each time
    made = products(config, tokens)
    times = [_times(_ways(product, PRECISIONS[precision])) for product in made]
    layers = config.num_hidden_layers
    seconds = layers * sum(min(each.values()) for each in times)
    flops = layers * sum(product.flops for product in made)
    packed = sum(min(each, key=each.__getitem__) == "packed" for each in times)
    return Limit(tokens / seconds, flops / seconds / 1e9, packed)


def _ways(product: Product, dtype: torch.dtype) -> dict[str, Way]:
    """torch's product, and oneDNN's from weights in its own order where this torch has it."""
    left, right = product.operands(dtype)
    out = torch.empty(left.shape[0], right.shape[1], dtype=dtype)
    ways: dict[str, Way] = {"plain": partial(torch.mm, left, right, out=out)}
    has_onednn = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if has_onednn and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        weight = right.t().contiguous()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, left.shape[0])
        call = torch.ops.mkldnn._linear_pointwise
        ways["packed"] = partial(call, left, packed, None, "none", [], "none")
    return ways


@torch.inference_mode()
def _times(ways: Mapping[str, Way]) -> dict[str, float]:
    """Seconds of each way, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                way()
            if round_:  # the first only makes kernels
                found[name].append((time.perf_counter() - began) / CALLS)
    return {name: median(seconds) for name, seconds in found.items()}
