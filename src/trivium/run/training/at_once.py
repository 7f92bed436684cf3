"""Which steps are launched as whole graphs, and how such a step goes."""

from typing import Any

import torch

from trivium.model import graphs
from trivium.model.replays import Capture
from trivium.recipe import Stage
from trivium.run.training.ahead import Owed
from trivium.run.training.batches import drawn, layers_fit
from trivium.run.training.pieces import TOKENS_AT_ONCE, pieces
from trivium.run.training.plan import Plan
from trivium.run.training.state import TrainState
from trivium.run.training.tally import Tally
from trivium.run.training.whole import WholeSteps
from trivium.run.training.work import Setup
from trivium.types import Step

CPU = torch.device("cpu")


def are_whole(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> bool:
    """Whether a step that nothing waits for is one of whole graphs."""
    if graphs.wanted() != "all":
        return False
    if state.whole is None:
        state.whole = misfit(setup, stage, plan, state) or whole_steps(setup, stage, plan, state)
    return isinstance(state.whole, WholeSteps)


def misfit(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> str:
    """Why a stage's steps cannot be whole graphs, in words; "" if they can."""
    if not layers_fit(setup, state.model.encoder):
        return "the encoder's layers cannot be recorded"
    if stage.trains.changes:
        return "what is trained changes"
    if type(state.optimizer) is not torch.optim.AdamW:
        return "the optimizer is another one"
    for name in plan.tasks:
        task = setup.encoded[name].task
        if task.draws_targets or not task.can_be_recorded:
            return f"the loss of {name} cannot be recorded"
        if not state.model.head(name).can_be_recorded:
            return f"the head of {name} cannot be recorded"
    return ""


def whole_steps(setup: Setup, stage: Stage, plan: Plan, state: TrainState) -> WholeSteps:
    """For a stage that fits; elsewhere than on a GPU nothing is recorded."""
    optimizer = state.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    return WholeSteps(
        state.model,
        {name: setup.encoded[name].task for name in plan.tasks},
        optimizer,
        clip=stage.clip,
        record=Capture(setup.device) if setup.device.type == "cuda" else None,
    )


def run_whole(
    setup: Setup, stage: Stage, plan: Plan, state: TrainState, step: Step
) -> tuple[Tally, Owed, dict[str, Any]]:
    """A whole step; with what the journal says of it seldom."""
    whole, tally = state.whole, Tally()
    assert isinstance(whole, WholeSteps)
    limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
    whole.begin()
    for one in drawn(stage, plan, state, step):
        tally.count(one.task, len(one.rows), one.factor)
        parts = pieces(setup.encoded[one.task], one.rows, limit, setup.processes, CPU)
        tally.tokens += sum(len(part.batch.tokens.ids_N) for part in parts)
        whole.add(parts, one.scale)
    whole.update()
    owed, facts = Owed(whole.report, whole.losses()), {}
    if whole.failure:
        # The step is done, as it is; the next ones go another way.
        facts["note"] = f"steps are not recorded as graphs: {whole.failure}"
        state.whole = whole.failure
    return tally, owed, facts
