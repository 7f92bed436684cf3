"""The batches of a step through the model and back, and gradients averaged over processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trivium.model import graphs
from trivium.model.attention import has_fused
from trivium.model.encoder import Encoder
from trivium.model.native import adamw as native
from trivium.recipe import Stage
from trivium.run.training.buckets import Mean, reached
from trivium.run.training.by_task import Pass, may_go_by_task
from trivium.run.training.gradients import Apart
from trivium.run.training.loss import compared_loss, penalties_on, piece_loss, plain_loss
from trivium.run.training.pieces import TOKENS_AT_ONCE, Piece, Rows, compared_targets, pieces
from trivium.run.training.plan import Plan
from trivium.run.training.state import TrainState
from trivium.run.training.tally import Tally
from trivium.run.training.together import in_passes, may_go_together, outputs_of
from trivium.run.training.work import Setup
from trivium.types import Step


@contextmanager
def words_by_rows(setup: Setup, state: TrainState) -> Iterator[None]:
    """Inside, an optimizer that can do so has the word embedding read row by row."""
    optimizer, embeddings = state.optimizer, state.model.encoder.embeddings
    weight = embeddings.word_embeddings.weight
    # Averages over processes are of whole matrices.
    alone = setup.processes.world == 1
    if alone and weight.requires_grad and isinstance(optimizer, native.AdamW):
        embeddings.rows = optimizer.rows_of(weight)
    try:
        yield
    finally:
        embeddings.rows = None


@contextmanager
def recorded(setup: Setup, state: TrainState, *, wanted: bool) -> Iterator[None]:
    """Inside, the encoder's passes are recorded graphs, where that is possible."""
    encoder = state.model.encoder
    if wanted and layers_fit(setup, encoder) and graphs.wanted() != "none":
        encoder.graphs = encoder.recorded()
    try:
        yield
    finally:
        encoder.graphs = None


def layers_fit(setup: Setup, encoder: Encoder) -> bool:
    """Whether the encoder's layers can be recorded: without adapters, and on packed texts."""
    config = encoder.config
    width = config.hidden_size // config.num_attention_heads
    low = encoder.precision == torch.bfloat16
    return low and has_fused(encoder.precision, width) and not setup.recipe.adapters


class Drawn(NamedTuple):
    """A batch of a step."""

    task: str
    rows: Rows
    factor: float
    """What the combiner multiplies its loss with."""
    scale: float
    """Whole factor on its loss."""
    is_last: bool


def drawn(stage: Stage, plan: Plan, state: TrainState, step: Step) -> Iterator[Drawn]:
    """The step's batches."""
    for left in reversed(range(stage.batches_per_step)):
        names = [plan.tasks[t] for t in stage.sampler.draw(list(plan.rows.values()), step)]
        for place, name in enumerate(names, 1):
            rows, factor = state.streams[name].draw(), stage.combiner.factor(name, step)
            scale = plan.weights[name] * factor / stage.batches_per_step
            yield Drawn(name, rows, factor, scale, is_last=not left and place == len(names))


def run_batches(
    setup: Setup, stage: Stage, plan: Plan, state: TrainState, step: Step, *, apart: Apart | None
) -> Tally:
    """Forward and backward of the step's batches: gradients are in `.grad`, averaged over
    processes, or those of what tasks share in `apart` if it is given, and not averaged."""
    tally = Tally()
    together = plan.batches_per_step > 1 and may_go_together(
        state.model, stage, setup.device, setup.processes.world
    )
    if together and (apart is None or may_go_by_task(state.model, setup.device)):
        _run_together(setup, stage, list(drawn(stage, plan, state, step)), tally, apart)
        return tally
    for one in drawn(stage, plan, state, step):
        tally.begin(one.task, len(one.rows), one.factor, setup.device)
        _run_batch(setup, stage, None if apart else state, one, (step, tally))
        if apart:  # one task's graph at a time; heads keep their gradients in `.grad`
            apart.take(one.task)
    return tally


