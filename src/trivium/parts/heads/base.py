"""What all heads share: their settings, pooling, and the features of a pair."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trivium.model.encoder import Encoder
from trivium.model.multitask import Cosine, Head, Pooling, pool, pool_padded
from trivium.part import Part
from trivium.types import Tokens

TRUNK_NAME = r"^[A-Za-z_][\w-]*$"
Features = Literal["uv", "uv_diff_product"]
"""`uv` is [u; v] (Reimers & Gurevych 2019 call it the concatenation of both); `uv_diff_product`
is [u; v; |u-v|; u*v], which sees agreement directly (their section 3, and InferSent)."""

Start = Literal["random", "probe"]
"""Where a head's weights start: small and drawn, or as those of a linear probe on the encoder as it
is, fitted to the training rows (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", LP-FT)."""


class HeadPart(Part):
    """What every head can choose."""

    kind: str
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _only_linear_ones_start_from_a_probe(cls, values: Any) -> Any:
        if isinstance(values, dict) and "start" in values and "start" not in cls.model_fields:
            kind = cls.model_fields["kind"].default
            raise ValueError(
                f"start: {values['start']!r}: only a head that is one linear layer can start from "
                f"a linear probe, and {kind} is none; use linear (one text, or `encode: joint`) or "
                "concat (a pair), or leave `start` out"
            )
        return values

    @property
    def can_start_from_probe(self) -> bool:
        """Whether it is one linear layer, such as a linear probe is."""
        return False

    @property
    def starts_from_probe(self) -> bool:
        """Whether its weights start as those of a linear probe."""
        return False

    @property
    @abstractmethod
    def texts(self) -> tuple[int, ...]:
        """Numbers of encoded texts per row that the head can take."""

    @property
    def outputs(self) -> int | None:
        """Number of outputs if the head fixes it."""
        return None

    @property
    def wants_pooler(self) -> bool:
        """Whether the encoder must have BERT's pooler."""
        return False

    @property
    def shared_trunk(self) -> str | None:
        """The hidden layers that it shares with heads that name the same; None: all is its own."""
        return None

    def of_cosine(self, learned: Callable[[str], float | None]) -> Cosine | None:
        """What it makes of the cosine of a pair's vectors, if it sees nothing else of them.

        learned: a number that its module learned, by name; None where that is not known.
        """
        return None

    def build_trunk(self, width: int, texts: int) -> nn.Module:
        """The module of its `shared_trunk`, for an encoder of that width and rows of so many
        encoded texts."""
        raise TypeError(f"{self.kind}: has no trunk")

    def trunk_shape(self, texts: int) -> dict[str, str]:
        """What decides the form of its trunk, as a recipe says it: setting -> value in words."""
        return {}

    @abstractmethod
    def build(self, width: int, outputs: int, texts: int) -> Head:
        """The module, for an encoder of that width and rows of so many encoded texts."""


class PooledPart(HeadPart):
    """A head that starts from one pooled vector per text."""

    pooling: Pooling = "mean"
    """One vector per text: the [CLS] token, BERT's pooler, or mean or max over the tokens."""

    @property
    def wants_pooler(self) -> bool:
        return self.pooling == "pooler"

    @property
    def pair_features(self) -> Features:
        """What `join` makes of a pair for it; of a single text it does not matter."""
        return "uv"


class Pooled(Head):
    """The module of a head that starts from one pooled vector per text."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling: Pooling = pooling

    @property
    def pools(self) -> Pooling:
        return self.pooling

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        return pool(hidden_ND, tokens, encoder, self.pooling)

    def represent_padded(self, hidden_RLD: Tensor, mask_RL: Tensor, encoder: Encoder) -> Tensor:
        return pool_padded(hidden_RLD, mask_RL, encoder, self.pooling)


def linear_layer(inputs: int, outputs: int) -> nn.Linear:
    """A last layer: it starts small, as BERT's own layers do."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def feature_width(width: int, texts: int, features: Features) -> int:
    """Numbers that `join` makes of a row."""
    return width * (1 if texts == 1 else 2 if features == "uv" else 4)


def join(vector_BSC: Tensor, features: Features) -> Tensor:
    """One text's vector as it is, or the features of a pair: vector_BSC -> feature_BF."""
    if vector_BSC.shape[1] == 1 or features == "uv":
        return vector_BSC.flatten(1)
    u_BC, v_BC = vector_BSC.unbind(1)
    return torch.cat([u_BC, v_BC, (u_BC - v_BC).abs(), u_BC * v_BC], dim=1)
