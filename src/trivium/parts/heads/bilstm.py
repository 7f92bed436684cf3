"""A recurrent network over each text's tokens, in both directions."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from trivium.model.encoder import Encoder
from trivium.model.kernels import dropout
from trivium.model.multitask import Head
from trivium.parts.heads.base import Features, HeadPart, feature_width, join, linear_layer
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
    layers: int = Field(default=1, ge=1)
    features: Features = "uv_diff_product"
    """Of a separately encoded pair."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1, 2)

    def build(self, width: int, outputs: int, texts: int) -> Head:
        state = self.width or max(1, width // 2)
        lstm = nn.LSTM(width, state, self.layers, bidirectional=True)
        linear = linear_layer(feature_width(2 * state, texts, self.features), outputs)
        return _BiLSTMModule(self, lstm, linear)


class _BiLSTMModule(Head):
    def __init__(self, part: BiLSTMHead, lstm: nn.LSTM, linear: nn.Linear) -> None:
        super().__init__()
        self.dropout, self.features = part.dropout, part.features
        self.lstm, self.linear = lstm, linear

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        # Lengths are needed as numbers: a GPU is asked for them once a batch.
        texts = torch.split(hidden_ND.float(), tokens.lengths_R.tolist())
        packed: PackedSequence = pack_sequence(list(texts), enforce_sorted=False)
        # E: every layer's ends, the forward one and then the backward one.
        _, (state_ERC, _) = self.lstm(packed)
        return torch.cat([state_ERC[-2], state_ERC[-1]], dim=1)

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        feature_BF = join(vector_BSC, self.features)
        feature_BF = dropout(feature_BF, self.dropout, training=self.training)
        output_BK: Tensor = self.linear(feature_BF)
        return output_BK
