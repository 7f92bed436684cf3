"""A recurrent network over each text's tokens, in both directions."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from trivium.model.encoder import Encoder
from trivium.model.kernels import dropout
from trivium.model.multitask import Head
from trivium.parts.heads.base import (
    TRUNK_NAME,
    Features,
    HeadPart,
    feature_width,
    join,
    linear_layer,
)
from trivium.parts.heads.mlp import HiddenLayers
from trivium.types import Tokens


class BiLSTMHead(HeadPart):
    """A bidirectional LSTM over the tokens, then dropout and one linear layer.

    A text's vector is the last state of the forward direction beside that of the backward one,
    which ends at the first token (Graves & Schmidhuber 2005; both of the top layer). Special tokens
    are read too.
    """

    kind: Literal["bilstm"] = "bilstm"
    width: int | None = Field(default=None, ge=1, le=2**16)
    """Of the state of each direction; by default half of the encoder's."""
    layers: int = Field(default=1, ge=1, le=100)
    features: Features = "uv_diff_product"
    """Of a separately encoded pair."""
    trunk: str | None = Field(default=None, pattern=TRUNK_NAME)
    """Heads of several tasks that name the same trunk share one LSTM, of the same `width` and
    `layers`; what comes after it is each task's own."""
    depth: int = Field(default=0, ge=0, le=100)
    """Hidden layers of the task's own between the LSTM and the output, as wide as a text's vector,
    with dropout before each."""
    activation: Literal["gelu", "none"] = "gelu"
    """After each of those."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1, 2)

    @property
    def shared_trunk(self) -> str | None:
        return self.trunk

    def state(self, width: int) -> int:
        """Numbers in the state of one direction, for an encoder of that width."""
        return self.width or max(1, width // 2)

    def build_trunk(self, width: int, texts: int) -> nn.LSTM:
        """Its LSTM."""
        return nn.LSTM(width, self.state(width), self.layers, bidirectional=True)

    def trunk_shape(self, texts: int) -> dict[str, str]:
        return {
            "`width`": "half of the encoder's" if self.width is None else str(self.width),
            "`layers`": str(self.layers),
        }

    def build(self, width: int, outputs: int, texts: int) -> Head:
        lstm = None if self.trunk else self.build_trunk(width, texts)
        inner = 2 * self.state(width)
        inputs, hidden = feature_width(inner, texts, self.features), None
        if self.depth:
            hidden = HiddenLayers(inputs, inner, self.depth, gelu=self.activation == "gelu")
        linear = linear_layer(inner if hidden else inputs, outputs)
        return _BiLSTMModule(self, lstm, hidden, linear)


class _BiLSTMModule(Head):
    def __init__(
        self,
        part: BiLSTMHead,
        lstm: nn.LSTM | None,
        hidden: HiddenLayers | None,
        linear: nn.Linear,
    ) -> None:
        super().__init__()
        self.dropout, self.features, self.trunk = part.dropout, part.features, part.trunk
        if lstm is not None:
            self.lstm = lstm
        if hidden is not None:
            self.hidden = hidden
        self.linear = linear
        # In a tuple, so that it is no module of this one: the model has it, once, as a trunk.
        self._borrowed: tuple[nn.Module, ...] = ()

    def borrow(self, trunk: nn.Module) -> None:
        self._borrowed = (trunk,)

    @property
    def reader(self) -> nn.LSTM:
        """The LSTM that reads its texts, its own or a trunk."""
        lstm = self._borrowed[0] if self.trunk else self.lstm
        assert isinstance(lstm, nn.LSTM), "check_trunks refuses others"
        return lstm

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        # Lengths are needed as numbers: a GPU is asked for them once a batch.
        texts = torch.split(hidden_ND.float(), tokens.lengths_R.tolist())
        packed: PackedSequence = pack_sequence(list(texts), enforce_sorted=False)
        # E: every layer's ends, the forward one and then the backward one.
        _, (state_ERC, _) = self.reader(packed)
        return torch.cat([state_ERC[-2], state_ERC[-1]], dim=1)

    def represent_padded(self, hidden_RLD: Tensor, mask_RL: Tensor, encoder: Encoder) -> Tensor:
        # A layer at a time, and each direction by itself: only so can the backward one begin at a
        # text's own last token and not at the padding.
        last_R1 = mask_RL.sum(1, keepdim=True) - 1
        place_L = torch.arange(mask_RL.shape[1], device=mask_RL.device)
        back_RL = torch.where(mask_RL, last_R1 - place_L, place_L)
        x_RLC = hidden_RLD
        for layer in range(self.reader.num_layers):
            there_RLC = self._one_way(x_RLC, f"l{layer}")
            back_RLC = self._one_way(_at(x_RLC, back_RL), f"l{layer}_reverse")
            x_RLC = torch.cat([there_RLC, _at(back_RLC, back_RL)], dim=2)
        # Both directions end here: forward at the last token, backward (still turned) there too.
        return torch.cat([_at(there_RLC, last_R1), _at(back_RLC, last_R1)], dim=2)[:, 0]

    def _one_way(self, x_RLC: Tensor, which: str) -> Tensor:
        """One direction of one layer, from the first place to the last: x_RLC -> state_RLC."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights: list[Tensor] = [self.reader.get_parameter(f"{name}_{which}") for name in names]
        start_1RC = x_RLC.new_zeros(1, x_RLC.shape[0], self.reader.hidden_size)
        state_RLC: Tensor
        state_RLC, _, _ = torch.lstm(
            x_RLC, (start_1RC, start_1RC), weights, True, 1, 0.0, False, False, True
        )
        return state_RLC

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        feature_BF = join(vector_BSC, self.features)
        if hasattr(self, "hidden"):
            feature_BF = self.hidden(feature_BF, self.dropout)
        feature_BF = dropout(feature_BF, self.dropout, training=self.training)
        output_BK: Tensor = self.linear(feature_BF)
        return output_BK


def _at(x_RLC: Tensor, place_RM: Tensor) -> Tensor:
    """The vectors at these places of each text: x_RMC."""
    return x_RLC.gather(1, place_RM[:, :, None].expand(-1, -1, x_RLC.shape[2]))
