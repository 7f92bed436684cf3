"""Training as the course's own optimizer does: another eps, decay on all, no clipping."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.native import switched
from tests.support.tensors import packed
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.native import adamw as native
from trivium.model.native.library import SWITCH, library
from trivium.parts.optim import AdamW, LearningRates
from trivium.recipe import Stage, load_recipe

SHAPE = EncoderConfig(
    vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=16, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)  # fmt: skip
COURSE = {"eps": 1e-6, "decay": "all"}


@pytest.fixture(params=["plain", "kernels"])
def kernels(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the compiled AdamW trains."""
    wanted = request.param == "kernels"
    with switched(os.environ.get(SWITCH, "1") if wanted else "0"):
        if wanted and library() is None:
            pytest.skip("the compiled kernels are not built, or not for this processor")
        yield wanted


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"encoder": Encoder(SHAPE), "head": nn.Linear(32, 3)})


def loss_of(module: nn.ModuleDict, step: int) -> torch.Tensor:
    """Of two short texts: most rows of the word embedding are read in few steps."""
    first, second = 2 + step % 7, 9 + 3 * step % 20
    encoder = module["encoder"]
    assert isinstance(encoder, Encoder)
    tokens = packed([[2, first, 3], [2, second, second + 1, 3]])
    hidden_ND = encoder.encode(encoder.embed(tokens), tokens, "some")
    loss: torch.Tensor = module["head"](hidden_ND).tanh().square().sum()
    return loss


def train(optimizer: torch.optim.Optimizer, module: nn.ModuleDict, steps: int) -> None:
    encoder = module["encoder"]
    assert isinstance(encoder, Encoder)
    weight = encoder.embeddings.word_embeddings.weight
    for step in range(steps):
        if isinstance(optimizer, native.AdamW):
            encoder.embeddings.rows = optimizer.rows_of(weight)
            optimizer.zero_grad()
        torch.autograd.backward(loss_of(module, step))
        encoder.embeddings.rows = None
        if isinstance(optimizer, native.AdamW):
            optimizer.clip(math.inf)  # as a stage with `clip: null` does
        optimizer.step()
        optimizer.zero_grad()


def built(module: nn.ModuleDict, part: AdamW, rate: float) -> torch.optim.Optimizer:
    encoder, head = module["encoder"], module["head"]
    lr = LearningRates(encoder=rate, heads=rate)
    return part.build(encoder.named_parameters(), head.named_parameters(), lr)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_with_decay_on_all_it_is_torchs_own_adamw_without_any_groups(
    kernels: bool, weight_decay: float
) -> None:
    ours, theirs = model(), model()
    optimizer = built(ours, AdamW.model_validate(COURSE | {"weight_decay": weight_decay}), 1e-3)
    assert isinstance(optimizer, native.AdamW) is kernels
    plain = torch.optim.AdamW(
        theirs.parameters(), lr=1e-3, eps=1e-6, weight_decay=weight_decay, foreach=False
    )
    train(optimizer, ours, 12)
    train(plain, theirs, 12)
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        # A few hundredths of the rate: kernels and PyTorch do not round a gradient alike.
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=2e-5)


def test_decay_on_all_moves_biases_norms_and_single_numbers() -> None:
    named = [
        ("dense.weight", nn.Parameter(torch.ones(2, 2))),
        ("dense.bias", nn.Parameter(torch.ones(2))),
        ("LayerNorm.weight", nn.Parameter(torch.ones(2))),
        ("scale", nn.Parameter(torch.ones(()))),
    ]

    def decayed(part: AdamW) -> set[str]:
        names = {id(p): name for name, p in named}
        groups = part.build(named, [], LearningRates()).param_groups
        return {names[id(p)] for g in groups for p in g["params"] if g["weight_decay"]}

    assert decayed(AdamW()) == {"dense.weight"}
    assert decayed(AdamW(decay="all")) == {name for name, _ in named}


