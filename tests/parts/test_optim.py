"""Schedules agree with transformers, the optimizer with plain torch."""

import math
import warnings
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from transformers import get_scheduler

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.parts.optim import (
    AdamW,
    Constant,
    Cosine,
    LearningRates,
    Linear,
    Schedule,
    SchedulePart,
    StepDecay,
)

WARMUPS = [(0.0, 0), (0.06, 3), (0.1, 5), (0.5, 25), (7, 7), (1, 1), (50, 50), (80, 80)]
"""As a recipe says it, and in steps of 50."""


def reference(name: str, warmup: int, total: int) -> Iterator[float]:
    """The factor at each step, from transformers."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, warmup, total)
    for _ in range(total):
        yield optimizer.param_groups[0]["lr"]
        with warnings.catch_warnings():  # that no optimizer stepped before the schedule
            warnings.simplefilter("ignore")
            schedule.step()


@pytest.mark.parametrize(("warmup", "steps"), WARMUPS)
@pytest.mark.parametrize(
    ("schedule", "name"),
    [(Linear, "linear"), (Cosine, "cosine"), (Constant, "constant_with_warmup")],
)
def test_factors_agree_with_transformers_at_every_step(
    schedule: type[SchedulePart], name: str, warmup: float, steps: int
) -> None:
    total = 50
    part = schedule(warmup=warmup)
    assert part.warmup_steps(total) == steps
    found = [part.factor(step, total, 1) for step in range(total)]
    assert found == pytest.approx(list(reference(name, steps, total)), abs=1e-12)


@pytest.mark.parametrize("schedule", [Constant(), Linear(), Cosine(), StepDecay()])
@pytest.mark.parametrize("total", [1, 2, 9])
def test_a_stage_of_few_steps_starts_at_the_peak(schedule: SchedulePart, total: int) -> None:
    assert schedule.factor(0, total, 1) == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.3, 4])
@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_decay_falls_to_zero_and_not_below(kind: type[SchedulePart], warmup: float) -> None:
    factors = [kind(warmup=warmup).factor(step, 20, 1) for step in range(30)]
    peak = factors.index(max(factors))
    assert factors[peak] == 1.0
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(factor == pytest.approx(0, abs=1e-12) for factor in factors[20:])


def test_step_decay_multiplies_every_few_epochs() -> None:
    part = StepDecay(gamma=0.5, every=2)
    found = [part.factor(10 * epoch, 60, epoch) for epoch in range(1, 7)]
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert StepDecay(gamma=0.1).factor(30, 60, 3) == pytest.approx(0.01)


def test_step_decay_warms_up_first() -> None:
    part = StepDecay(gamma=0.5, warmup=4)
    assert [part.factor(step, 40, 1) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kind": "linear", "warmup": -0.1}, "warmup"),
        ({"kind": "step", "gamma": 0}, "gamma"),
        ({"kind": "step", "gamma": 1.5}, "gamma"),
        ({"kind": "step", "every": 0}, "every"),
    ],
)
def test_impossible_schedules_are_refused(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        TypeAdapter[object](Schedule).validate_python(settings)


@pytest.mark.parametrize(
    "settings",
    [{"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"eps": 0}, {"weight_decay": -1}],
)
def test_impossible_optimizers_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AdamW.model_validate(settings)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 4)
        self.LayerNorm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(()))


def toy(seed: int) -> Toy:
    torch.manual_seed(seed)
    return Toy()


def test_groups_split_by_rate_and_decay() -> None:
    encoder, head = toy(0), toy(1)
    optimizer = AdamW(weight_decay=0.2).build(
        encoder.named_parameters(), head.named_parameters(), LearningRates(encoder=1e-4, heads=1e-2)
    )
    names = {id(p): f"e.{name}" for name, p in encoder.named_parameters()}
    names |= {id(p): f"h.{name}" for name, p in head.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["base_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    still = ["dense.bias", "LayerNorm.weight", "LayerNorm.bias", "scale"]
    expected = {"e.dense.weight": (1e-4, 1e-4, 0.2), "h.dense.weight": (1e-2, 1e-2, 0.2)}
    expected |= {f"e.{name}": (1e-4, 1e-4, 0.0) for name in still}
    expected |= {f"h.{name}": (1e-2, 1e-2, 0.0) for name in still}
    assert found == expected


def test_a_layer_norm_of_two_axes_does_not_decay_either() -> None:
    norm = [("output.LayerNorm.weight", nn.Parameter(torch.ones(2, 2)))]
    optimizer = AdamW().build([], norm, LearningRates())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


@pytest.mark.parametrize("name", ["LayerNorm", "preLayerNorm", "bias", "mood"])
def test_what_decays_does_not_depend_on_what_tasks_and_trunks_are_called(name: str) -> None:
    parts = {"dense.weight": 2, "dense.bias": 1, "LayerNorm.weight": 2, "out.bias": 2}

    def named(owner: str) -> list[tuple[str, nn.Parameter]]:
        return [(f"{owner}.{part}", nn.Parameter(torch.ones([2] * n))) for part, n in parts.items()]

    encoder = [*named("encoder.layer.0"), *named(f"sides.pals.{name}.0")]
    encoder.append((f"sides.lhuc.{name}", nn.Parameter(torch.ones(2, 2))))
    heads = [*named(name), *named(f"trunk:{name}")]
    optimizer = AdamW().build(encoder, heads, LearningRates())
    names = {id(parameter): own for own, parameter in (*encoder, *heads)}
    decays = {
        names[id(parameter)]
        for group in optimizer.param_groups
        if group["weight_decay"]
        for parameter in group["params"]
    }
    owners = ("encoder.layer.0", f"sides.pals.{name}.0", name, f"trunk:{name}")
    assert decays == {f"{owner}.dense.weight" for owner in owners} | {f"sides.lhuc.{name}"}


def test_a_frozen_encoder_leaves_the_heads_alone() -> None:
    optimizer = AdamW().build([], toy(0).named_parameters(), LearningRates())
    assert {group["lr"] for group in optimizer.param_groups} == {LearningRates().head_rate("")}


# --- rates by layer and for adapters -----------------------------------------------------------

SHAPE = EncoderConfig(
    vocab_size=9,
    hidden_size=4,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=6,
    max_position_embeddings=5,
)
Named = list[tuple[str, nn.Parameter]]


def adapted() -> Named:
    """An encoder of three layers with adapters between its parameters, as it would list them."""
    query = "encoder.layer.1.attention.self.query.lora"
    added: Named = [
        (f"{query}.a", nn.Parameter(torch.zeros(2, 4))),
        (f"{query}.b", nn.Parameter(torch.zeros(4, 2))),
        ("sides.projected_attention.sentiment.down.weight", nn.Parameter(torch.zeros(2, 4))),
        ("sides.projected_attention.sentiment.down.bias", nn.Parameter(torch.zeros(2))),
    ]
    own = list(Encoder(SHAPE).named_parameters())
    return own[:20] + added[:2] + own[20:] + added[2:]


def rates(optimizer: torch.optim.Optimizer, named: Named) -> dict[str, float]:
    """Each parameter's peak rate."""
    by_id = {id(p): g["base_lr"] for g in optimizer.param_groups for p in g["params"]}
    assert all(group["lr"] == group["base_lr"] for group in optimizer.param_groups)
    return {name: by_id[id(p)] for name, p in named}


