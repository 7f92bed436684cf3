"""Steps of whole graphs, as far as a CPU can do what the graphs do: with tensors in one place."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.stepping import Run, begun, moments, trained, with_task
from tests.support.tables import make_recipe
from trivium.model.graphs import SWITCH
from trivium.model.kernels import linear
from trivium.model.native.library import SWITCH as NATIVE
from trivium.model.replays import Body, Record
from trivium.run.training import step as steps
from trivium.run.training.update import Places, Update
from trivium.run.training.whole import WholeSteps

TAGS = {
    "kind": "multilabel", "text": "text", "label": "mood", "labels": ["up", "down"],
    "train": "mood-train.tsv", "dev": "mood-dev.tsv",
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    values = make_recipe(tiny, tmp_path_factory.mktemp("whole"))
    values["tasks"]["tags"] = TAGS
    return values


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own kernels, whole steps, and numbers that are there at once."""
    monkeypatch.setenv(NATIVE, "0")
    monkeypatch.setenv(SWITCH, "all")
    monkeypatch.setattr(steps, "Later", lambda there, facts: facts(there.tolist()))


def wholly(run: Run, monkeypatch: pytest.MonkeyPatch, record: Record | None = None) -> WholeSteps:
    """Its steps shall be whole ones."""
    monkeypatch.setattr(steps, "may_run_ahead", lambda *given: given[-1] is None)
    tasks = {name: run.setup.encoded[name].task for name in run.plan.tasks}
    assert isinstance(run.state.optimizer, torch.optim.AdamW)
    whole = WholeSteps(
        run.state.model, tasks, run.state.optimizer, clip=run.stage.clip, record=record
    )
    run.state.whole = whole
    return whole


def again(body: Body) -> Body:
    """In place of a graph, the operations themselves, on the memory that they were made for."""
    return lambda: body()


CASES: dict[str, dict[str, Any]] = {
    "one task a step": {},
    "all tasks at once": {"sampler": "joint"},
    "several batches": {"batches_per_step": 3},
    "any task": {"sampler": "proportional", "batches_per_step": 2},
    "in pieces": {"tokens_at_once": 30},
    "a frozen encoder": {"trains": "frozen"},
    "half of the layers": {"trains": {"kind": "top", "layers": 1}},
    "without clipping": {"clip": None},
    "gradients compared now and then": {"sampler": "joint", "conflicts_every": 4},
    "weights of tasks": {
        "weights": {"mood": 0.3, "near": 2.0}, "lr": {"encoder": 1e-4, "heads": 0.01}
    },
}  # fmt: skip


TASKS: dict[str, dict[str, Any]] = {
    "one task a step": {"mood": {"class_weights": {"up": 3, "down": 0.5}}},
    "in pieces": {"mood": {"class_weights": {"up": 3, "down": 0.5}}},
    "all tasks at once": {
        "near": {"loss": {"kind": "cosent", "anchor": 1.0}},
        "mood": {"head": "mlp"},
    },
}
"""What is changed in the tasks of a case."""


