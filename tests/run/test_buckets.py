"""Gradients are averaged over processes in buckets, in any precision, while others are computed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trivium.recipe import Stage, parse_recipe
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.training import buckets
from trivium.run.training.buckets import Mean, in_buckets, reached
from trivium.run.training.distributed import Processes
from trivium.run.training.loss import piece_loss
from trivium.run.training.parameters import start_stage
from trivium.run.training.pieces import pieces
from trivium.run.training.plan import plan_stage
from trivium.run.training.start import start_of
from trivium.run.training.state import Counters
from trivium.run.training.tally import Tally
from trivium.run.training.work import Setup
from trivium.types import Step


@dataclass(frozen=True, slots=True)
class InThreads(Processes):
    """A process that is a thread: with gloo, as processes have it."""

    group: Any = None
    sizes: list[int] = field(default_factory=list)

    def sum_begun(self, flat: Tensor) -> Any:
        self.sizes.append(flat.nbytes)
        return self.group.allreduce([flat])

    def marked_by_any(self, mark_R: Tensor) -> Tensor:
        any_R, most = mark_R.to(torch.uint8), dist.AllreduceOptions()
        most.reduceOp = dist.ReduceOp.MAX  # type: ignore[assignment]
        self.group.allreduce([any_R], most).wait()
        return any_R.bool()


def in_threads(do: Callable[[InThreads], Any]) -> list[Any]:
    """What two processes find."""
    store = dist.HashStore()  # type: ignore[attr-defined]

    def one(rank: int) -> Any:
        group = dist.ProcessGroupGloo(store, rank, 2, timedelta(minutes=5))
        return do(InThreads(rank, 2, group))

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(one, range(2)))


@pytest.fixture
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(buckets, "BUCKET_BYTES", 1000)
    return 1000


def test_buckets_hold_what_fits_and_a_large_one_is_alone(small_buckets: int) -> None:
    tensors = [torch.zeros(size) for size in (100, 100, 100, 400, 1, 249, 1)]
    parts = in_buckets(tensors)
    assert [[len(tensor) for tensor in part] for part in parts] == [
        [100, 100], [100], [400], [1, 249], [1],
    ]  # fmt: skip
    assert in_buckets([]) == []


def test_the_mean_of_many_buckets_is_that_of_each_gradient(small_buckets: int) -> None:
    torch.manual_seed(0)
    given = [[torch.randn(7, 31), torch.randn(500), torch.randn(())] for _ in range(2)]
    wanted = [(a + b) / 2 for a, b in zip(*given, strict=True)]

    def average(process: InThreads) -> list[Tensor]:
        Mean(process).all_(given[process.rank])
        return given[process.rank]

    for found in in_threads(average):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 3)
    )


def gradients_in_two(kind: torch.dtype, rows: Sequence[slice]) -> list[tuple[list[Any], list[int]]]:
    """Of one batch, each process with its rows, by the process, with the sizes that it sent."""
    x_BK, scale = torch.randn(12, 8, generator=torch.Generator().manual_seed(2)), 2 / 12

    def learn(process: InThreads) -> tuple[list[Any], list[int]]:
        ours = models[process.rank]
        share = x_BK[rows[process.rank]]
        loss = ours(share).square().sum() * scale if len(share) else None
        awaited = set() if loss is None else reached(loss)
        with Mean(process, kind).meanwhile(list(ours.parameters()), awaited):
            if loss is not None:
                torch.autograd.backward(loss)
        return [parameter.grad for parameter in ours.parameters()], process.sizes

    models = [model(), model()]
    return in_threads(learn)


def whole() -> list[Tensor]:
    x_BK, one = torch.randn(12, 8, generator=torch.Generator().manual_seed(2)), model()
    torch.autograd.backward(one(x_BK).square().sum() / 12)
    return [parameter.grad for parameter in one.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("shares", [(slice(0, 5), slice(5, 12)), (slice(0, 12), slice(0, 0))])
def test_gradients_that_travel_meanwhile_are_those_of_the_whole_batch(
    small_buckets: int, shares: tuple[slice, slice]
) -> None:
    """Where one process has no row, too: in the same buckets, begun in the same order."""
    found = gradients_in_two(torch.float32, shares)
    for gradients, sizes in found:
        assert len(sizes) > 3
        assert sizes == found[0][1]
        for ours, wanted in zip(gradients, whole(), strict=True):
            torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-5)


def test_in_bf16_half_is_sent_and_three_digits_are_right(small_buckets: int) -> None:
    shares = (slice(0, 5), slice(5, 12))
    full, half = (gradients_in_two(kind, shares)[0] for kind in (torch.float32, torch.bfloat16))
    assert sum(half[1]) * 2 == sum(full[1])
    for ours, exact in zip(half[0], full[0], strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, exact)
        assert (ours - exact).norm() < 2**-7 * exact.norm()


@pytest.fixture
def small_tables(small_buckets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "TABLE_BYTES", 1000)


def table_with(rows: Sequence[int]) -> Tensor:
    """A gradient of 100 rows that is zero but in some; another one for each set of rows."""
    gradient = torch.zeros(100, 8)
    gradient[list(rows)] = torch.randn(
        len(rows), 8, generator=torch.Generator().manual_seed(sum(rows))
    )
    return gradient


@pytest.mark.parametrize(
    ("rows", "sent"),
    [
        (([3, 7, 99], [7, 8]), [3, 7, 8, 99]),
        (([], [5]), [5]),
        (([], []), []),
        ((range(40), range(20, 51)), range(100)),
    ],
    ids=["some of each", "of one process", "none", "more than half"],
)
def test_of_a_large_table_only_rows_with_a_gradient_travel(
    small_tables: None, rows: tuple[Sequence[int], Sequence[int]], sent: Sequence[int]
) -> None:
    given = [table_with(of) for of in rows]
    wanted = (given[0] + given[1]) / 2

    def average(process: InThreads) -> tuple[Tensor, list[int]]:
        Mean(process).all_([given[process.rank]])
        return given[process.rank], process.sizes

    for found, sizes in in_threads(average):
        assert sizes == [len(sent) * 8 * 4]
        assert torch.equal(found, wanted)


def test_a_row_that_is_not_finite_travels_and_is_seen_by_all(small_tables: None) -> None:
    given = [table_with([3]), table_with([4])]
    given[1][4, 2] = torch.nan

    def average(process: InThreads) -> Tensor:
        Mean(process, torch.bfloat16).all_([given[process.rank]])
        return given[process.rank]

    for found in in_threads(average):
        assert found.isnan().nonzero().tolist() == [[4, 2]]


def test_the_last_layers_are_sent_before_the_first_ones_are_computed(small_buckets: int) -> None:
    """A hook of the first layer sees what is underway; also where the very last parameter is one
    that had its gradient before, as a head has that another batch of the step was about."""
    underway: list[int] = []

    def learn(process: InThreads) -> None:
        ours = models[process.rank]
        first_BK = ours[0](torch.randn(2, 8))
        first_BK.register_hook(lambda _: underway.append(len(process.sizes)))
        other = nn.Parameter(torch.ones(400))
        other.grad = torch.ones(400)
        loss = ours[1:](first_BK).sum()
        with Mean(process).meanwhile([*ours.parameters(), other], reached(loss)):
            torch.autograd.backward(loss)

    models = [model(), model()]
    in_threads(learn)
    assert underway == [3, 3]  # of five


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "first piece alone": {"head": {"kind": "linear", "pooling": "cls"}},
    "pooler": {"head": {"kind": "linear", "pooling": "pooler"}},
    "trunk": {"head": {"kind": "mlp", "trunk": "t", "width": 8}},
    "lstm": {"head": {"kind": "bilstm"}},
    "pals": {"adapters": [{"kind": "pals", "size": 8}]},
    "lora": {"adapters": ["lora"]},
    "bitfit": {"trains": "bitfit"},
    "smart": {"regularizers": ["smart"]},
    "rdrop and l2_sp": {"regularizers": ["rdrop", "l2_sp"]},
    "top": {"trains": {"kind": "top", "layers": 1}},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_what_a_loss_reaches_is_what_has_a_gradient_after_it(
    recipe_values: dict[str, Any], kind: dict[str, Any], precision: torch.dtype
) -> None:
    """In compiled kernels, too, where there are any. Which parameters those are, the processes
    agree on before the gradients are computed."""
    task = recipe_values["tasks"]["mood"] | {k: v for k, v in kind.items() if k == "head"}
    stage = {k: v for k, v in kind.items() if k in {"regularizers", "trains"}} | {"steps": 1}
    values = recipe_values | {"tasks": {"mood": task}, "stages": [stage]}
    setup, (stage_of,) = setup_of(values | {"adapters": kind.get("adapters", [])})
    setup.model.encoder.precision = precision
    plan = plan_stage(stage_of, setup.recipe, {"mood": len(setup.encoded["mood"])})
    start_stage(setup, stage_of, plan, Counters())
    setup.model.train()
    step = Step(0, 1, 1, 1, torch.Generator(), {}, steps_per_epoch=1)
    tally, here = Tally(), torch.device("cpu")
    tally.begin("mood", 4, 1.0, here)
    (piece,) = pieces(setup.encoded["mood"], np.arange(4), 10**6, setup.processes, here)
    loss = piece_loss(setup, stage_of, piece, step, tally)
    told = reached(loss)
    torch.autograd.backward(loss)
    names = {id(p): name for name, p in setup.model.named_parameters()}
    found = {id(p) for p in setup.model.parameters() if p.grad is not None}
    assert sorted(names[one] for one in told) == sorted(names[one] for one in found)
    assert found


def setup_of(values: dict[str, Any]) -> tuple[Setup, tuple[Stage, ...]]:
    recipe, data = load_data(parse_recipe(values))
    made, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, made.encoder.config.max_position_embeddings)
    start = start_of(recipe, made.encoder)
    return Setup(recipe, encoded, made, torch.device("cpu"), start=start), recipe.stages
