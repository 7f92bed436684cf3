"""Rows of texts that are computed once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.tensors import packed
from trivium.model.kept import OBJECT, KeptTexts
from trivium.types import Tokens

ONE, TWO, THREE = [5, 6, 7], [8], [9, 5]


class Maker:
    """Rows that tell of which text, and of which word in it, they are; and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def by_token(self, tokens: Tokens) -> Tensor:
        self.asked.append(tokens.lengths_R.tolist())
        assert len(tokens.ids_N) == tokens.lengths_R.sum()
        assert tokens.longest == tokens.lengths_R.max()
        return torch.stack([tokens.ids_N, tokens.positions_N, tokens.segments_N], 1).float()

    def by_text(self, tokens: Tokens) -> Tensor:
        rows = torch.split(self.by_token(tokens), tokens.lengths_R.tolist())
        return torch.stack([row.sum(0) for row in rows])


def way_of(kept: KeptTexts, maker: Maker, *, by_token: bool) -> Callable[[Tokens], Tensor]:
    if by_token:
        return lambda tokens: kept.of_tokens("it", tokens, maker.by_token)
    return lambda tokens: kept.of_texts("it", tokens, maker.by_text)


@pytest.mark.parametrize("by_token", [True, False])
def test_a_text_is_computed_once_and_comes_out_as_ever(*, by_token: bool) -> None:
    maker, other = Maker(), Maker()
    found = way_of(KeptTexts(1, 10**6), maker, by_token=by_token)
    right = other.by_token if by_token else other.by_text
    for texts in ([ONE, TWO], [TWO, ONE], [THREE, ONE, THREE, TWO], [TWO, TWO], [THREE, ONE]):
        assert torch.equal(found(packed(texts)), right(packed(texts)))
    # A text alone has another one beside it: what is made of a stream of one may differ.
    assert maker.asked == [[3, 1], [2, 3]]


def test_a_text_that_stands_twice_in_its_first_batch_is_computed_beside_itself() -> None:
    maker = Maker()
    found = way_of(KeptTexts(1, 10**6), maker, by_token=True)
    for _ in range(2):
        assert torch.equal(found(packed([ONE, ONE]))[:3], found(packed([ONE, TWO]))[:3])
    assert maker.asked == [[3, 3], [1, 3]]


def test_the_same_words_in_other_segments_are_another_text() -> None:
    maker = Maker()
    found = way_of(KeptTexts(1, 10**6), maker, by_token=True)
    found(packed([ONE, TWO]))
    other = packed([ONE, TWO], [[0, 0, 1], [0]])
    assert torch.equal(found(other), Maker().by_token(other))


def test_what_others_make_of_a_text_is_kept_apart() -> None:
    kept, maker = KeptTexts(1, 10**6), Maker()
    tokens = packed([ONE, TWO])
    assert kept.of_texts("mean", tokens, maker.by_text).shape == (2, 3)
    assert kept.of_tokens("tokens", tokens, maker.by_token).shape == (4, 3)


def test_texts_beyond_its_room_are_computed_each_time() -> None:
    maker = Maker()
    bytes_of_one = 3 * 3 * 4 + 3 * 8 + OBJECT
    kept = KeptTexts(1, bytes_of_one + 10)
    found = way_of(kept, maker, by_token=True)
    for _ in range(2):
        tokens = packed([ONE, THREE])
        assert torch.equal(found(tokens), Maker().by_token(tokens))
    assert maker.asked == [[3, 2], [2, 3]]
    assert (len(kept), kept.room) == (1, 10)


def test_what_is_kept_is_nobody_elses_memory() -> None:
    kept, maker = KeptTexts(1, 10**6), Maker()
    tokens = packed([ONE, TWO])
    before = kept.of_tokens("it", tokens, maker.by_token)
    before.zero_()
    after = kept.of_tokens("it", tokens, maker.by_token)
    assert torch.equal(after, Maker().by_token(tokens))
