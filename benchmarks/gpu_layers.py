"""On a GPU: a pass of the encoder's layers and its way back, with and without kernels of Triton.

Each is one recorded graph, so that nothing but the GPU's own time counts. Beside the time stand how
many kernels a pass is, and what share of it the layers' matrix products would take alone.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.limit import products
from trivium.model.attention import Stream
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.fused.layers import SWITCH, is_there

CUDA = torch.device("cuda")
MINILM = EncoderConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
    vocab_size=100,
)  # fmt: skip
BASE = EncoderConfig(vocab_size=100)
CASES = (("MiniLM", MINILM, 800), ("MiniLM", MINILM, 6400), ("BERT-base", BASE, 6400))
LENGTH = 25
"""Tokens of a text, as in SST-5."""
REPLAYS, WARM_UP = 20, 3


def main() -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; Triton: {is_there()}")
    print(
        f"{'encoder':<10} {'tokens':>6}  {'kernels':<8} {'ms':>8} {'launches':>9} {'products':>9}"
    )
    for name, config, tokens in CASES:
        alone = _products_ms(config, tokens)
        for on in (False, True):
            with _switched(on=on):
                ms, launches = _measure(config, tokens)
            kind = "fused" if on else "plain"
            print(f"{name:<10} {tokens:>6}  {kind:<8} {ms:>8.3f} {launches:>9} {alone / ms:>9.0%}",
                  flush=True)  # fmt: skip


@contextmanager
def _switched(*, on: bool) -> Iterator[None]:
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1" if on else "0"
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


def _measure(config: EncoderConfig, tokens: int) -> tuple[float, int]:
    """Milliseconds of a pass and back, and its kernels."""
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
    return _graph_ms(work), _launches(work)


def _products_ms(config: EncoderConfig, tokens: int) -> float:
    """Of all layers, each product alone, again and again on the same tensors."""
    total = 0.0
    for product in products(config, tokens):
        left, right = (part.to(CUDA) for part in product.operands(torch.bfloat16))
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


def _launches(work: Callable[[], None]) -> int:
    """Kernels, and what is copied or set."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    events = seen.events() or []
    return sum("CUDA" in str(event.device_type) for event in events)


if __name__ == "__main__":
    main()