def test_rates_fall_from_the_top_layer_to_the_embeddings() -> None:
    named = list(Encoder(SHAPE).named_parameters())
    lr = LearningRates(encoder=8e-4, layer_decay=0.5)
    by_hand = {
        "pooler.": 8e-4,
        "encoder.layer.2.": 8e-4,
        "encoder.layer.1.": 4e-4,
        "encoder.layer.0.": 2e-4,
        "embeddings.": 1e-4,
    }
    found = rates(AdamW().build(named, [], lr), named)
    for name, rate in found.items():
        (expected,) = (r for prefix, r in by_hand.items() if name.startswith(prefix))
        assert rate == pytest.approx(expected, rel=1e-12), name
    assert {found["pooler.dense.bias"], found["encoder.layer.2.output.dense.bias"]} == {8e-4}


def test_a_frozen_bottom_does_not_shift_the_rates() -> None:
    named = [(n, p) for n, p in Encoder(SHAPE).named_parameters() if "layer.2." in n]
    lr = LearningRates(encoder=8e-4, layer_decay=0.5)
    for layers in (None, 3):
        assert set(rates(AdamW().build(named, [], lr, layers), named).values()) == {8e-4}
    below = AdamW().build(named, [], lr, layers=5)
    assert set(rates(below, named).values()) == {2e-4}


