"""The other side of training on pairs: the same work, and batches that pad little."""

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasets", reason="sentence-transformers trains only where it is installed")

import torch
from benchmarks.fitting import QUORA, Fit

from benchmarks import pairs, peer
from tests.support.tables import sentence
from trivium.text.tokenizer import Tokenizer
from trivium.types import Example

ROWS = [Example((sentence(row), sentence(3 * row)), row % 2, row + 2) for row in range(12)]


def test_a_batch_s_columns_are_padded_apart() -> None:
    """Two rows of 5 and of 9 places, then one of 1 and 2."""
    assert pairs.places([(5, 2), (1, 2), (3, 9)], [0, 2, 1], batch_size=2) == 2 * (5 + 9) + 1 + 2


def test_rows_are_grouped_by_what_pads_least() -> None:
    draw = random.Random(0)
    found = [(draw.randint(5, 30), draw.randint(5, 30)) for _ in range(400)]
    order = pairs.grouped(found, batch_size=8, seed=0)
    assert sorted(order) == list(range(400))
    least = pairs.places(found, order, 8)
    for key in (max, sum):
        lengths = [key(row) for row in found]
        assert least <= pairs.places(found, peer.grouped_order(lengths, 8, 0), 8)
    assert sum(map(sum, found)) <= least < 0.9 * pairs.places(found, list(range(400)), 8)


def test_lengths_are_those_of_our_own_tokenizer(minilm: Path) -> None:
    tokenizer = Tokenizer(minilm)
    ours = [tuple(len(ids) + 2 for ids in tokenizer(row.texts)) for row in ROWS]
    assert pairs.lengths(minilm, ROWS) == ours


@pytest.mark.filterwarnings("ignore")  # of others' libraries
@pytest.mark.parametrize("settings", [peer.Settings(), peer.Settings(True, "sequential")])
def test_the_encoder_and_the_classifier_of_the_pair_are_trained_on_every_row(
    settings: peer.Settings, tiny: Path, tmp_path: Path
) -> None:
    peer.silence()
    fit = Fit(tmp_path, QUORA, batch_size=4)
    trainer, preparing = pairs.build_trainer(tiny, fit, str(tmp_path), ROWS, settings)
    named = [*trainer.model.named_parameters(), *trainer.loss.classifier.named_parameters()]
    before = {name: parameter.detach().clone() for name, parameter in named}
    seen: list[str] = []
    prepare = preparing.prepare

    def watch(texts: list[str], **told: Any) -> Any:
        seen.extend(texts)
        return prepare(texts, **told)

    preparing.prepare = watch
    assert peer.seconds_of(trainer, steps=3) > 0
    assert preparing.seconds > 0
    texts = [text for row in ROWS for text in row.texts]
    assert sorted(seen) == sorted(texts)
    if settings.order == "sequential":
        assert seen[:4] == [row.texts[0] for row in ROWS[:4]]
    unmoved = {name for name, parameter in named if torch.equal(before[name], parameter)}
    assert all("pooler" in name for name in unmoved), "a mean over the tokens asks for none"
    assert trainer.loss.classifier.weight.shape == (2, 4 * 32), "[u; v; |u-v|; u*v]"
