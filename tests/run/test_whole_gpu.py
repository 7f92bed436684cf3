"""Whole steps as graphs, on a GPU, where there is one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import trivium
from tests.support.facts import facts
from tests.support.stepping import Run, begun, moments, trained
from tests.support.tensors import relative
from trivium.errors import RecipeError
from trivium.model import replays
from trivium.model.graphs import SWITCH, Graphs
from trivium.model.replays import Capture
from trivium.parts.losses import CrossEntropy
from trivium.recipe import parse_recipe
from trivium.run.training import loop
from trivium.run.training.start import start_of
from trivium.run.training.step import train_step
from trivium.run.training.whole import WholeSteps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
NEVER = 10**6
STEPS = 20
CASES: dict[str, dict[str, Any]] = {
    "one task a step": {},
    "all tasks at once": {"sampler": "joint"},
    "any task, several batches": {"sampler": "proportional", "batches_per_step": 2},
    "in pieces": {"tokens_at_once": 30},
    "a frozen encoder": {"trains": "frozen"},
    "without clipping": {"clip": None},
}


@pytest.fixture(autouse=True)
def whole_steps_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "all")


def on_gpu(values: dict[str, Any], **settings: Any) -> Run:
    settings = {"lr": 1e-4, "steps": 60} | settings
    return begun(values, torch.bfloat16, device="cuda", **settings)


def weights(run: Run) -> dict[str, Tensor]:
    """All but what has no gradient but rounding: scores do not change with a key's bias."""
    named = run.state.model.named_parameters()
    return {name: p.detach().clone() for name, p in named if not name.endswith("key.bias")}


def is_whole(run: Run) -> bool:
    whole = run.state.whole
    return isinstance(whole, WholeSteps) and sum(whole.recorded) > 0


def flat(named: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in named.values()])