def _run_together(
    setup: Setup, stage: Stage, batches: Sequence[Drawn], tally: Tally, apart: Apart | None
) -> None:
    """Add the batches' gradients to `.grad`, or to `apart`, of as few passes through the encoder as
    hold them."""
    limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
    every: list[tuple[Piece, Drawn, bool]] = []
    tasks = list(dict.fromkeys(one.task for one in batches))
    if apart:  # a task's side by side: so each has one gradient in a pass
        apart.expect(tasks)
        batches = sorted(batches, key=lambda one: tasks.index(one.task))
    for one in batches:
        encoded = setup.encoded[one.task]
        share = pieces(encoded, one.rows, limit, setup.processes, setup.device)
        every += [(piece, one, place == 0) for place, piece in enumerate(share)]
    tokens = [len(piece.batch.tokens.ids_N) for piece, *_ in every]
    first_only = [setup.model.head(one.task).reads_first_only for _, one, _ in every]
    for places in in_passes(tokens, first_only, limit):
        group, losses = [every[place] for place in places], []
        parts = [piece.batch for piece, *_ in group]
        by_task = Pass(setup.model, parts) if apart else None
        outputs = by_task.outputs if by_task else outputs_of(setup.model, parts)
        for (piece, one, begins), output_BK in zip(group, outputs, strict=True):
            if begins:
                tally.begin(one.task, len(one.rows), one.factor, setup.device)
            losses.append(plain_loss(setup, piece, output_BK, tally) * one.scale)
        if by_task and apart:
            by_task.backward(losses, apart)
        else:
            torch.autograd.backward(losses)


def _run_batch(
    setup: Setup,
    stage: Stage,
    sums: TrainState | None,
    one: Drawn,
    told: tuple[Step, Tally],
) -> None:
    """Add a batch's gradient to `.grad`.

    sums: where `.grad` is the step's whole gradient, whose parameters it is of; it is then averaged
    over processes with the last batch.
    """
    limit = stage.tokens_at_once or TOKENS_AT_ONCE[setup.device.type]
    encoded, loss = setup.encoded[one.task], None
    share = pieces(encoded, one.rows, limit, setup.processes, setup.device)
    for piece in share[:-1]:
        torch.autograd.backward(piece_loss(setup, stage, piece, *told) * one.scale)
    if share:
        loss = piece_loss(setup, stage, share[-1], *told) * one.scale
    else:
        _hear_others(setup, stage, one, told[1])
    with _sent_meanwhile(setup, sums, loss) if sums and one.is_last else nullcontext():
        if loss is not None:
            torch.autograd.backward(loss)


@contextmanager
def _sent_meanwhile(setup: Setup, state: TrainState, loss: Tensor | None) -> Iterator[None]:
    """Averages over processes what one last backward pass inside leaves, while it goes on.

    loss: of which it is, None where this process has no row of the batch.
    """
    if setup.processes.world == 1:
        yield
        return
    learning = trained(state)
    ours = reached(loss) if loss is not None else set()
    there = setup.processes.agree(*(p.grad is not None or id(p) in ours for p in learning))
    sent = [p for p, is_there in zip(learning, there, strict=True) if is_there]
    with mean_of(setup).meanwhile(sent, ours):
        yield


def _hear_others(setup: Setup, stage: Stage, one: Drawn, tally: Tally) -> None:
    """Of a batch without a row for this process: the others may compare theirs, and wait for it."""
    encoded, processes = setup.encoded[one.task], setup.processes
    whole_B = compared_targets(encoded, one.rows, processes, setup.device)
    if whole_B is not None:
        outputs = encoded.task.outputs_beside(setup.model.encoder.config.hidden_size)
        none_BK = torch.zeros(0, outputs, device=setup.device)
        tally.add(one.task, compared_loss(processes, encoded.task, none_BK, whole_B))
        for part in penalties_on(stage, one.task):
            for _ in range(part.label_losses):
                processes.rows_of_each(none_BK, len(whole_B))


def trained(state: TrainState) -> list[nn.Parameter]:
    """All that the optimizer changes, in its order."""
    return [p for group in state.optimizer.param_groups for p in group["params"]]


def mean_of(setup: Setup) -> Mean:
    """How gradients are averaged over the run's processes."""
    kind = torch.bfloat16 if setup.recipe.allreduce == "bf16" else torch.float32
    return Mean(setup.processes, kind)
