"""Hidden layers between the vectors and the output; heads that name a trunk share them."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, Protocol

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trivium.model.kernels import dropout
from trivium.model.multitask import Head
from trivium.parts.heads.base import (
    Features,
    HeadPart,
    Pooled,
    PooledPart,
    feature_width,
    join,
    linear_layer,
)


class MLPHead(PooledPart):
    """`depth` hidden layers with GELU, then a linear layer; dropout before each of them."""

    kind: Literal["mlp"] = "mlp"
    depth: int = Field(default=1, ge=1, le=100)
    """Hidden layers."""
    width: int | None = Field(default=None, ge=1, le=2**16)
    """Of a hidden layer; by default the encoder's."""
    features: Features = "uv_diff_product"
    """Of a separately encoded pair."""
    trunk: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w-]*$")
    """Heads of several tasks that name the same trunk share their hidden layers, and so must have
    them alike; each keeps its own output layer."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1, 2)

    @property
    def shared_trunk(self) -> str | None:
        return self.trunk

    def build(self, width: int, outputs: int, texts: int) -> Head:
        hidden = None if self.trunk else self.hidden(width, texts)
        output = linear_layer(self.width or width, outputs)
        return _MLPModule(self, hidden, output)

    def hidden(self, width: int, texts: int) -> "HiddenLayers":
        """The layers that a trunk shares."""
        inputs = feature_width(width, texts, self.features)
        return HiddenLayers(inputs, self.width or width, self.depth)


class HiddenLayers(nn.Module):
    """Linear layers with GELU, dropout before each: x_BF -> hidden_BC."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            # Keeps the size of what goes through, at any width (He et al. 2015, equation 10).
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, drop: float) -> Tensor:
        for layer in self.layers:
            x = F.gelu(layer(dropout(x, drop, training=self.training)))
        return x


class _MLPModule(Pooled):
    def __init__(self, part: MLPHead, hidden: HiddenLayers | None, linear: nn.Linear) -> None:
        super().__init__(part.pooling)
        self.dropout, self.features, self.trunk = part.dropout, part.features, part.trunk
        self.hidden, self.linear = hidden, linear

    def stack(self, trunk: nn.Module | None = None) -> list[tuple[nn.Linear, bool]] | None:
        hidden = trunk if self.trunk else self.hidden
        assert isinstance(hidden, HiddenLayers), "the model hands over the trunk that a head names"
        each = [layer for layer in hidden.layers if isinstance(layer, nn.Linear)]
        return [*((layer, True) for layer in each), (self.linear, False)]

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        layers = trunk if self.trunk else self.hidden
        assert layers is not None, "the model hands over the trunk that a head names"
        hidden_BC = layers(join(vector_BSC, self.features), self.dropout)
        output_BK: Tensor = self.linear(dropout(hidden_BC, self.dropout, training=self.training))
        return output_BK


class HasHead(Protocol):
    """What trunks need to know of a task."""

    @property
    def resolved_head(self) -> HeadPart: ...

    @property
    def sequences(self) -> int: ...


def check_trunks(tasks: Mapping[str, HasHead]) -> None:
    """ValueError where heads name the same trunk but need different hidden layers."""
    first: dict[str, str] = {}
    for name, task in tasks.items():
        if not isinstance(head := task.resolved_head, MLPHead) or head.trunk is None:
            continue
        other = first.setdefault(head.trunk, name)
        mine, theirs = _shape(task, head), _shape(tasks[other], tasks[other].resolved_head)
        for setting, value in mine.items():
            if value != theirs[setting]:
                raise ValueError(
                    f"tasks.{name}.head: shares the trunk {head.trunk!r} with task {other!r}, so "
                    f"their {setting} must be the same, found {value} and {theirs[setting]}. "
                    "Make them alike, or name another trunk"
                )


def build_trunks(tasks: Mapping[str, HasHead], width: int) -> dict[str, nn.Module]:
    """The shared hidden layers by trunk, for an encoder of that width.

    Raises ValueError where heads that share them need different ones.
    """
    check_trunks(tasks)
    trunks: dict[str, nn.Module] = {}
    for task in tasks.values():
        head = task.resolved_head
        if isinstance(head, MLPHead) and head.trunk and head.trunk not in trunks:
            trunks[head.trunk] = head.hidden(width, task.sequences)
    return trunks


def _shape(task: HasHead, head: HeadPart) -> dict[str, str]:
    """What decides the form of a head's hidden layers, as a recipe says it."""
    assert isinstance(head, MLPHead)
    vectors = feature_width(1, task.sequences, head.features)
    what = "one sequence" if task.sequences == 1 else f"a pair's {head.features}"
    return {
        "`depth`": str(head.depth),
        "`width`": "the encoder's" if head.width is None else str(head.width),
        "input": f"{vectors} × the encoder's width ({what})",
    }