def test_nothing_is_clipped_without_a_norm(kernels: bool) -> None:
    """Adam's first step is the rate times g / (|g| + eps): with a large eps it tells the gradient's
    size, which clipping would have made 1."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = AdamW(eps=3.0, weight_decay=0).build(
        [("p", parameter)], [], LearningRates(encoder=1)
    )
    parameter.grad = torch.full((1,), 7.0)
    if isinstance(optimizer, native.AdamW):
        assert optimizer.clip(Stage(clip=None).clip or math.inf) == 7.0
    else:
        assert float(nn.utils.clip_grad_norm_([parameter], math.inf)) == 7.0
    optimizer.step()
    assert parameter.item() == pytest.approx(-7 / (7 + 3), rel=1e-6)
    assert isinstance(optimizer, native.AdamW) is kernels


def course(
    value: torch.Tensor, grads: list[torch.Tensor], lr: float, eps: float, decay: float
) -> torch.Tensor:
    """The course's algorithm, as its handout has it, in double precision: the efficient order of
    Kingma & Ba 2015, end of section 2, and then the decay."""
    value = value.double()
    first, second = torch.zeros_like(value), torch.zeros_like(value)
    for t, grad in enumerate((g.double() for g in grads), start=1):
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        rate = lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        value = value - rate * first / (second.sqrt() + eps)
        value = value - lr * decay * value
    return value


@pytest.mark.parametrize(("size", "eps"), [(1.0, 1e-6), (1e-5, 3e-7)])
def test_the_courses_algorithm_is_ours_with_an_eps_that_shrinks(size: float, eps: float) -> None:
    """Its eps of step t counts as 1 / sqrt(1 - beta_2^t) of ours: 32 times as much in the first."""
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(50))
    before, grads = parameter.detach().clone(), [size * torch.randn(50) for _ in range(4)]
    optimizer = AdamW(eps=eps, decay="all", weight_decay=0).build(
        [("p", parameter)], [], LearningRates(encoder=1e-2)
    )
    for t, grad in enumerate(grads, start=1):
        optimizer.param_groups[0]["eps"] = eps / math.sqrt(1 - 0.999**t)
        parameter.grad = grad
        optimizer.step()
    expected = course(before, grads, 1e-2, eps, 0.0)
    torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6)


def test_decaying_after_the_step_instead_of_before_differs_by_rate_times_decay_of_the_step() -> (
    None
):
    parameter = nn.Parameter(torch.full((1,), 2.0))
    part = AdamW(eps=1e-12, decay="all", weight_decay=0.1)
    optimizer = part.build([("p", parameter)], [], LearningRates(encoder=0.5))
    parameter.grad = torch.ones(1)
    optimizer.step()
    theirs = course(torch.full((1,), 2.0), [torch.ones(1)], 0.5, 1e-12, 0.1)
    assert parameter.item() == pytest.approx(2 * 0.95 - 0.5, rel=1e-6)
    assert theirs.item() == pytest.approx((2 - 0.5) * 0.95, rel=1e-6)
    assert theirs.item() - parameter.item() == pytest.approx(0.5 * 0.1 * 0.5, rel=1e-5)


def test_another_word_for_what_decays_is_refused() -> None:
    with pytest.raises(ValidationError, match="decay"):
        AdamW.model_validate({"decay": "none"})


def test_a_gradient_of_a_third_of_the_size_takes_the_same_steps() -> None:
    """So averaging the gradients of three tasks in place of summing them is no lower rate."""
    ends = []
    for size in (1.0, 1 / 3):
        parameter = nn.Parameter(torch.zeros(20))
        optimizer = AdamW(eps=1e-12).build([("p", parameter)], [], LearningRates(encoder=1e-2))
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            parameter.grad = size * torch.randn(20, generator=generator)
            optimizer.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-7)
    assert float(ends[0].abs().max()) > 1e-2


def test_the_courses_settings_can_be_set_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("tasks: {mood: {kind: classification, text: a, label: y, labels: [b, c]}}\n")
    words = "stages.0.optimizer={kind: adamw, weight_decay: 0, eps: 1e-6, decay: all}"
    stage = load_recipe(path, [words, "stages.0.clip=null"]).stages[0]
    assert stage.optimizer == AdamW(weight_decay=0, eps=1e-6, decay="all")
    assert stage.clip is None
