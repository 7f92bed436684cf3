"""Which steps are launched as whole graphs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.stepping import Run, begun, with_task
from tests.support.tables import make_recipe
from trivium.model.graphs import SWITCH
from trivium.model.multitask import Head
from trivium.model.native.library import SWITCH as NATIVE
from trivium.parts.losses import LossPart
from trivium.run.training import at_once
from trivium.run.training.ahead import passes_once
from trivium.run.training.gradients import Apart


@pytest.fixture(scope="module")
def recipe(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path_factory.mktemp("at_once"))


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own optimizer; whole steps are asked for."""
    monkeypatch.setenv(NATIVE, "0")
    monkeypatch.setenv(SWITCH, "all")


def test_heads_and_losses_are_not_recorded_unless_they_say_so() -> None:
    assert not Head.can_be_recorded
    assert not LossPart.can_be_recorded


def low(values: dict[str, Any], **stage: Any) -> Run:
    return begun(values, torch.bfloat16, **stage)


MISFITS: dict[str, tuple[Callable[[dict[str, Any]], Run], str]] = {
    "fits": (low, ""),
    "cosent fits": (lambda v: low(with_task(v, "near", loss="cosent")), ""),
    "ordinal fits": (
        lambda v: low(with_task(v, "mood", kind="ordinal", labels=["down", "up"])), ""
    ),
    "fp32": (begun, "the encoder's layers"),
    "adapters": (lambda v: low(v | {"adapters": ["lora"]}), "the encoder's layers"),
    "gradual": (lambda v: low(v, trains="gradual"), "what is trained changes"),
    "bilstm": (lambda v: low(with_task(v, "mood", head="bilstm")), "the head of mood"),
    "ordinal bilstm": (
        lambda v: low(with_task(v, "mood", kind="ordinal", labels=["down", "up"], head="bilstm")),
        "the head of mood",
    ),
    "class weights fit": (lambda v: low(with_task(v, "mood", class_weights="balanced")), ""),
    "masked words": (
        lambda v: low(v | {"tasks": v["tasks"] | {"words": {"kind": "mlm", "of": ["mood"]}}}),
        "the loss of words",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_what_can_be_whole_graphs_and_why_the_rest_cannot(
    recipe: dict[str, Any], case: str
) -> None:
    make, why = MISFITS[case]
    run = make(recipe)
    found = at_once.misfit(run.setup, run.stage, run.plan, run.state)
    assert found.startswith(why)
    assert bool(found) is bool(why)


def test_a_head_too_wide_for_the_fused_attention_is_not_recorded(recipe: dict[str, Any]) -> None:
    run = low(recipe)
    run.state.model.encoder.config = run.state.model.encoder.config.model_copy(
        update={"num_attention_heads": 8}
    )
    assert at_once.misfit(run.setup, run.stage, run.plan, run.state)


def test_the_environment_leaves_whole_graphs_out(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = low(recipe)
    given = (run.setup, run.stage, run.plan, run.state)
    for switch, whole in (("0", False), ("layers", False), ("all", True)):
        monkeypatch.setenv(SWITCH, switch)
        assert at_once.are_whole(*given) is whole
    assert at_once.are_whole(*given[:3], replace(run.state, whole="once it failed")) is False


@pytest.mark.parametrize(
    ("regularizer", "replays"),
    [(None, True), ("l2_sp", True), ("rdrop", False), ("smart", False)],
)
def test_layers_are_replayed_where_each_batch_passes_once(
    recipe: dict[str, Any], regularizer: str | None, replays: bool
) -> None:
    """On one GPU, and where tasks' gradients are not kept apart."""
    run = low(recipe, regularizers=[{"kind": regularizer}] if regularizer else [])
    there = replace(run.setup, device=torch.device("cuda"))
    assert passes_once(there, run.stage, None) is replays
    assert not passes_once(run.setup, run.stage, None)
    assert not passes_once(there, run.stage, Apart.of(run.state.model))
