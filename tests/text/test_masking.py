"""Masking: which word pieces are asked about, and what stands in their place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trivium.text.masking import Draws, Masking, fixed_draws, fresh_draws, mask
from trivium.text.packing import Packer
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "[unused0]", "play", "##ing", "##s", "a", "game", "of", "chess", "now"]
PAD, UNK, CLS, SEP, MASK, UNUSED, PLAY, ING, S, A, GAME, OF, CHESS, NOW = range(14)
ASIS = Masking(masked=0, random=0)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    return Tokenizer(folder)


def pack(tokenizer: Tokenizer, *texts: list[int]) -> Tokens:
    return Packer(tokenizer, 512).pack([[np.asarray(ids, dtype=np.int32)] for ids in texts])


def asked_of(tokens: Tokens, changed: Tokens) -> list[list[int]]:
    """The places that are asked about, text by text, counted from its [CLS]."""
    assert changed.asked_M is not None
    ends = tokens.lengths_R.cumsum(0).tolist()
    found = changed.asked_M.tolist()
    starts = [0, *ends[:-1]]
    return [[m - a for m in found if a <= m < b] for a, b in zip(starts, ends, strict=True)]


def drawn(order: list[float], fate: list[float], word: list[float]) -> Draws:
    return np.asarray([order, fate, word])


def test_a_case_worked_out_by_hand(tokenizer: Tokenizer) -> None:
    # n = 5 word pieces; round(0.5 * 5) = 2 are chosen: the two with the lowest order.
    tokens = pack(tokenizer, [A, GAME, OF, CHESS, NOW])
    order = [0.0, 0.9, 0.2, 0.8, 0.1, 0.7, 0.0]  # [CLS] and [SEP] would come first
    how = Masking(share=0.5, masked=0.6, random=0.3)
    # game's fate lies below 0.6: masked; chess's below 0.9: the piece at 0.99 of all 8 words.
    fate = [0.0, 0.0, 0.59, 0.0, 0.61, 0.0, 0.0]
    changed, target_M = mask(tokens, drawn(order, fate, [0.99] * 7), how, tokenizer)
    assert changed.ids_N.tolist() == [CLS, A, MASK, OF, NOW, NOW, SEP]
    assert asked_of(tokens, changed) == [[2, 4]]
    assert target_M.tolist() == [GAME, CHESS]
    # Above both, it stays and is asked about all the same.
    stays, target_M = mask(tokens, drawn(order, [0.91] * 7, [0.99] * 7), how, tokenizer)
    assert torch.equal(stays.ids_N, tokens.ids_N)
    assert target_M.tolist() == [GAME, CHESS]


words = st.sampled_from([PLAY, ING, S, A, GAME, OF, CHESS, NOW, UNK, SEP, MASK])


@given(
    texts=st.lists(st.lists(words, max_size=40), min_size=1, max_size=6),
    share=st.floats(0.01, 1),
    whole=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_share_of_each_text_is_asked_and_nothing_else_changes(
    tokenizer: Tokenizer, texts: list[list[int]], share: float, whole: bool, seed: int
) -> None:
    tokens = pack(tokenizer, *texts)
    draw_3N = np.random.default_rng(seed).random((3, len(tokens.ids_N)))
    how = Masking(share=share, whole_words=whole)
    changed, target_M = mask(tokens, draw_3N, how, tokenizer)
    assert changed.asked_M is not None
    assert torch.equal(target_M, tokens.ids_N[changed.asked_M])
    rest_N = torch.ones(len(tokens.ids_N), dtype=torch.bool)
    rest_N[changed.asked_M] = False
    assert torch.equal(changed.ids_N[rest_N], tokens.ids_N[rest_N])
    assert torch.equal(changed.positions_N, tokens.positions_N)
    assert torch.equal(changed.lengths_R, tokens.lengths_R)
    special = {PAD, UNK, CLS, SEP, MASK}
    open_texts = [[ids for ids in text if ids not in special] for text in texts]
    if not any(open_texts):
        assert (changed.asked_M.tolist(), target_M.tolist()) == ([0], [CLS])
        return
    assert not special & set(target_M.tolist())
    for places, pieces in zip(asked_of(tokens, changed), open_texts, strict=True):
        wanted = min(len(pieces), max(1, round(share * len(pieces))))
        if whole:
            assert wanted <= len(places)
        else:
            assert len(places) == wanted


@pytest.mark.parametrize("seed", range(10))
def test_whole_words_are_asked_whole_and_no_more_of_them_than_it_takes(
    tokenizer: Tokenizer, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    word = [[PLAY, ING, S], [A], [GAME, S], [OF], [CHESS], [PLAY, ING]]
    chosen = [word[i] for i in rng.integers(0, len(word), 30)]
    text = [piece for pieces in chosen for piece in pieces]
    number = np.repeat(np.arange(30), [len(pieces) for pieces in chosen])
    tokens = pack(tokenizer, text)
    how = Masking(share=0.3, whole_words=True)
    changed, _ = mask(tokens, rng.random((3, len(tokens.ids_N))), how, tokenizer)
    (places,) = asked_of(tokens, changed)
    asked = {int(number[place - 1]) for place in places}
    assert places == [p + 1 for p in range(len(text)) if int(number[p]) in asked]
    wanted = round(0.3 * len(text))
    assert wanted <= len(places) < wanted + 3  # the last word has three pieces at most


def test_a_word_begins_behind_a_special_token(tokenizer: Tokenizer) -> None:
    # [MASK] stands in the text itself; the pieces on its two sides are no one word.
    tokens = pack(tokenizer, [PLAY, MASK, ING])
    how = Masking(share=0.1, whole_words=True)
    for seed in range(5):
        draw_3N = np.random.default_rng(seed).random((3, 5))
        changed, _ = mask(tokens, draw_3N, how, tokenizer)
        assert len(asked_of(tokens, changed)[0]) == 1


def test_a_replaced_word_becomes_any_word_but_nothing_special(tokenizer: Tokenizer) -> None:
    tokens = pack(tokenizer, [A] * 400)
    torch.manual_seed(0)
    how = Masking(share=1, masked=0, random=1)
    changed, _ = mask(tokens, fresh_draws(tokens), how, tokenizer)
    assert set(changed.ids_N[1:-1].tolist()) == set(range(PLAY, NOW + 1))


def test_shares_are_as_given_and_every_place_is_as_likely(tokenizer: Tokenizer) -> None:
    tokens = pack(tokenizer, *[[A] * 20] * 2000)
    torch.manual_seed(0)
    changed, target_M = mask(tokens, fresh_draws(tokens), Masking(), tokenizer)
    assert len(target_M) == 2000 * 3
    assert changed.asked_M is not None
    new_M = changed.ids_N[changed.asked_M]
    # Of the 10 % that become any word, one in eight becomes what it was.
    assert float((new_M == MASK).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((new_M == A).float().mean()) == pytest.approx(0.1 + 0.1 / 8, abs=0.02)
    counts = np.bincount([p for places in asked_of(tokens, changed) for p in places])
    assert counts[1:].min() > 240  # 300 each, with a standard deviation of 16
    assert counts[1:].max() < 360


def test_fresh_draws_follow_the_global_generator(tokenizer: Tokenizer) -> None:
    tokens = pack(tokenizer, [A] * 50)
    torch.manual_seed(5)
    first, second = fresh_draws(tokens), fresh_draws(tokens)
    torch.manual_seed(5)
    assert np.array_equal(first, fresh_draws(tokens))
    assert not np.array_equal(first, second)


def test_fixed_draws_are_a_texts_own_and_leave_the_global_generator_alone(
    tokenizer: Tokenizer,
) -> None:
    texts = [[A, GAME, OF, CHESS], [PLAY, ING, NOW], [A, GAME]]
    before = torch.get_rng_state()
    together = np.split(fixed_draws(pack(tokenizer, *texts)), [6, 11], axis=1)
    reverse = np.split(fixed_draws(pack(tokenizer, *texts[::-1])), [4, 9], axis=1)
    for one, other in zip(together, reverse[::-1], strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(together[0][:, :4], together[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_text_without_words_is_asked_nothing_beside_others(tokenizer: Tokenizer) -> None:
    tokens = pack(tokenizer, [], [A, NOW], [UNK])
    changed, target_M = mask(tokens, fresh_draws(tokens), ASIS, tokenizer)
    asked = asked_of(tokens, changed)
    assert [len(places) for places in asked] == [0, 1, 0]
    assert len(target_M) == 1


def test_shares_above_one_whole_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"0\.9 and 0\.2 are more than 1 together"):
        Masking(masked=0.9, random=0.2)
    assert Masking(masked=0.8, random=0.2).random == 0.2


def test_the_vocabulary_of_minilm_is_sorted_by_kind(minilm: Path) -> None:
    tokenizer = Tokenizer(minilm)
    pieces = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    found = tokenizer.vocabulary
    assert np.flatnonzero(found.special_V).tolist() == [pieces.index(name) for name in SPECIAL]
    assert [pieces[i] for i in np.flatnonzero(found.continues_V)[:3]] == ["##s", "##a", "##e"]
    assert len(found.words) == 30522 - 5 - 994
    assert not any(pieces[i].startswith("[unused") for i in found.words)
    # [ is a word, although special names begin with it.
    assert pieces.index("[") in found.words
