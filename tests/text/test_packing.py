"""Packing against transformers: ids, segments, positions and where a pair is cut."""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from trivium.text.cutting import Cut, Ids, cut
from trivium.text.packing import Packer, TokenTable
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


@pytest.mark.parametrize(
    ("keeps", "lengths", "max_length", "kept"),
    [
        ("tail", [8], 6, [[4, 5, 6, 7]]),
        ("head_tail", [8], 6, [[0, 5, 6, 7]]),
        ("head_tail", [9], 8, [[0, 1, 5, 6, 7, 8]]),  # 6 * 1/4 = 1.5: two from the start
        ("head_tail", [8], 3, [[7]]),
        ("head_tail", [8], 2, [[]]),
        ("tail", [8], 2, [[]]),
        ("tail", [5], 7, [[0, 1, 2, 3, 4]]),
        ("tail", [2, 9], 10, [[0, 1], [4, 5, 6, 7, 8]]),
        ("tail", [6, 5], 10, [[2, 3, 4, 5], [2, 3, 4]]),
        ("head_tail", [9, 2], 9, [[0, 6, 7, 8], [0, 1]]),
        ("head_tail", [9, 9], 11, [[0, 6, 7, 8], [0, 6, 7, 8]]),
        ("tail", [0, 9], 6, [[], [6, 7, 8]]),
    ],
)
def test_other_parts_are_kept_by_hand(
    keeps: Cut, lengths: list[int], max_length: int, kept: list[list[int]]
) -> None:
    found = cut([pieces(length) for length in lengths], max_length, keeps)
    assert [part.tolist() for part in found] == kept
    assert {part.dtype for part in found} == {np.dtype(np.int32)}


def test_head_and_tail_of_512_are_the_128_and_382_of_the_paper() -> None:
    (kept,) = cut([pieces(1000)], 512, "head_tail")
    assert kept.tolist() == [*range(128), *range(618, 1000)]


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=2),
    max_length=st.integers(3, 60),
    keeps=st.sampled_from(get_args(Cut)),
)
def test_whatever_is_kept_no_place_is_wasted_and_no_order_changed(
    lengths: list[int], max_length: int, keeps: Cut
) -> None:
    wholes = [pieces(length) for length in lengths]
    room = max_length - 1 - len(lengths)
    kept = cut(wholes, max_length, keeps)
    # Every part may lose as much as the rule of transformers takes from it, only elsewhere.
    assert list(map(len, kept)) == list(map(len, cut(wholes, max_length)))
    assert sum(map(len, kept)) == min(sum(lengths), room)
    for part, whole in zip(kept, wholes, strict=True):
        ids = part.tolist()
        if len(part) == len(whole):
            assert ids == whole.tolist()
            continue
        front = {"head": len(ids), "tail": 0, "head_tail": math.floor(len(ids) / 4 + 0.5)}[keeps]
        back = len(whole) - (len(ids) - front)
        assert ids == [*range(front), *range(back, len(whole))]


@pytest.mark.parametrize("max_length", [2, 5, 16, 128])
def test_the_tail_is_cut_as_by_transformers(
    max_length: int, tokenizer: Tokenizer, minilm: Path
) -> None:
    theirs = AutoTokenizer.from_pretrained(minilm, truncation_side="left")
    wanted = theirs(TEXTS, truncation=True, max_length=max_length)
    table = TokenTable(tokenizer)
    rows = [[table[index]] for index in table.add(TEXTS)]
    assert_same(Packer(tokenizer, max_length, "tail").pack(rows), wanted)


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
