"""On a GPU: a pass of the encoder's layers and its way back, with and without kernels of Triton.

Each is one recorded graph, so that nothing but the GPU's own time counts. Beside the time stand how
many kernels a pass is, and what share of it the layers' matrix products would take alone; and how
long a pass takes that is not recorded and learns nothing, as in prediction, launching included.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from statistics import median

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.limit import products
from trivium.model.attention import Stream
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.fused import launch
from trivium.model.fused.layers import SWITCH, is_there

CUDA = torch.device("cuda")
MINILM = EncoderConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
    vocab_size=100,
)  # fmt: skip
BASE = EncoderConfig(vocab_size=100)
CASES = (("MiniLM", MINILM, 800), ("MiniLM", MINILM, 6400), ("BERT-base", BASE, 6400))
KINDS = {"plain": "0", "fused": "1"}
"""What the switch says."""
LENGTH = 25
"""Tokens of a text, as in SST-5."""
REPLAYS, WARM_UP = 20, 3
HEAD = ("encoder", "tokens", "kernels", "sizes", "ms", "launches", "products", "predict ms")
ROW = "{:<10} {:>6}  {:<8} {:>8} {:>8} {:>9} {:>9} {:>11}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", nargs="+", default=[f"{launch.PROGRAMS}/{launch.PER_WARP}"],
        metavar="PROGRAMS/PER_WARP", help="other values of these two of model/fused/launch.py",
    )  # fmt: skip
    given = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; Triton works: {is_there()}")
    print(ROW.format(*HEAD))
    for name, config, tokens in CASES:
        alone = _products_ms(config, tokens)
        for kind, sizes in product(KINDS, given.sizes):
            if kind == "plain" and sizes != given.sizes[0]:
                continue
            launch.PROGRAMS, launch.PER_WARP = map(int, sizes.split("/"))
            with _switched(KINDS[kind]):
                ms, launches, predicted = _measure(config, tokens)
            found = (f"{ms:.3f}", launches, f"{alone / ms:.0%}", f"{predicted:.3f}")
            print(ROW.format(name, tokens, kind, sizes, *found), flush=True)


@contextmanager
def _switched(value: str) -> Iterator[None]:
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = value
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


def _measure(config: EncoderConfig, tokens: int) -> tuple[float, int, float]:
    """Milliseconds of a pass and back, its kernels, and milliseconds of a pass that is launched."""
    torch.manual_seed(0)
    encoder = Encoder(config).to(CUDA)
    lengths_R = torch.full((tokens // LENGTH,), LENGTH, device=CUDA)
    stream = Stream.of(lengths_R, 64)
    x_ND = torch.randn(tokens, config.hidden_size, device=CUDA).bfloat16().requires_grad_()
    grad_ND = torch.randn_like(x_ND)
    inputs = [x_ND, *encoder.encoder.parameters()]

    def work() -> None:
        torch.autograd.grad(encoder._through(x_ND, stream), inputs, grad_ND)

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    ms, launches = _graph_ms(work), _launches(work)
    encoder.eval()
    with torch.no_grad():
        return ms, launches, _launched_ms(lambda: encoder._through(x_ND, stream))


def _products_ms(config: EncoderConfig, tokens: int) -> float:
    """Of all layers, each product alone, again and again on the same tensors."""
    total = 0.0
    for each in products(config, tokens):
        left, right = (part.to(CUDA) for part in each.operands(torch.bfloat16))
        work = partial(_times, REPLAYS, partial(torch.mm, left, right))
        total += _graph_ms(work) / REPLAYS
    return total * config.num_hidden_layers


def _times(count: int, work: Callable[[], Tensor]) -> None:
    for _ in range(count):
        work()


def _graph_ms(work: Callable[[], None]) -> float:
    """Median of replays of a graph, by the GPU's own clock."""
    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    found: list[float] = []
    for _ in range(REPLAYS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in "be")  # type: ignore[no-untyped-call]
        began.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        found.append(began.elapsed_time(ended))
    return median(found)


def _launched_ms(work: Callable[[], Tensor]) -> float:
    """Median of passes one after another, each waited for."""
    found = []
    for _ in range(REPLAYS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append((time.perf_counter() - began) * 1e3)
    return median(found)


def _launches(work: Callable[[], None]) -> int:
    """Kernels, and what is copied or set."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    return sum("CUDA" in str(event.device_type) for event in seen.events() or [])


if __name__ == "__main__":
    main()
