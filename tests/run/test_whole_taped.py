"""Steps of whole graphs whose operations are repeated without Python, as a GPU repeats them: to the
bit what they are with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import tape
from tests.support.stepping import Run, begun, moments, trained, with_task
from tests.support.tables import make_recipe
from trivium.model import encoder
from trivium.model.attention import Stream
from trivium.model.graphs import SWITCH, Size
from trivium.model.native.library import SWITCH as NATIVE
from trivium.model.replays import Record
from trivium.run.training import step as steps
from trivium.run.training.whole import WholeSteps

STEPS = 6


@pytest.fixture(scope="module")
def recipe(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    values = make_recipe(tiny, tmp_path_factory.mktemp("taped"))
    values = with_task(values, "mood", class_weights={"up": 3, "down": 0.5}, head="mlp")
    return with_task(values, "near", loss={"kind": "cosent", "anchor": 1.0})


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own kernels, packed streams, and numbers that are there at once."""
    monkeypatch.setenv(NATIVE, "0")
    monkeypatch.setenv(SWITCH, "all")
    monkeypatch.setattr(steps, "Later", lambda there, facts: facts(there.tolist()))
    monkeypatch.setattr(steps, "may_run_ahead", lambda *_: True)
    monkeypatch.setattr(encoder, "attention", tape.attention)

    def packed(size: Size, lengths_R: Tensor) -> Stream:
        return Stream(lengths_R, size.longest, size.starts(lengths_R))

    monkeypatch.setattr(Size, "layout", packed)


def wholly(values: dict[str, Any], record: Record | None) -> Run:
    """Its steps are whole ones, in bf16 and with dropout."""
    run = begun(
        values, torch.bfloat16, drops=True, sampler="joint", batch_size=3, clip=0.5,
        lr={"encoder": 3e-3, "heads": 1e-2}, schedule={"kind": "linear", "warmup": 0.2},
    )  # fmt: skip
    torch.manual_seed(7)
    tasks = {name: run.setup.encoded[name].task for name in run.plan.tasks}
    assert isinstance(run.state.optimizer, torch.optim.AdamW)
    run.state.whole = WholeSteps(
        run.state.model, tasks, run.state.optimizer, clip=run.stage.clip, record=record
    )
    return run


def test_what_changes_from_step_to_step_is_not_what_python_had_when_it_was_recorded(
    recipe: dict[str, Any],
) -> None:
    """Rates, word pieces, targets, factors on losses, dropout, counts of steps, low copies."""
    plain = wholly(recipe, None)
    wanted = trained(plain, STEPS)
    taped = wholly(recipe, tape.tape)
    found = trained(taped, STEPS)
    whole = taped.state.whole
    assert isinstance(whole, WholeSteps), whole
    assert whole.recorded == (3, 1)  # a batch of each of three tasks, and the update
    assert len({step["lr"] for step in found}) == STEPS, "rates that are repeated tell nothing"
    assert found == wanted
    for one, two in zip(
        taped.state.model.parameters(), plain.state.model.parameters(), strict=True
    ):
        assert torch.equal(one, two)
    assert str(moments(taped)) == str(moments(plain))


def test_a_tape_knows_no_python() -> None:
    """By hand: 1, and 1 again where Python says 5, with what is new in memory, 0.5."""
    total, added, python = torch.zeros(2), torch.zeros(2), [1.0]

    def body() -> None:
        total.add_(torch.full((2,), python[0]) + added)

    launch = tape.tape(body)
    launch()
    python[0] = 5.0
    added.fill_(0.5)
    launch()
    assert total.tolist() == [2.5, 2.5]


def test_what_a_graph_would_have_to_ask_for_is_not_recorded() -> None:
    def body() -> None:
        torch.ones(()).item()

    with pytest.raises(RuntimeError, match="a graph cannot do _local_scalar_dense"):
        tape.tape(body)
