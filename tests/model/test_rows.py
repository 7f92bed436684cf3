"""Rows that make up for missed steps when they are read have the bits of those that missed none."""

import copy
import gc
import pickle
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.native.adamw import AdamW, fitting
from trivium.model.native.library import library

pytestmark = pytest.mark.skipif(
    library() is None, reason="the compiled kernels are not built, or not for this processor"
)

ROWS, WIDTH, PADDING = 120, 84, 0
BETAS = (0.9, 0.999)


class Table:
    """A matrix with a small one beside it, and a step's loss of both."""

    def __init__(self, *, by_rows: bool, betas: tuple[float, float] = BETAS) -> None:
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(ROWS, WIDTH))
        self.weight.data[PADDING] = 0.0
        self.beside = nn.Parameter(torch.randn(WIDTH))
        groups = [
            {"params": [self.weight], "lr": 1e-2, "weight_decay": 0.1},
            {"params": [self.beside], "lr": 1e-2, "weight_decay": 0.0},
        ]
        found = fitting([self.weight, self.beside])
        assert found is not None
        self.optimizer = AdamW(groups, found, betas=betas, eps=1e-8)
        self.rows = self.optimizer.rows_of(self.weight)
        self.by_rows = by_rows

    def read(self, ids_N: Tensor) -> Tensor:
        if self.by_rows:
            return self.rows.read(ids_N, PADDING)
        return F.embedding(ids_N, self.weight, PADDING)

    def step(self, number: int) -> float:
        """A step with other rates and rows; the clipped norm."""
        generator = torch.Generator().manual_seed(number)
        self.optimizer.param_groups[0]["lr"] = 1e-2 * (1 - number / 400)
        self.optimizer.param_groups[0]["weight_decay"] = (0.1, 0.0, 0.03)[number // 7 % 3]
        for _ in range(1 + number % 3):  # several batches of one step
            span = ROWS if number % 10 == 0 else 30  # most rows are seldom read, some never
            ids_N = torch.randint(0, span, (9,), generator=generator)
            scale_ND = torch.randn(9, WIDTH, generator=generator)
            torch.autograd.backward(((self.read(ids_N) + self.beside) * scale_ND).tanh().sum())
        norm = self.optimizer.clip(1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def numbers(self) -> list[Tensor]:
        slots = [slots for s in self.optimizer.state.values() for slots in s.values()]
        return [t.detach().clone() for t in (self.weight, self.beside, *slots)]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """To the bit, also in the sign of a zero."""
    return all(
        torch.equal(a.view(torch.int32), b.view(torch.int32))
        for a, b in zip(first, second, strict=True)
    )


def is_behind(table: Table) -> bool:
    return type(table.weight) is not nn.Parameter


@pytest.mark.parametrize("betas", [BETAS, (0.5, 0.6)])
def test_after_many_steps_every_bit_is_that_of_updating_all_rows(
    betas: tuple[float, float],
) -> None:
    lazy, dense = Table(by_rows=True, betas=betas), Table(by_rows=False, betas=betas)
    for number in range(150):
        assert lazy.step(number) == dense.step(number)
        assert is_behind(lazy)
        assert not is_behind(dense)
    assert same(lazy.numbers(), dense.numbers())


def test_a_gradient_that_ended_long_ago_makes_the_same_difference() -> None:
    """So many steps that all moments have become 0 on the way."""
    lazy, dense = Table(by_rows=True, betas=(0.8, 0.9)), Table(by_rows=False, betas=(0.8, 0.9))
    for table in (lazy, dense):
        table.step(0)
        for _ in range(1500):
            torch.autograd.backward(table.read(torch.tensor([1, 2])).square().sum())
            table.optimizer.step()
            table.optimizer.zero_grad()
    assert same(lazy.numbers(), dense.numbers())
    moments = lazy.optimizer.state[lazy.weight]
    assert not moments["exp_avg"][3:].any()


def test_rows_read_in_between_are_up_to_date() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    ids_N = torch.tensor([5, 80, 3, 80, 119])
    for number in range(40):
        lazy.step(number)
        dense.step(number)
        assert torch.equal(lazy.read(ids_N), dense.read(ids_N))
        assert is_behind(lazy)  # the others still are


def test_the_gradient_is_that_of_an_embedding_without_padding() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    ids_N = torch.tensor([PADDING, 7, 3, 7, PADDING, 7])
    weight_ND = torch.randn(6, WIDTH)
    for table in (lazy, dense):
        for _ in range(2):
            torch.autograd.backward((table.read(ids_N) * weight_ND).sum())
    sparse, whole = lazy.weight.grad, dense.weight.grad
    assert sparse is not None
    assert whole is not None
    assert sparse.is_sparse
    assert torch.equal(sparse.to_dense(), whole)
    assert lazy.optimizer.clip(1.0) == dense.optimizer.clip(1.0)


def test_by_hand() -> None:
    """Momentum moves a row for which nothing was learned: beta1 = 0.5 and beta2 = 0 make its second
    update (0.25 g / 0.75) / (0 + eps), which eps = 1 keeps small."""
    weight = nn.Parameter(torch.zeros(2, 16))
    found = fitting([weight])
    assert found is not None
    group = {"params": [weight], "lr": 1.0, "weight_decay": 0.0}
    optimizer = AdamW([group], found, betas=(0.5, 0.0), eps=1.0)
    rows = optimizer.rows_of(weight)
    for row in (0, 1):
        torch.autograd.backward(3.0 * rows.read(torch.tensor([row]), None).sum())
        optimizer.step()
        optimizer.zero_grad()
    first = -1 * (1.5 / 0.5) / (3.0 + 1.0)
    second = first - (0.75 / 0.75) / (0.0 + 1.0)
    torch.testing.assert_close(weight[0].detach(), torch.full((16,), second))
    torch.testing.assert_close(weight[1].detach(), torch.full((16,), -2.0 / 4.0))


READERS: dict[str, Callable[[nn.Parameter], Tensor]] = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "sum": lambda w: w + 0,
    "index": lambda w: w[:],
    "embedding": lambda w: F.embedding(torch.arange(ROWS), w),
    "list": lambda w: torch.stack([w])[0],
    "foreach": lambda w: torch._foreach_mul([w], 1.0)[0],
    "clone": lambda w: w.clone(),
    "deepcopy": copy.deepcopy,
    "copy_of_it": copy.copy,
    "pickle": lambda w: pickle.loads(pickle.dumps(w)),
    "numpy": lambda w: torch.from_numpy(w.detach().numpy()),
    "tolist": lambda w: torch.tensor(w.tolist()),
    "state": lambda w: nn.ParameterList([w]).state_dict()["0"],
    "out": lambda w: torch.add(torch.zeros(()), w),
    "operator": lambda w: torch.ops.aten.clone(w),
    "bf16": lambda w: w.double().float(),
    "copy": lambda w: torch.empty(ROWS, WIDTH).copy_(w),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_whoever_reads_the_matrix_reads_what_is_up_to_date(
    reader: Callable[[nn.Parameter], Tensor],
) -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for number in range(12):
        lazy.step(number)
        dense.step(number)
    assert is_behind(lazy)
    with torch.no_grad():
        found = reader(lazy.weight)
    assert torch.equal(found.detach(), dense.weight.detach())
    assert not is_behind(lazy)


def test_reading_a_moment_brings_all_up_to_date_too() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for number in range(12):
        lazy.step(number)
        dense.step(number)
    state = lazy.optimizer.state[lazy.weight]
    expected = dense.optimizer.state[dense.weight]["exp_avg_sq"]
    assert torch.equal(state["exp_avg_sq"] + 0, expected)
    assert not is_behind(lazy)
    assert type(state["exp_avg"]) is Tensor


def test_the_way_it_is_asked_about_without_reading_leaves_it_behind() -> None:
    lazy = Table(by_rows=True)
    lazy.step(1)
    weight = lazy.weight
    assert (weight.shape, weight.numel(), weight.dim()) == ((ROWS, WIDTH), ROWS * WIDTH, 2)
    assert weight.requires_grad
    assert weight.is_leaf
    assert weight.grad is None
    assert isinstance(weight, nn.Parameter)
    assert is_behind(lazy)


def test_whoever_writes_the_matrix_writes_over_what_is_up_to_date() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for number in range(20):
        for table in (lazy, dense):
            table.step(number)
        if number == 10:
            with torch.no_grad():
                lazy.weight[40:] *= 2.0
                dense.weight[40:] *= 2.0
    assert same(lazy.numbers(), dense.numbers())


def test_a_dense_gradient_in_between_is_taken_as_well() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for table in (lazy, dense):
        for number in range(30):
            if number % 4 == 3:  # beside the sparse one, and read whole
                torch.autograd.backward((table.weight * table.beside).sum() * 0.01)
            table.step(number)
    assert same(lazy.numbers(), dense.numbers())


def test_evaluating_in_between_sees_the_right_weights_and_changes_nothing() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for number in range(30):
        lazy.step(number)
        dense.step(number)
        if number % 9 == 8:
            with torch.inference_mode():
                found = F.embedding(torch.arange(ROWS), lazy.weight)
                assert torch.equal(found, F.embedding(torch.arange(ROWS), dense.weight))
    assert same(lazy.numbers(), dense.numbers())


def test_a_state_dict_is_as_if_all_rows_had_been_updated_and_goes_on_alike() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for table in (lazy, dense):
        for number in range(25):
            table.step(number)
    resumed = Table(by_rows=True)
    resumed.step(3)  # something of its own, which is forgotten
    resumed.optimizer.load_state_dict(copy.deepcopy(lazy.optimizer.state_dict()))
    for mine, its in ((resumed.weight, lazy.weight), (resumed.beside, lazy.beside)):
        mine.data.copy_(its.detach())
    for number in range(25, 50):
        lazy.step(number)
        dense.step(number)
        resumed.step(number)
    assert same(resumed.numbers(), dense.numbers())
    assert same(lazy.numbers(), dense.numbers())


def test_the_number_of_threads_changes_no_bit() -> None:
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            table = Table(by_rows=True)
            for number in range(30):
                table.step(number)
            results.append(table.numbers())
    finally:
        torch.set_num_threads(before)
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_a_matrix_outlives_its_optimizer_and_goes_when_nobody_holds_it() -> None:
    lazy, dense = Table(by_rows=True), Table(by_rows=False)
    for number in range(5):
        lazy.step(number)
        dense.step(number)
    weight = lazy.weight
    del lazy
    gc.collect()
    assert torch.equal(weight.detach(), dense.weight.detach())

    lazy = Table(by_rows=True)
    lazy.step(0)
    gone = weakref.ref(lazy.weight)
    del lazy, weight
    gc.collect()
    assert gone() is None


def test_every_step_counts_as_a_change() -> None:
    lazy = Table(by_rows=True)
    before = lazy.weight._version
    lazy.step(0)
    lazy.step(1)
    assert lazy.weight._version >= before + 2


SHAPE = EncoderConfig(
    vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
    intermediate_size=32, max_position_embeddings=16, hidden_dropout_prob=0.0,
)  # fmt: skip


def test_an_encoder_reads_by_rows_only_while_nothing_stands_in_for_its_words() -> None:
    encoder = Encoder(SHAPE)
    tokens = packed([[2, 9, 3], [2, 11, 12, 3]])
    weight = encoder.embeddings.word_embeddings.weight
    found = fitting(encoder.parameters())
    assert found is not None
    optimizer = AdamW([{"params": [*encoder.parameters()]}], found, betas=BETAS, eps=1e-8)
    plain_ND = encoder.embed(tokens)
    encoder.embeddings.rows = optimizer.rows_of(weight)
    x_ND = encoder.embed(tokens)
    assert torch.equal(x_ND, plain_ND)
    torch.autograd.backward(x_ND.square().sum())
    assert weight.grad is not None
    assert weight.grad.is_sparse
    encoder.embeddings.word_embeddings._parameters["weight"] = torch.zeros(50, 32)  # type: ignore[assignment]
    assert not torch.equal(encoder.embed(tokens), plain_ND)
