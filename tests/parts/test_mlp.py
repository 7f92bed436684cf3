"""Hidden layers of a head: by hand, and shared by the heads that name the same trunk."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import MultiTaskModel
from trivium.parts.heads import MLPHead, build_trunks, check_trunks
from trivium.parts.tasks import Classification, Ordinal, Regression, Task


def tiny() -> EncoderConfig:
    return EncoderConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        has_pooler=False,
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def test_an_mlp_by_hand() -> None:
    module = MLPHead(depth=2, width=1).build(1, 1, 1).eval()
    with torch.no_grad():
        for place, value in {
            "hidden.layers.0.weight": 2.0,
            "hidden.layers.0.bias": -1.0,
            "hidden.layers.1.weight": -0.5,
            "hidden.layers.1.bias": 0.25,
            "linear.weight": 3.0,
            "linear.bias": 0.1,
        }.items():
            module.get_parameter(place).fill_(value)
    wanted = 3 * gelu(-0.5 * gelu(2 * 0.7 - 1) + 0.25) + 0.1
    assert module.decide(torch.tensor([[[0.7]]])).item() == pytest.approx(wanted)


def test_an_mlp_is_as_deep_and_wide_as_it_is_told() -> None:
    shapes = [tuple(p.shape) for p in MLPHead(depth=2).build(6, 3, 2).parameters()]
    assert shapes == [(6, 24), (6,), (6, 6), (6,), (3, 6), (3,)]
    shapes = [tuple(p.shape) for p in MLPHead(width=9).build(6, 3, 1).parameters()]
    assert shapes == [(9, 6), (9,), (3, 9), (3,)]


def test_what_goes_through_many_layers_keeps_its_size() -> None:
    torch.manual_seed(0)
    module = MLPHead(depth=4, width=256).build_trunk(256, 1).eval()
    hidden_BC = module(random(200, 256), 0.0)
    assert 0.1 < float(hidden_BC.detach().pow(2).mean().sqrt()) < 2


# --- trunks ------------------------------------------------------------------------------------


def question(text: str | Sequence[str] = ("a", "b"), **head: object) -> Classification:
    values = {"text": text, "label": "y", "labels": ["no", "yes"], "head": {"kind": "mlp"} | head}
    return Classification.model_validate(values)


def grade(**head: object) -> Regression:
    values = {"text": ["a", "b"], "label": "y", "head": {"kind": "mlp"} | head}
    return Regression.model_validate(values)


def together(**tasks: Task) -> MultiTaskModel:
    torch.manual_seed(0)
    heads = {name: task.build_head(8) for name, task in tasks.items()}
    return MultiTaskModel(Encoder(tiny()), heads, build_trunks(tasks, 8)).eval()


def test_heads_that_name_a_trunk_share_their_hidden_layers_and_keep_their_outputs() -> None:
    model = together(
        same=question(trunk="pairs", depth=2),
        near=grade(trunk="pairs", depth=2, dropout=0.5, pooling="cls"),
        other=question(depth=2),
    )
    assert sorted(model.trunks.state_dict()) == [
        f"pairs.layers.{layer}.{kind}" for layer in (0, 1) for kind in ("bias", "weight")
    ]
    for name in ("same", "near"):
        assert sorted(model.heads[name].state_dict()) == ["linear.bias", "linear.weight"]
    assert len(model.heads["other"].state_dict()) == 6
    vector_BSC = random(3, 2, 8).requires_grad_()
    for name in ("same", "near"):
        model.zero_grad()
        torch.autograd.backward(model.decide(name, vector_BSC).sum())
        assert all(parameter.grad is not None for parameter in model.trunks.parameters())
    assert all(parameter.grad is None for parameter in model.heads["same"].parameters())


def test_a_shared_trunk_computes_what_a_head_of_its_own_would() -> None:
    alone, shared = together(same=question()), together(same=question(trunk="pairs"))
    own = alone.heads["same"].state_dict()
    shared.heads.load_state_dict({f"same.{k}": v for k, v in own.items() if "hidden" not in k})
    shared.trunks.load_state_dict(
        {k.replace("hidden", "pairs"): v for k, v in own.items() if "hidden" in k}
    )
    vector_BSC = random(3, 2, 8)
    assert torch.equal(shared.decide("same", vector_BSC), alone.decide("same", vector_BSC))


def test_each_head_drops_out_at_its_own_rate_in_a_shared_trunk() -> None:
    model = together(a=question(trunk="t", dropout=0.0), b=question(trunk="t", dropout=0.9)).train()
    vector_BSC = random(16, 2, 8)
    assert torch.equal(model.decide("a", vector_BSC), model.decide("a", vector_BSC))
    assert not torch.equal(model.decide("b", vector_BSC), model.decide("b", vector_BSC))


def test_an_ordinal_task_can_share_a_trunk() -> None:
    ordered = Ordinal.model_validate(question(trunk="t").model_dump() | {"kind": "ordinal"})
    model = together(a=question(trunk="t"), b=ordered)
    assert model.decide("b", random(3, 2, 8)).shape == (3, 2)


@pytest.mark.parametrize(
    ("near", "said"),
    [
        (grade(trunk="pairs", depth=2), "`depth` must be the same, found 2 and 1"),
        (
            grade(trunk="pairs", width=8),
            "`width` must be the same, found 8 and the encoder's",
        ),
        (
            grade(trunk="pairs", features="uv"),
            "input must be the same, found 2 × the encoder's width (a pair's uv) and "
            "4 × the encoder's width (a pair's uv_diff_product)",
        ),
        (
            question("a", trunk="pairs"),
            "input must be the same, found 1 × the encoder's width (one sequence) and "
            "4 × the encoder's width (a pair's uv_diff_product)",
        ),
    ],
)
def test_heads_that_cannot_share_a_trunk_are_refused(near: Task, said: str) -> None:
    tasks = {"mood": question("a"), "same": question(trunk="pairs"), "near": near}
    with pytest.raises(ValueError, match="trunk") as caught:
        build_trunks(tasks, 8)
    assert str(caught.value) == (
        f"tasks.near.head: shares the trunk 'pairs' with task 'same', so their {said}. "
        "Make them alike, or name another trunk"
    )


def test_trunks_of_different_names_need_nothing_in_common() -> None:
    tasks = {"a": question(trunk="one"), "b": question("a", trunk="two", depth=2, width=3)}
    check_trunks(tasks)
    assert list(build_trunks(tasks, 8)) == ["one", "two"]
    assert build_trunks({"a": question(), "b": question(trunk=None)}, 8) == {}


@pytest.mark.parametrize("wrong", ["", "a.b", "1", "a b"])
def test_a_trunk_needs_a_plain_name(wrong: str) -> None:
    with pytest.raises(ValueError, match="trunk"):
        MLPHead(trunk=wrong)