@pytest.mark.parametrize("record", [None, again])
@pytest.mark.parametrize("case", CASES)
def test_whole_steps_are_steps(
    recipe: dict[str, Any], case: str, record: Record | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, norms, weights, moments and their counts, of tasks that come and stay away."""
    for task, changes in TASKS.get(case, {}).items():
        recipe = with_task(recipe, task, **changes)
    ours, plain = (begun(recipe, **CASES[case]) for _ in range(2))
    wanted = trained(plain, 9)
    whole = wholly(ours, monkeypatch, record)
    found = trained(ours, 9)
    for mine, other in zip(found, wanted, strict=True):
        assert list(mine) == list(other)
        assert mine["losses"] == pytest.approx(other["losses"], rel=1e-4)
        assert mine["norm"] == pytest.approx(other["norm"], rel=1e-4)
        assert {k: mine[k] for k in ("lr", "rows", "tokens")} == {
            k: other[k] for k in ("lr", "rows", "tokens")
        }
    assert list(found[0]["losses"]) == list(wanted[0]["losses"])
    for name, one in ours.state.model.named_parameters():
        # Scores do not change with a key's bias: its gradient is rounding, which AdamW blows up.
        if not name.endswith("key.bias"):
            two = plain.state.model.get_parameter(name)
            torch.testing.assert_close(one, two, rtol=1e-4, atol=2e-6)
    left, right = moments(ours), moments(plain)
    assert left.keys() == right.keys()
    for name, slots in right.items():
        assert list(left[name]) == list(slots)
        assert left[name]["step"] == slots["step"]
        torch.testing.assert_close(left[name]["exp_avg"], slots["exp_avg"], rtol=1e-3, atol=1e-6)
    assert (sum(whole.recorded) > 0) is (record is not None)


def test_whole_steps_in_bf16_are_steps_and_renew_the_copies_themselves(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = (begun(recipe, torch.bfloat16, sampler="joint") for _ in range(2))
    wanted = trained(plain, 6)
    wholly(ours, monkeypatch, again)
    found = [ours.step() for _ in range(2)]
    parts = next(ours.state.model.encoder.encoder.layers).modules_of().products()[0]
    (before,) = parts[0].__dict__["_remade"].values()
    found += trained(ours, 4)
    for mine, other in zip(found, wanted, strict=True):
        assert mine["losses"] == pytest.approx(other["losses"], rel=2e-2)
    linear(torch.zeros(1, 32, dtype=torch.bfloat16), parts)
    (kept,) = parts[0].__dict__["_remade"].values()
    assert kept[1] is before[1], "nobody made other copies"
    assert torch.equal(kept[1], torch.cat([part.weight for part in parts]).bfloat16())
    both = zip(ours.state.model.parameters(), plain.state.model.parameters(), strict=True)
    for one, two in both:
        torch.testing.assert_close(one, two, rtol=0, atol=5e-3)


def test_weights_that_somebody_else_changed_are_read(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an evaluation of averaged weights does, or a model that is loaded."""
    ours, plain = (begun(recipe, torch.bfloat16, sampler="joint") for _ in range(2))
    for run in (plain, ours):
        if run is ours:
            wholly(ours, monkeypatch, again)
        trained(run, 3)
        with torch.no_grad():
            for parameter in run.state.model.encoder.parameters():
                parameter.mul_(0.5)
    assert ours.step()["losses"] == pytest.approx(plain.step()["losses"], rel=2e-2)


def test_parameters_that_stand_elsewhere_have_everything_made_anew(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = (begun(recipe, sampler="joint") for _ in range(2))
    wanted = trained(plain, 6)
    whole = wholly(ours, monkeypatch, again)
    found = trained(ours, 3)
    assert sum(whole.recorded) > 0
    for parameter in ours.state.model.parameters():
        parameter.data = parameter.data.clone()
    found.append(ours.step())
    assert sum(whole.recorded) == 0
    found += trained(ours, 2)
    for mine, other in zip(found, wanted, strict=True):
        assert mine["losses"] == pytest.approx(other["losses"], rel=1e-4)


def test_a_step_that_cannot_be_recorded_is_done_and_the_next_ones_go_another_way(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(body: Body) -> Body:
        raise RuntimeError("operation not permitted")

    ours, plain = (begun(recipe, sampler="joint") for _ in range(2))
    wanted = trained(plain, 5)
    wholly(ours, monkeypatch, failing)
    monkeypatch.setattr(steps, "may_run_ahead", lambda *_: not isinstance(ours.state.whole, str))
    found = trained(ours, 5)
    notes = [step.pop("note") for step in found if "note" in step]
    assert notes == ["steps are not recorded as graphs: operation not permitted"]
    assert ours.state.whole == "operation not permitted"
    for mine, other in zip(found, wanted, strict=True):
        assert mine["losses"] == pytest.approx(other["losses"], rel=1e-4)


# --- the update --------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.5])
def test_an_update_has_the_bits_of_the_optimizers_own(clip: float | None) -> None:
    """Also of what has no gradient this time, which stays as it is, with its moments."""
    drawing = torch.Generator().manual_seed(0)
    sides = []
    for _ in range(2):
        torch.manual_seed(3)
        parameters = [nn.Parameter(torch.randn(shape)) for shape in ((4, 5), (7,), (), (3, 3))]
        groups = [
            {"params": parameters[:2], "lr": 2.0**-7, "weight_decay": 0.1},
            {"params": parameters[2:], "lr": 2.0**-5, "weight_decay": 0.0},
        ]
        sides.append((parameters, torch.optim.AdamW(groups, fused=True)))
    (mine, ours), (theirs, plain) = sides
    places = Places.of(ours, 1, clip=clip)
    places.reached.update({"a": mine[:3], "b": [mine[0], mine[3]]})
    turns = [({"a"}, {0, 1, 2}), ({"b"}, {0, 3}), ({"a", "b"}, {0, 1, 2, 3}), ({"a"}, {0, 1, 2})]
    for factor, (tasks, reached) in enumerate(turns, 1):
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            grad = torch.randn(one.shape, generator=drawing) * factor
            other.grad = grad.clone() if place in reached else None
            if other.grad is not None:
                places.gradients[one].copy_(grad)
        norm = nn.utils.clip_grad_norm_(theirs, clip or float("inf"))
        plain.step()
        places.rates.copy_(torch.tensor([group["lr"] for group in ours.param_groups]))
        Update(places, frozenset(tasks)).run()
        assert places.report[-1] == norm
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(one, other)
            assert not places.gradients[one].any()
            for slot, value in plain.state[other].items():
                assert torch.equal(ours.state[one][slot], value)


def test_an_update_whose_moments_were_replaced_knows_it() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], fused=True)
    places = Places.of(optimizer, 1, clip=None)
    places.reached["a"] = [parameter]
    update = Update(places, frozenset({"a"}))
    assert update.is_current
    optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    assert not update.is_current