def test_layers_learn_as_groups_split_by_decay_in_a_fixed_order() -> None:
    named = list(Encoder(SHAPE).named_parameters())
    lr = LearningRates(encoder=8e-4, heads=1e-2, layer_decay=0.5)
    optimizer = AdamW(weight_decay=0.2).build(named, toy(0).named_parameters(), lr)
    found = [(group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups]
    each = (1e-4, 2e-4, 4e-4, 8e-4, 1e-2)
    expected = [(rate, decay) for rate in each for decay in (0.2, 0.0)]
    assert found == [pytest.approx(pair, rel=1e-12) for pair in expected]


@pytest.mark.parametrize(("wanted", "rate"), [(None, 1e-2), (3e-4, 3e-4), (0.0, 0.0)])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_adapters_learn_at_their_own_rate_or_that_of_the_heads(
    wanted: float | None, rate: float, layer_decay: float
) -> None:
    named = adapted()
    lr = LearningRates(encoder=8e-4, heads=1e-2, adapters=wanted, layer_decay=layer_decay)
    optimizer = AdamW(weight_decay=0.2).build(named, [], lr)
    found = rates(optimizer, named)
    added = {name for name in found if "lora" in name or "sides" in name}
    assert {found[name] for name in added} == {rate}
    query = "encoder.layer.1.attention.self.query.weight"
    assert found[query] == pytest.approx(8e-4 * layer_decay)
    names = {id(p): name for name, p in named}
    still = {
        names[id(p)] for g in optimizer.param_groups if not g["weight_decay"] for p in g["params"]
    }
    assert added & still == {"sides.projected_attention.sentiment.down.bias"}


def test_groups_come_encoder_first_then_adapters_then_heads() -> None:
    lr = LearningRates(encoder=1e-5, adapters=1e-4, heads=1e-3)
    optimizer = AdamW(weight_decay=0.2).build(adapted(), toy(0).named_parameters(), lr)
    found = [(group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert found == [(1e-5, 0.2), (1e-5, 0), (1e-4, 0.2), (1e-4, 0), (1e-3, 0.2), (1e-3, 0)]


def test_a_task_named_like_an_adapter_is_none() -> None:
    head = [("sides.lora.weight", nn.Parameter(torch.zeros(2, 2)))]
    optimizer = AdamW().build([], head, LearningRates(heads=1e-2, adapters=1e-4))
    assert rates(optimizer, head) == {"sides.lora.weight": 1e-2}


def test_a_decay_of_one_and_no_adapters_give_the_four_groups_of_old_resume_files() -> None:
    encoder, head = list(Encoder(SHAPE).named_parameters()), list(toy(0).named_parameters())
    for lr in (LearningRates(), LearningRates(encoder=1e-4, heads=1e-4, adapters=5e-3)):
        optimizer = AdamW(weight_decay=0.3).build(encoder, head, lr)
        expected = []
        for named, rate in ((encoder, lr.encoder), (head, lr.head_rate(""))):
            still = [n.endswith("bias") or "LayerNorm" in n or n == "scale" for n, _ in named]
            for decay, kept in ((0.3, False), (0.0, True)):
                chosen = [id(p) for (_, p), s in zip(named, still, strict=True) if s is kept]
                expected.append((rate, decay, chosen))
        found = [
            (g["base_lr"], g["weight_decay"], [id(p) for p in g["params"]])
            for g in optimizer.param_groups
        ]
        assert found == expected


PEAKS = st.sampled_from([0.0, 1e-5, 1e-4, 1e-3])


@settings(max_examples=30)
@given(
    st.builds(
        LearningRates,
        encoder=PEAKS,
        heads=PEAKS,
        adapters=st.none() | PEAKS,
        layer_decay=st.sampled_from([1.0, 0.9, 0.4]),
    ),
    st.sets(st.integers(0, 50)),
)
def test_every_parameter_is_in_exactly_one_group(lr: LearningRates, left_out: set[int]) -> None:
    encoder = [pair for index, pair in enumerate(adapted()) if index not in left_out]
    head = list(toy(0).named_parameters())
    optimizer = AdamW().build(encoder, head, lr, layers=3)
    found = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for _, p in encoder + head)
    assert all(
        0 <= g["base_lr"] <= max(lr.encoder, lr.head_rate(""), lr.adapters or 0)
        for g in optimizer.param_groups
    )


@pytest.mark.parametrize(
    "settings", [{"layer_decay": 0}, {"layer_decay": 1.1}, {"adapters": -1e-4}, {"encoder": -1}]
)
def test_impossible_rates_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        LearningRates.model_validate(settings)


# --- steps -------------------------------------------------------------------------------------


def gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def by_hand(before: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    """Loshchilov & Hutter 2019, algorithm 2, in double precision."""
    value = before.double()
    first, second = torch.zeros_like(value), torch.zeros_like(value)
    for t, grad in enumerate((g.double() for g in grads), start=1):
        first = 0.8 * first + 0.2 * grad
        second = 0.95 * second + 0.05 * grad**2
        update = (first / (1 - 0.8**t)) / ((second / (1 - 0.95**t)).sqrt() + 1e-6)
        value = value - lr * (update + decay * value)
    return value


def test_steps_equal_the_papers_and_those_of_plain_torch() -> None:
    ours, theirs = toy(3), toy(3)
    part = AdamW(weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6)
    optimizer = part.build(ours.named_parameters(), [], LearningRates(encoder=1e-2))
    decayed = [theirs.dense.weight]
    others = [p for p in theirs.parameters() if p is not theirs.dense.weight]
    plain = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.8, 0.95),
        eps=1e-6,
        fused=False,
        foreach=False,
    )
    before, grads = theirs.dense.weight.detach().clone(), []
    for seed in range(3):
        gradients(ours, seed)
        gradients(theirs, seed)
        assert theirs.dense.weight.grad is not None
        grads.append(theirs.dense.weight.grad.clone())
        optimizer.step()
        plain.step()
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-7)
    expected = by_hand(before, grads, 1e-2, 0.1)
    torch.testing.assert_close(ours.dense.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_step_counts_as_a_change_of_every_parameter() -> None:
    module = toy(0)
    optimizer = AdamW().build(module.named_parameters(), [], LearningRates())
    before = [parameter._version for parameter in module.parameters()]
    gradients(module, 0)
    optimizer.step()
    after = [parameter._version for parameter in module.parameters()]
    assert all(new > old for old, new in zip(before, after, strict=True))


def test_what_has_no_gradient_stays_as_it_was_and_counts_as_unchanged() -> None:
    module = toy(0)
    optimizer = AdamW().build(module.named_parameters(), [], LearningRates())
    gradients(module, 0)
    module.dense.weight.grad = None
    before, version = module.dense.weight.detach().clone(), module.dense.weight._version
    others = [p._version for p in module.parameters() if p is not module.dense.weight]
    optimizer.step()
    assert torch.equal(module.dense.weight, before)
    assert module.dense.weight._version == version
    after = [p._version for p in module.parameters() if p is not module.dense.weight]
    assert all(new > old for old, new in zip(others, after, strict=True))
    optimizer.zero_grad()
    optimizer.step()  # nothing has a gradient: nothing to count either


def test_warm_up_as_a_share_is_rounded_up() -> None:
    assert [Linear(warmup=0.06).warmup_steps(total) for total in (1, 10, 100)] == [1, 1, 6]
    assert math.isclose(Linear(warmup=0.06).factor(3, 100, 1), 0.5)


def test_a_warm_up_that_the_stage_does_not_outlast_is_noted() -> None:
    for steps, noted in ((9, True), (10, True), (11, False), (0, False)):
        assert bool([*Linear(warmup=10).notes(steps)]) is noted
    assert not [*Linear(warmup=0.9).notes(1)]
