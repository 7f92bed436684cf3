"""Texts to what an encoder reads: once for all who read alike, and no more of it than is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.answering import reading
from trivium.answering.form import Form
from trivium.answering.reading import PLAIN, Reader, Texts, gather
from trivium.errors import RecipeError
from trivium.text.cutting import cut
from trivium.text.packing import Packer
from trivium.text.tokenizer import Tokenizer

LIMIT = 16


def form(name: str, *text: str, **settings: Any) -> Form:
    values = {"apart": False, "max_length": LIMIT, **settings}
    return Form(name=name, kind="classification", text=text, **values)


FORMS = {
    "head": form("head", "text"),
    "short": form("short", "text", max_length=6),
    "tail": form("tail", "text", cut="tail"),
    "own": form("own", "text", own=True),
    "joint": form("joint", "a", "b"),
    "apart": form("apart", "a", "b", apart=True),
}


def reader(tiny: Path) -> Reader:
    return Reader(FORMS, Tokenizer(tiny), LIMIT)


words = st.sampled_from(["good", "cat", "unheardof", " ", "  ", "x" * 40, "é", "[SEP]", "猫"])
texts = st.lists(words, max_size=60).map(" ".join)


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 12))
def test_a_text_is_read_as_if_all_of_it_had_been_tokenised(
    tiny: Path, found: list[str], characters: int
) -> None:
    tokenizer = Tokenizer(tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHARACTERS_PER_PIECE", characters)
        asked = reader(tiny).asked({"head": found, "short": found})
    for one, text in zip(asked, found * 2, strict=True):
        (whole,) = tokenizer([text])
        kept = cut([np.asarray(whole, dtype=np.int32)], FORMS[one.task].max_length)[0]
        assert one.lines[0].ids.tolist() == [tokenizer.cls, *kept, tokenizer.sep]


def test_of_a_long_text_only_the_beginning_is_tokenised(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    call = Tokenizer.__call__

    def counted(self: Tokenizer, given: Sequence[str]) -> list[list[int]]:
        seen.extend(map(len, given))
        return call(self, given)

    monkeypatch.setattr(Tokenizer, "__call__", counted)
    text = "good cat " * 10_000
    reader(tiny).asked({"head": [text]})
    assert sum(seen) <= LIMIT * reading.CHARACTERS_PER_PIECE
    reader(tiny).asked({"tail": [text]})
    assert max(seen) == len(text)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_pairs_are_packed_as_for_training(tiny: Path, pairs: list[tuple[str, str]]) -> None:
    tokenizer = Tokenizer(tiny)
    (joint,) = reader(tiny).read({"joint": pairs})
    distinct = list(dict.fromkeys(pairs))
    pieces = [[np.asarray(i, dtype=np.int32) for i in tokenizer(pair)] for pair in distinct]
    wanted = Packer(tokenizer, LIMIT).pack(pieces)
    assert joint.ids_N.tolist() == wanted.ids_N.tolist()
    assert joint.length_U.tolist() == wanted.lengths_R.tolist()
    firsts = [
        int((part == 0).sum()) for part in torch.split(wanted.segments_N, wanted.lengths_R.tolist())
    ]
    assert joint.first_U.tolist() == firsts
    assert joint.places["joint"][:, 0].tolist() == [distinct.index(pair) for pair in pairs]


def test_tasks_that_read_alike_share_a_pass_and_others_have_their_own(tiny: Path) -> None:
    asks: dict[str, Sequence[Texts]] = {
        "head": ["good", "cat"],
        "apart": [("cat", "dog")],
        PLAIN: ["dog"],
        "short": ["good"],
        "own": ["good"],
    }
    found = {tuple(one.places): one for one in reader(tiny).read(asks)}
    assert set(found) == {("head", "apart", PLAIN), ("short",), ("own",)}
    shared = found["head", "apart", PLAIN]
    assert len(shared.length_U) == 3
    assert shared.places["head"].tolist() == [[0], [1]]
    assert shared.places["apart"].tolist() == [[1, 2]]
    assert shared.places[PLAIN].tolist() == [[2]]
    assert shared.starts().tolist() == [0, *shared.length_U.cumsum()[:-1].tolist()]


def test_rows_of_several_calls_can_be_read_together(tiny: Path) -> None:
    read = reader(tiny)
    asked = read.asked({"head": ["good"]}) + read.asked({"head": ["cat", "good"]})
    (together,) = gather(asked)
    assert together.places["head"].tolist() == [[0], [1], [2]]


def test_a_line_tells_how_long_it_would_have_been(tiny: Path) -> None:
    read = reader(tiny)
    (whole,) = read.asked({"head": ["good cat"]})
    (part,) = read.asked({"tail": ["good cat " * 100]})
    assert whole.lines[0].uncut == len(whole.lines[0].ids) == 4
    assert part.lines[0].uncut == 202
    assert len(part.lines[0].ids) == LIMIT


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ({"heads": ["x"]}, "no task 'heads'.*did you mean 'head'"),
        ({"head": [("a", "b")]}, "row 0 must be a text"),
        ({"joint": [("a", "b"), "a"]}, "row 1 must be a pair of texts"),
        ({"head": [None]}, "row 0 must be a text"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tiny: Path, asks: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        reader(tiny).read(asks)