@pytest.mark.parametrize("other", ["0", "layers"])
@pytest.mark.parametrize("case", CASES)
def test_whole_steps_are_those_without_graphs(
    recipe_values: dict[str, Any], case: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout: losses, norms, weights, and whose moments have seen how many steps."""
    plain, ours = (on_gpu(recipe_values, **CASES[case]) for _ in range(2))
    before = flat(weights(ours))
    monkeypatch.setenv(SWITCH, other)
    wanted = trained(plain, STEPS)
    assert plain.state.whole is None
    monkeypatch.setenv(SWITCH, "all")
    found = trained(ours, STEPS)
    assert is_whole(ours)
    for mine, theirs in zip(found, wanted, strict=True):
        assert list(mine) == list(theirs)
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=2e-2, abs=2e-3)
        assert mine["norm"] == pytest.approx(theirs["norm"], rel=5e-2)
        assert (mine["rows"], mine["tokens"]) == (theirs["rows"], theirs["tokens"])
    change, wanted_change = (flat(weights(run)) - before for run in (ours, plain))
    assert relative(change, wanted_change) < 0.15
    left, right = moments(ours), moments(plain)
    assert left.keys() == right.keys()
    for name, slots in right.items():
        assert list(left[name]) == list(slots)
        assert left[name]["step"] == slots["step"]


@pytest.mark.parametrize("case", ["one task a step", "any task, several batches"])
def test_a_step_has_the_same_bits_whether_or_not_it_was_recorded(
    recipe_values: dict[str, Any], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout: so a run that was resumed, and records later, is the same."""
    found, graphs = [], []
    for runs in (1, NEVER, 3):
        monkeypatch.setattr(replays, "RUNS", runs)
        run = on_gpu(recipe_values, drops=True, **CASES[case])
        torch.cuda.manual_seed(7)
        told = trained(run, STEPS)
        found.append(([step["losses"] for step in told], weights(run)))
        graphs.append(is_whole(run))
    assert graphs == [True, False, True]
    (losses, named), *others = found
    for other_losses, other in others:
        assert other_losses == losses
        assert [name for name in named if not torch.equal(named[name], other[name])] == []


def test_the_copies_that_layers_read_are_those_of_the_new_weights(
    recipe_values: dict[str, Any],
) -> None:
    """Also of weights that somebody else changed in between."""
    run = on_gpu(recipe_values, sampler="joint")
    copies = run.state.model.encoder.recorded().copies
    for _ in range(2):
        trained(run, 5)
        assert is_whole(run)
        for place, source in zip(copies._places, copies._sources, strict=True):
            assert torch.equal(place, source.bfloat16())
        with torch.no_grad():
            for parameter in run.state.model.encoder.parameters():
                parameter.mul_(0.5)


def test_weights_that_somebody_else_changed_are_read(
    recipe_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for switch in ("0", "all"):
        monkeypatch.setenv(SWITCH, switch)
        run = on_gpu(recipe_values, sampler="joint")
        trained(run, 6)
        with torch.no_grad():
            for parameter in run.state.model.parameters():
                parameter.mul_(0.5)
        losses.append(run.step()["losses"])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_a_run_that_is_resumed_is_the_uninterrupted_one(
    recipe_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for scores, for which texts are pooled in any order."""
    values = recipe_values | {"device": "cuda", "precision": "bf16"}
    stage = {"steps": 24, "checkpoint_every": 4, "select": "last", "sampler": "proportional"}
    values["stages"] = [values["stages"][0] | stage]
    recipe, quiet = parse_recipe(values), Console(file=StringIO())
    trivium.train(recipe, tmp_path / "whole", console=quiet)

    def stopped(*given: Any) -> Any:
        if given[-1].counters.step == 14:
            raise RecipeError("enough")
        return train_step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stopped)
        with pytest.raises(RecipeError, match="enough"):
            trivium.train(recipe, tmp_path / "broken", console=quiet)
    trivium.train(recipe, tmp_path / "broken", resume=True, console=quiet)
    found, wanted = (facts(tmp_path / name) for name in ("broken", "whole"))
    assert steps_of(tmp_path / "broken") == steps_of(tmp_path / "whole")
    assert (found["encoder"], found["heads"]) == (wanted["encoder"], wanted["heads"])


def steps_of(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "step"]


# --- waiting -----------------------------------------------------------------------------------


@contextmanager
def refused(mode: str) -> Iterator[None]:
    """Inside, waiting for the GPU is an error, or with `default` is none."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("switch", ["0", "layers", "all"])
def test_a_step_waits_for_nothing(
    recipe_values: dict[str, Any], switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for its numbers, a step late; and where a graph is recorded."""
    monkeypatch.setenv(SWITCH, switch)
    record, layers = Capture._record, Graphs._record

    def recorded(*given: Any, **settings: Any) -> Any:
        with refused("default"):
            return record(*given, **settings)

    def recorded_layers(*given: Any) -> Any:
        with refused("default"):
            return layers(*given)

    monkeypatch.setattr(Capture, "_record", recorded)
    monkeypatch.setattr(Graphs, "_record", recorded_layers)
    run = on_gpu(recipe_values, drops=True, sampler="proportional")
    trained(run, 3)
    for _ in range(STEPS):
        with refused("error"):
            done = train_step(run.setup, run.stage, run.plan, run.state)
        run.state.counters.step += 1
        assert not isinstance(done, dict)
        assert "note" not in done.facts()
    assert is_whole(run) is (switch == "all")


# --- what cannot be recorded -------------------------------------------------------------------


def test_with_a_head_that_cannot_be_recorded_the_layers_are(
    recipe_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = recipe_values["tasks"]
    values = recipe_values | {"tasks": tasks | {"mood": tasks["mood"] | {"head": "bilstm"}}}
    plain, ours = (on_gpu(values, sampler="joint") for _ in range(2))
    monkeypatch.setenv(SWITCH, "0")
    wanted = trained(plain, 8)
    monkeypatch.setenv(SWITCH, "all")
    found = trained(ours, 8)
    assert ours.state.whole == "the head of mood cannot be recorded"
    assert ours.state.model.encoder.recorded().passes
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=2e-2, abs=2e-3)


def test_with_a_regularizer_that_needs_no_other_pass_the_layers_are(
    recipe_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"sampler": "joint", "regularizers": [{"kind": "l2_sp"}]}
    plain, ours = (on_gpu(recipe_values, **settings) for _ in range(2))
    for run in (plain, ours):
        run.setup = replace(run.setup, start=start_of(run.setup.recipe, run.state.model.encoder))
    monkeypatch.setenv(SWITCH, "0")
    wanted = trained(plain, 8)
    assert not plain.state.model.encoder.recorded().passes
    monkeypatch.setenv(SWITCH, "all")
    found = trained(ours, 8)
    assert ours.state.model.encoder.recorded().passes
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=2e-2, abs=2e-3)


def test_a_recording_that_fails_is_told_of_once_and_the_run_goes_on(
    recipe_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that says of itself what is not so: it asks the GPU for a number. With dropout, whose
    generator must not take itself for being recorded afterwards."""
    one = CrossEntropy.one

    def asking(*given: Any) -> Tensor:
        loss = one(*given)
        return loss if loss.item() > 0 else loss * 0

    with monkeypatch.context() as patch:
        patch.setattr(CrossEntropy, "one", asking)
        run = on_gpu(recipe_values, drops=True, sampler="joint")
        found = trained(run, STEPS)
    notes = [step["note"] for step in found if "note" in step]
    assert len(notes) == 1
    assert notes[0].startswith("steps are not recorded as graphs: ")
    assert isinstance(run.state.whole, str)
    assert run.state.model.encoder.recorded().passes
    other = on_gpu(recipe_values, sampler="joint")
    trained(other, 5)
    assert is_whole(other), "nothing of it is left"
