"""BERT's head for masked words (Devlin et al. 2019, section 3.1), tied to the word embedding.

The decoder's weight is the encoder's own word embedding: it is trained, saved and combined between
tasks as a part of the encoder, and the head has only what is its own. It serves masked words alone,
and so stands in no union.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trivium.model.encoder import Encoder
from trivium.model.kernels import Linear, dropout, linear
from trivium.model.multitask import Head
from trivium.model.norm import LayerNorm
from trivium.model.pretrained import load_words_head
from trivium.model.weights import check_tensors
from trivium.parts.heads.base import HeadPart
from trivium.types import Tokens


class WordsHead(HeadPart):
    """A transform of the token's vector, then the word embedding as the decoder."""

    kind: Literal["words"] = "words"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Between the two. BERT has none there."""

    @property
    def texts(self) -> tuple[int, ...]:
        return (1,)

    def build(self, width: int, outputs: int, texts: int) -> "WordsModule":
        return WordsModule(width, outputs, self.dropout)


class WordsModule(Head):
    """gelu(W h + b), LayerNorm, then a logit for each of V word pieces; of the asked tokens only.

    Parameters carry the names of Hugging Face's `cls.predictions`, but for the tied weight.
    """

    def __init__(self, width: int, words: int, drop: float) -> None:
        super().__init__()
        self.transform = _Transform(width)
        self.decoder = _TiedDecoder(width, words)
        self.dropout = drop
        self.is_fresh = True
        """Whether it came with no checkpoint, and so starts from the word embedding alone."""

    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        """The logits themselves, fp32: hidden_ND -> logit_MV. Of all tokens they would not fit."""
        assert tokens.asked_M is not None, "batches of masked words say what they ask"
        hidden_MD = hidden_ND.index_select(0, tokens.asked_M)
        vector_MD = self.transform(hidden_MD, encoder.config.layer_norm_eps)
        vector_MD = dropout(vector_MD, self.dropout, training=self.training)
        return self.decoder.read(vector_MD, encoder.embeddings.word_embeddings.weight).float()

    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return vector_BSC.squeeze(1)

    @property
    def origin(self) -> str:
        if self.is_fresh:
            start = "one starts from the word embedding and the pieces' frequencies"
            return f"the checkpoint has no head for masked words; {start}"
        return "the head for masked words is the checkpoint's own"

    @property
    def wants_counts(self) -> bool:
        return self.is_fresh

    def start_from(self, folder: Path) -> None:
        if (known := load_words_head(folder)) is not None:
            check_tensors(known, self.state_dict(), f"{folder}: cls.predictions")
            self.load_state_dict(known)
            self.is_fresh = False

    def start_from_counts(self, count_V: Tensor) -> None:
        """The bias becomes log((n_v + 1) / (n + V)), the best guess before anything is read.
        Learned, it would take a rare piece some thousand steps."""
        with torch.no_grad():
            more_V = count_V + 1.0
            self.decoder.bias.copy_((more_V / more_V.sum()).log())


class _Transform(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.LayerNorm = LayerNorm(width)
        # Top vectors resemble the embedding of their word already: a fresh head lets them through.
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden_MD: Tensor, eps: float) -> Tensor:
        """eps: of LayerNorm, as the checkpoint has it."""
        vector_MD: Tensor = linear(hidden_MD, (self.dense,), gelu=True)
        self.LayerNorm.eps = eps
        out_MD: Tensor = self.LayerNorm(vector_MD)
        return out_MD


class _TiedDecoder(Linear):
    """A layer of which only the bias is its own; the weight is lent for each product."""

    def __init__(self, width: int, words: int) -> None:
        with torch.device("meta"):  # no weight is made
            super().__init__(width, words)
        del self.weight
        self.bias = nn.Parameter(torch.zeros(words))

    def read(self, x_MD: Tensor, weight_VD: Tensor) -> Tensor:
        # Not registered as a parameter: those are saved and optimised, and this one is already.
        self.__dict__["weight"] = weight_VD
        try:
            return linear(x_MD, (self,))
        finally:
            del self.__dict__["weight"]
