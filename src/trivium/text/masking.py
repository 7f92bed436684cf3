"""Masked words: which word pieces a model is asked about, and what stands in their place.

Devlin et al. 2019, section 3.1; new masks each time a text is seen are Liu et al. 2019, section
4.1.
"""

import zlib
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from trivium.part import Part
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

Draws = NDArray[np.float64]
"""Three numbers from [0, 1) for every token, draw_3N: what order it is chosen in, what becomes of
it, and which word piece takes its place."""


class Masking(Part):
    """How many word pieces are chosen, and what becomes of them.

    Those that are neither masked nor replaced stay as they are, and are asked about all the same.
    """

    share: float = Field(default=0.15, gt=0, le=1)
    """Of a text's word pieces, rounded, and at least one."""
    masked: float = Field(default=0.8, ge=0, le=1)
    """Of the chosen ones, become [MASK]."""
    random: float = Field(default=0.1, ge=0, le=1)
    """Of the chosen ones, become any word piece."""
    whole_words: bool = False
    """Choose words instead of word pieces, until they have as many pieces or more."""

    @model_validator(mode="after")
    def _shares_of_one_whole(self) -> "Masking":
        if self.masked + self.random > 1 + 1e-9:
            raise ValueError(
                f"masked and random are shares of the chosen word pieces, but {self.masked:g} and "
                f"{self.random:g} are more than 1 together"
            )
        return self


def fresh_draws(tokens: Tokens) -> Draws:
    """From torch's global generator, whose state checkpoints hold."""
    draw_3N: Draws = torch.rand(3, len(tokens.ids_N), dtype=torch.float64).numpy()
    return draw_3N


def fixed_draws(tokens: Tokens) -> Draws:
    """Every text's own, a function of its word pieces alone: the same in any batch and any run."""
    ids_N = tokens.ids_N.numpy()
    ends_R = tokens.lengths_R.cumsum(0).tolist()
    each = []
    for start, end in zip([0, *ends_R], ends_R, strict=False):
        seed = zlib.crc32(ids_N[start:end].tobytes())
        each.append(np.random.default_rng(seed).random((3, end - start)))
    return np.concatenate(each, axis=1)


def has_words(tokens: Tokens, tokenizer: Tokenizer) -> bool:
    """Whether there is a word piece that can be asked about."""
    return not bool(tokenizer.vocabulary.special_V[tokens.ids_N.numpy()].all())


def mask(
    tokens: Tokens, draw_3N: Draws, how: Masking, tokenizer: Tokenizer
) -> tuple[Tokens, Tensor]:
    """The tokens with some changed and `asked_M` set; what had stood there, target_M.

    On the CPU. Special tokens are never chosen and never put in a word's place. Where no text has
    a word, the first token is asked about as it stands, since a batch must ask something.
    """
    ids_N = tokens.ids_N.numpy()
    vocabulary = tokenizer.vocabulary
    asked_M = _chosen(tokens, draw_3N[0], how, tokenizer)
    if len(asked_M) == 0:
        return replace(tokens, asked_M=torch.zeros(1, dtype=torch.int64)), tokens.ids_N[:1]
    target_M = ids_N[asked_M]
    fate_M, word_M = draw_3N[1, asked_M], draw_3N[2, asked_M]
    any_M = vocabulary.words[(word_M * len(vocabulary.words)).astype(np.int64)]
    new_M = np.where(fate_M < how.masked + how.random, any_M, target_M)
    new_ids_N = ids_N.copy()
    new_ids_N[asked_M] = np.where(fate_M < how.masked, tokenizer.mask, new_M)
    changed = replace(tokens, ids_N=torch.from_numpy(new_ids_N), asked_M=torch.from_numpy(asked_M))
    return changed, torch.from_numpy(target_M)


def _chosen(
    tokens: Tokens, order_N: NDArray[np.float64], how: Masking, tokenizer: Tokenizer
) -> NDArray[np.int64]:
    """Places of the chosen tokens, rising.

    W words, of which each has one word piece or more, are taken in the order of their first
    pieces' draws while their text has chosen too few pieces. Without `whole_words`, every piece
    is a word.
    """
    ids_N, length_R = tokens.ids_N.numpy(), tokens.lengths_R.numpy()
    text_N = np.repeat(np.arange(len(length_R)), length_R)
    # P: the word pieces that may be chosen.
    place_P = np.flatnonzero(~tokenizer.vocabulary.special_V[ids_N])
    starts_P = np.ones(len(place_P), dtype=bool)
    if how.whole_words:
        # Behind a special token a word begins, whatever its piece looks like.
        starts_P[1:] = ~tokenizer.vocabulary.continues_V[ids_N[place_P[1:]]] | (
            np.diff(place_P) > 1
        )
    text_P = text_N[place_P]
    pieces_R = np.bincount(text_P, minlength=len(length_R))
    wanted_R = np.maximum(1, np.rint(how.share * pieces_R))
    first_W = np.flatnonzero(starts_P)
    size_W = np.diff(first_W, append=len(place_P))
    order_W = np.lexsort((order_N[place_P[first_W]], text_P[first_W]))
    text_W, sorted_W = text_P[first_W[order_W]], size_W[order_W]
    before_W = sorted_W.cumsum() - sorted_W - (pieces_R.cumsum() - pieces_R)[text_W]
    is_chosen_W = np.empty(len(first_W), dtype=bool)
    is_chosen_W[order_W] = before_W < wanted_R[text_W]
    place_M: NDArray[np.int64] = place_P[np.repeat(is_chosen_W, size_W)]
    return place_M
