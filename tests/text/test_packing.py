"""Packing against transformers: ids, segments, positions and where a pair is cut."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from trivium.text.packing import Ids, Packer, TokenTable, cut
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

TEXTS = [
    "",
    "Short.",
    "A longer sentence with, say, a few commas, and naïve accents.",
    "北京大学 👍🏽 emoji",
    "supercalifragilisticexpialidocious " * 3,
    "one two three four five six seven eight nine ten " * 14,
]
PAIRS = [(first, second) for first in TEXTS for second in TEXTS]


@pytest.fixture(scope="module")
def tokenizer(minilm: Path) -> Tokenizer:
    return Tokenizer(minilm)


@pytest.fixture(scope="module")
def theirs(minilm: Path) -> Any:
    return AutoTokenizer.from_pretrained(minilm)


def pack(tokenizer: Tokenizer, rows: Sequence[Sequence[str]], max_length: int) -> Tokens:
    table = TokenTable(tokenizer)
    packer = Packer(tokenizer, max_length)
    return packer.pack([[table[index] for index in table.add(row)] for row in rows])


def assert_same(found: Tokens, wanted: Any) -> None:
    """wanted: what transformers makes of the same rows, unpadded."""
    lengths = [len(ids) for ids in wanted["input_ids"]]
    assert found.ids_N.tolist() == list(chain(*wanted["input_ids"]))
    assert found.segments_N.tolist() == list(chain(*wanted["token_type_ids"]))
    assert found.positions_N.tolist() == [place for n in lengths for place in range(n)]
    assert found.lengths_R.tolist() == lengths
    assert found.longest == max(lengths)
    tensors = (found.ids_N, found.segments_N, found.positions_N, found.lengths_R)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}


@pytest.mark.parametrize("max_length", [2, 3, 5, 16, 128, 512])
def test_texts_are_packed_and_cut_as_by_transformers(
    max_length: int, tokenizer: Tokenizer, theirs: Any
) -> None:
    wanted = theirs(TEXTS, truncation=True, max_length=max_length)
    assert_same(pack(tokenizer, [(text,) for text in TEXTS], max_length), wanted)


@pytest.mark.parametrize("max_length", [3, 4, 5, 6, 11, 16, 17, 64, 128, 512])
def test_pairs_are_packed_and_cut_as_by_transformers(
    max_length: int, tokenizer: Tokenizer, theirs: Any
) -> None:
    firsts, seconds = map(list, zip(*PAIRS, strict=True))
    wanted = theirs(firsts, seconds, truncation="longest_first", max_length=max_length)
    assert_same(pack(tokenizer, PAIRS, max_length), wanted)


@settings(max_examples=100)
@given(
    pairs=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=4),
    max_length=st.integers(3, 24),
)
def test_any_pairs_are_packed_as_by_transformers(
    tokenizer: Tokenizer, theirs: Any, pairs: list[tuple[str, str]], max_length: int
) -> None:
    firsts, seconds = map(list, zip(*pairs, strict=True))
    wanted = theirs(firsts, seconds, truncation="longest_first", max_length=max_length)
    assert_same(pack(tokenizer, pairs, max_length), wanted)


def test_texts_and_pairs_may_share_a_batch(tokenizer: Tokenizer) -> None:
    tokens = pack(tokenizer, [("a",), ("b", "c d"), ("e",)], 16)
    assert tokens.lengths_R.tolist() == [3, 6, 3]
    assert tokens.segments_N.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert tokens.positions_N.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_length_of_a_sequence_counts_its_special_tokens(tokenizer: Tokenizer) -> None:
    packer = Packer(tokenizer, 4)
    assert packer.length([pieces(5)]) == 7
    assert packer.length([pieces(5), pieces(2)]) == 10


# --- cutting -----------------------------------------------------------------------------------


def pieces(count: int) -> Ids:
    return np.arange(count, dtype=np.int32)


@given(first=st.integers(0, 40), second=st.integers(0, 40), max_length=st.integers(3, 60))
def test_cut_pair_fills_its_room_and_keeps_the_shorter_text_as_far_as_it_can(
    first: int, second: int, max_length: int
) -> None:
    room = max_length - 3
    kept = cut([pieces(first), pieces(second)], max_length)
    left, right = map(len, kept)
    assert left + right == min(first + second, room)
    for part, whole in zip(kept, (first, second), strict=True):
        assert part.tolist() == pieces(whole).tolist()[: len(part)]
    assert left >= min(first, room // 2)
    assert right >= min(second, room // 2)


@pytest.mark.parametrize(
    ("lengths", "max_length", "kept"),
    [
        ((5,), 7, (5,)),
        ((5,), 6, (4,)),
        ((5, 5), 13, (5, 5)),
        ((5, 5), 10, (3, 4)),  # of two alike the second has the odd place
        ((6, 5), 10, (4, 3)),
        ((2, 9), 10, (2, 5)),
        ((9, 2), 10, (5, 2)),
        ((0, 9), 6, (0, 3)),
    ],
)
def test_cuts_by_hand(lengths: tuple[int, ...], max_length: int, kept: tuple[int, ...]) -> None:
    assert tuple(map(len, cut([pieces(length) for length in lengths], max_length))) == kept


# --- the table ---------------------------------------------------------------------------------


def test_table_keeps_each_distinct_text_once(tokenizer: Tokenizer) -> None:
    table = TokenTable(tokenizer)
    assert table.add(["a b", "c", "a b"]) == [0, 1, 0]
    assert table.add(["c", "", "d", "d"]) == [1, 2, 3, 3]
    assert len(table) == 4
    wanted = tokenizer(["a b", "c", "", "d"])
    assert [table[index].tolist() for index in range(4)] == wanted
    assert {table[index].dtype for index in range(4)} == {np.dtype(np.int32)}


def test_table_takes_more_texts_than_it_tokenises_at_once(tokenizer: Tokenizer) -> None:
    table = TokenTable(tokenizer)
    texts = [f"{number}" for number in range(10_050)]
    assert table.add(texts) == list(range(10_050))
    assert table[10_049].tolist() == tokenizer(["10049"])[0]
