"""Rows through a padded graph: grouped, padded and handed back as they came."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.answering.form import Form
from trivium.answering.reading import PLAIN, Texts
from trivium.answering.says import Floats, Score
from trivium.run.predictor import graph
from trivium.run.predictor.graph import IDS, MASK, PAIRS, TYPES, Feeds, GraphFacts, GraphPredictor
from trivium.text.tokenizer import Tokenizer

SCORE = Score(range=(0, 1))


def form(name: str, *text: str, apart: bool = False, max_length: int = 16) -> Form:
    return Form(
        name=name, kind="regression", text=text, apart=apart, max_length=max_length, says=SCORE
    )


FORMS = {
    "one": form("one", "text"),
    "short": form("short", "text", max_length=5),
    "joint": form("joint", "a", "b"),
    "apart": form("apart", "a", "b", apart=True),
    "other": form("other", "a", "b", apart=True),
}


class Adding(GraphPredictor):
    """Says of a sequence the sum of its pieces, and a hundredth of those in the second segment; of
    a pair apart the first text's less half of the second's."""

    def __init__(self, tokenizer: Path) -> None:
        outputs = {name: name for name in FORMS} | {PLAIN: "embedding"}
        super().__init__(GraphFacts(tokenizer, tokenizer, FORMS, 16, outputs, "fp32"))
        self.places: list[int] = []

    def run(self, feeds: Feeds, names: Sequence[str]) -> list[Floats]:
        assert {grid.shape for name, grid in feeds.items() if name != PAIRS} == {feeds[IDS].shape}
        assert feeds[IDS].dtype == feeds[PAIRS].dtype == np.int64
        assert (feeds[TYPES] <= feeds[MASK]).all()
        self.places.append(feeds[IDS].size)
        each_R = (feeds[IDS] * feeds[MASK] * (1 + feeds[TYPES] / 100)).sum(1)
        pair_P = each_R[feeds[PAIRS][:, 0]] - each_R[feeds[PAIRS][:, 1]] / 2
        said = {n: pair_P if n in ("apart", "other") else each_R for n in names}
        return [said[name].astype(np.float32)[:, None] for name in names]


words = st.lists(st.sampled_from(["good", "cat", "bad", "dog"]), max_size=12).map(" ".join)
pairs = st.tuples(words, words)


@given(
    singles=st.lists(words, max_size=9),
    joint=st.lists(pairs, max_size=9),
    apart=st.lists(pairs, max_size=9),
    budget=st.sampled_from([1, 20, 60, 2048]),
)
def test_rows_get_what_the_graph_says_of_them_however_they_are_batched(
    tiny: Path, singles: list[str], joint: list[tuple[str, str]],
    apart: list[tuple[str, str]], budget: int,
) -> None:  # fmt: skip
    predictor = Adding(tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "PLACES_PER_BATCH", budget)
        asks: dict[str, Sequence[Texts]] = {
            "one": singles, "short": singles, PLAIN: singles,
            "joint": joint, "apart": apart, "other": apart[::-1],
        }  # fmt: skip
        said = predictor.arrays(asks)
    for name in ("one", PLAIN):
        assert said[name][:, 0].tolist() == [summed(tiny, text) for text in singles]
    assert said["short"][:, 0].tolist() == [summed(tiny, text, most=5) for text in singles]
    for name, rows in (("apart", apart), ("other", apart[::-1])):
        wanted = [summed(tiny, a) - summed(tiny, b) / 2 for a, b in rows]
        assert said[name][:, 0].tolist() == wanted
    assert said["joint"].shape == (len(joint), 1)
    if budget == 1 and singles:
        assert max(predictor.places) <= 32  # a row by itself, which may be a pair


def summed(tokenizer: Path, text: str, most: int = 16) -> float:
    """Of the pieces of `[CLS] text [SEP]`."""
    read = Tokenizer(tokenizer)
    (pieces,) = read([text])
    return float(sum([read.cls, *pieces[: most - 2], read.sep]))


def test_the_second_of_two_joined_texts_is_the_second_segment(tiny: Path) -> None:
    read = Tokenizer(tiny)
    good, cat = read(["good", "cat"])
    first = sum([read.cls, *good, read.sep])
    second = sum([*cat, read.sep]) * 1.01
    said = Adding(tiny).arrays({"joint": [("good", "cat")]})["joint"]
    assert said.item() == pytest.approx(first + second, rel=1e-6)
