"""AdamW in compiled kernels is PyTorch's, with clipping; its state goes from one to the other."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from trivium.model.native.adamw import AdamW, fitting
from trivium.model.native.library import library

pytestmark = pytest.mark.skipif(
    library() is None, reason="the compiled kernels are not built, or not for this processor"
)

SHAPES = [(), (1,), (15,), (16, 3), (70, 100), (40, 500), (3, 5, 7)]
BETAS, EPS = (0.9, 0.999), 1e-8


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def parameters(seed: int = 0) -> list[nn.Parameter]:
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def groups(tensors: list[nn.Parameter]) -> list[dict[str, object]]:
    return [
        {"params": tensors[::2], "lr": 1e-2, "weight_decay": 0.1},
        {"params": tensors[1::2], "lr": 3e-3, "weight_decay": 0.0},
    ]


def ours(tensors: list[nn.Parameter], betas: tuple[float, float] = BETAS) -> AdamW:
    found = fitting(tensors)
    assert found is not None
    return AdamW(groups(tensors), found, betas=betas, eps=EPS)


def theirs(tensors: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups(tensors), betas=BETAS, eps=EPS, fused=True)


def prepare(optimizer: torch.optim.Optimizer, tensors: list[nn.Parameter], step: int) -> None:
    """A step's rates, and its gradients: some parameter is left out of every step."""
    generator = torch.Generator().manual_seed(step)
    for index, parameter in enumerate(tensors):
        size = 10.0 ** (step % 3 - 2)
        grad = size * torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if (index + step) % 5 == 0 else grad
    for group in optimizer.param_groups:
        group["lr"] *= 0.97


def steps(optimizer: torch.optim.Optimizer, tensors: list[nn.Parameter], many: range) -> None:
    for step in many:
        prepare(optimizer, tensors, step)
        if isinstance(optimizer, AdamW):
            optimizer.clip(1.0)
        else:
            nn.utils.clip_grad_norm_(tensors, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def numbers(optimizer: torch.optim.Optimizer, tensors: list[nn.Parameter]) -> list[Tensor]:
    """Parameters and state, in a fixed order."""
    slots = [optimizer.state[p][name] for p in tensors for name in sorted(optimizer.state[p])]
    return [*(p.detach() for p in tensors), *slots]


def test_many_steps_are_those_of_torch_after_clipping() -> None:
    mine, other = parameters(), parameters()
    first, second = ours(mine), theirs(other)
    steps(first, mine, range(60))
    steps(second, other, range(60))
    for found, expected in zip(numbers(first, mine), numbers(second, other), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-7)


def test_one_step_by_hand() -> None:
    """g = 6 is clipped to 3, so that m = 0.3 and v = 0.009 after one step; both over their
    corrections are 3 and 9, and the step is the learning rate beside the decay."""
    parameter = nn.Parameter(torch.tensor([2.0]))
    found = fitting([parameter])
    assert found is not None
    group = {"params": [parameter], "lr": 0.5, "weight_decay": 0.1}
    optimizer = AdamW([group], found, betas=BETAS, eps=EPS)
    parameter.grad = torch.tensor([6.0])
    assert optimizer.clip(3.0) == 6.0
    optimizer.step()
    state = optimizer.state[parameter]
    assert float(state["step"]) == 1
    assert float(state["exp_avg"]) == pytest.approx(0.3, rel=1e-6)
    assert float(state["exp_avg_sq"]) == pytest.approx(0.009, rel=1e-6)
    assert parameter.item() == pytest.approx(2.0 * (1 - 0.05) - 0.5, rel=1e-6)


def test_the_norm_is_that_before_clipping_and_gradients_stay_as_they_are() -> None:
    tensors = parameters()
    optimizer = ours(tensors)
    prepare(optimizer, tensors, 1)
    before = [None if p.grad is None else p.grad.clone() for p in tensors]
    whole = torch.cat([g.flatten().double() for g in before if g is not None])
    assert optimizer.clip(1e-3) == pytest.approx(float(whole.norm()), rel=1e-12)
    for parameter, grad in zip(tensors, before, strict=True):
        if grad is None or parameter.grad is None:
            assert grad is parameter.grad
        else:
            assert torch.equal(grad, parameter.grad)


def test_clipping_lasts_for_one_step() -> None:
    tensors, same = parameters(), parameters()
    optimizer, plain = ours(tensors), ours(same)
    prepare(optimizer, tensors, 0)
    optimizer.clip(1e-3)
    optimizer.zero_grad()  # that step is given up
    for parameter, other in zip(tensors, same, strict=True):
        parameter.grad, other.grad = torch.ones_like(parameter), torch.ones_like(other)
    optimizer.step()
    for group in plain.param_groups:
        group["lr"] *= 0.97
    plain.step()
    assert all(torch.equal(a, b) for a, b in zip(tensors, same, strict=True))


def test_what_is_not_finite_is_told_and_nothing_has_changed() -> None:
    tensors = parameters()
    optimizer = ours(tensors)
    prepare(optimizer, tensors, 1)
    tensors[3].grad = torch.full(SHAPES[3], math.nan)
    before = [p.detach().clone() for p in tensors]
    assert math.isnan(optimizer.clip(1.0))
    assert all(torch.equal(p, b) for p, b in zip(tensors, before, strict=True))
    assert not optimizer.state


def test_without_any_gradient_the_norm_is_zero_and_nothing_happens() -> None:
    tensors = parameters()
    optimizer = ours(tensors)
    assert optimizer.clip(1.0) == 0.0
    optimizer.step()
    assert not optimizer.state


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        tensors = parameters()
        optimizer = ours(tensors)
        steps(optimizer, tensors, range(7))
        results.append(numbers(optimizer, tensors))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_state_dict_goes_on_in_the_other_optimizer(*, ours_first: bool) -> None:
    start, end = (ours, theirs) if ours_first else (theirs, ours)
    mine, plain = parameters(), parameters()
    first, reference = start(mine), theirs(plain)
    steps(first, mine, range(9))
    second = end(mine)
    saved = copy.deepcopy(first.state_dict())
    assert saved.keys() == reference.state_dict().keys()
    second.load_state_dict(saved)
    steps(second, mine, range(9, 20))
    steps(reference, plain, range(20))
    for found, expected in zip(numbers(second, mine), numbers(reference, plain), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-7)
    for mine_too, slots in zip(second.state.values(), reference.state.values(), strict=True):
        assert mine_too.keys() == slots.keys()
        assert all(mine_too[k].dtype == slots[k].dtype for k in slots)
    ends = [o.state_dict()["param_groups"][0].keys() for o in (second, reference)]
    assert ends[0] == ends[1]


def test_moments_that_are_denormal_are_zero() -> None:
    parameter = nn.Parameter(torch.ones(20))
    found = fitting([parameter])
    assert found is not None
    optimizer = AdamW([{"params": [parameter]}], found, betas=(0.9, 0.9), eps=EPS)
    parameter.grad = torch.full((20,), 1e-37)
    for _ in range(60):
        optimizer.step()
        parameter.grad = torch.zeros(20)
    assert not optimizer.state[parameter]["exp_avg"].any()


def test_it_does_not_take_what_it_cannot_train() -> None:
    plain = nn.Parameter(torch.zeros(4, 4))
    assert fitting([plain]) is not None
    for other in (torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4).t()[:2]):
        assert fitting([plain, nn.Parameter(other)]) is None
