"""A batch's numbers, packed for one copy and taken apart where they are."""

import pytest
import torch
from torch import Tensor

from tests.support.tensors import packed
from trivium.run.training.inputs import Form, Inputs, to_device
from trivium.run.training.pieces import Piece
from trivium.types import Batch

CPU = torch.device("cpu")
TARGETS = {
    "labels": torch.tensor([3, 0, 2**40]),
    "scores": torch.tensor([0.25, -1.5, 3.0]),
    "several labels": torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]),
    "texts": torch.tensor([[5, 2**62], [1, 5], [0, 9]]),
}


def piece(target_B: Tensor, texts: list[list[int]], loss: float = 1.0) -> Piece:
    segments = [[0] * (len(ids) - 1) + [1] for ids in texts]
    return Piece(Batch("mood", packed(texts, segments), target_B), loss, 1.0)


@pytest.mark.parametrize("name", TARGETS)
def test_a_batch_arrives_as_it_was_with_zeros_behind_it(name: str) -> None:
    target_B = TARGETS[name]
    given = piece(target_B, [[7, 8, 9], [4], [5, 6, 7, 8, 9, 10, 11]], loss=0.375)
    form = Form.of(given.batch)
    assert form.size.tokens == 16
    inputs = Inputs(form, CPU)
    there, tokens = inputs.batch, given.batch.tokens
    inputs.fill(piece(target_B.flip(0), [[1] * 9, [2], [3] * 6]), 2.0)  # whose rest nobody reads
    inputs.fill(given, -0.5)
    assert torch.equal(there.target_B, target_B)
    assert there.target_B.dtype == target_B.dtype
    assert there.tokens.lengths_R.tolist() == [3, 1, 7]
    assert there.tokens.is_filled
    assert there.tokens.longest == 64
    for part in ("ids_N", "positions_N", "segments_N"):
        found, wanted = getattr(there.tokens, part), getattr(tokens, part)
        assert torch.equal(found[:11], wanted)
        assert not found[11:].any()
    assert (inputs.loss.item(), inputs.scale.item()) == (0.375, -0.5)
    assert inputs.loss.dtype == torch.float32


def test_batches_of_one_form_stand_in_the_same_place_and_others_elsewhere() -> None:
    one = piece(TARGETS["labels"], [[7, 8, 9], [4], [5] * 5])
    alike = piece(TARGETS["labels"].flip(0), [[1, 2], [3] * 6, [2]])
    assert Form.of(one.batch) == Form.of(alike.batch)
    others = [
        piece(TARGETS["scores"], [[7, 8, 9], [4], [5] * 5]),
        piece(TARGETS["labels"], [[7, 8, 9], [4], [5] * 14]),
        piece(TARGETS["labels"][:2], [[7, 8, 9], [4] * 6]),
    ]
    assert len({Form.of(other.batch) for other in (one, *others)}) == 4


def test_learning_rates_arrive_in_fp32() -> None:
    there = torch.zeros(3)
    to_device([1e-3, 5e-5, 0.25], there)
    assert there.tolist() == torch.tensor([1e-3, 5e-5, 0.25]).tolist()
