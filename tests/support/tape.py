"""A CPU in the place of a GPU's recorded graphs: the operations that were done once, done again.

A graph knows no Python: it repeats operations on the memory that they had, with the numbers that
Python gave them when it was recorded. So does a tape. What a step takes from Python and changes
from step to step, such as a learning rate, is therefore wrong on a tape as in a graph, while
running the code again would hide it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trivium.model.attention import Stream
from trivium.model.replays import Body

ASKS = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "repeat_interleave.Tensor")
"""Operations whose outcome a graph would have to know beforehand."""
NEW = ("empty", "new_empty", "empty_like", "empty_strided")
"""Operations that make room, and nothing in it."""


def tape(body: Body) -> Body:
    """As `replays.Record`. It does the body once, which its first launch is taken for."""
    recording = _Recording()
    with recording:
        body()
    launches = 0

    def launch() -> None:
        nonlocal launches
        launches += 1
        if launches > 1:
            recording.play()

    return launch


class _Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(operation).removeprefix("aten.")
        if name.startswith(ASKS):
            raise RuntimeError(f"a graph cannot do {name}")
        outcome = operation(*args, **(kwargs or {}))
        if not name.startswith(NEW):
            self.done.append((operation, args, kwargs or {}, outcome))
        return outcome

    @torch.no_grad()
    def play(self) -> None:
        for operation, args, kwargs, outcome in self.done:
            places = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
            anew = operation(*args, **kwargs)
            for old, new in zip(_tensors(outcome), _tensors(anew), strict=True):
                # What is a view of an argument, or that itself, is up to date already.
                if old.untyped_storage().data_ptr() not in places:
                    old.detach().copy_(new)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(list(values.values()))
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            yield from _tensors(value)


def attention(qkv_N3D: Tensor, stream: Stream, heads: int, p: float) -> Tensor:
    """In the place of FlashAttention: of every token to every token, those of other texts hidden.
    Always the same operations, which no length decides. It drops nothing."""
    assert isinstance(stream, Stream)
    tokens = len(qkv_N3D)
    place_N = torch.arange(tokens, dtype=torch.int32, device=qkv_N3D.device)
    text_N = torch.searchsorted(stream.starts[1:].contiguous(), place_N, right=True)
    q, k, v = qkv_N3D.view(tokens, 3, heads, -1).permute(1, 2, 0, 3)
    scores = (q @ k.transpose(1, 2)) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(text_N[:, None] != text_N, -torch.inf)
    mixed_ND: Tensor = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
    return mixed_ND
