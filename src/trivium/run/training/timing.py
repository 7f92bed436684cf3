"""What training will take, in seconds and on the disk, for `trivium check --time`."""

import torch

from trivium.errors import RecipeError
from trivium.recipe.probed import judges_start
from trivium.run.assembly.device import choose_precision, make_current
from trivium.run.assembly.machine import keep_memory
from trivium.run.folder.resume import KEPT_GENERATIONS
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.training.minutes import clock, evaluations_of, seconds_of
from trivium.run.training.pace import finish_s, paces
from trivium.run.training.preview import Preview
from trivium.run.training.work import Setup
from trivium.text.tokenizer import Tokenizer

STATES = 3
"""Of a trained parameter in a checkpoint: itself, and AdamW's two moments."""


def timed_lines(preview: Preview, tokenizer: Tokenizer, device: torch.device) -> list[str]:
    """In words, a line per stage and one of the whole; a few steps of each stage are run for it.

    Raises RecipeError where the recipe has teachers, whose answers nobody can time beforehand.
    """
    if preview.lessons.by_stage:
        raise RecipeError("--time: the recipe has teachers, who cannot be timed beforehand.")
    recipe, model = preview.recipe, preview.model
    keep_memory()
    make_current(device)
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    setup = Setup(recipe, preview.encoded, model, device)
    lines, total = [], finish_s(setup, predictor, preview.data)
    for stage, pace in zip(recipe.stages, paces(setup, predictor, preview.data), strict=True):
        plan = preview.plan(stage)
        judged = evaluations_of(plan) + (stage.guard is not None)
        judged += judges_start(recipe, stage)
        seconds = seconds_of(pace, plan.steps, judged)
        total += seconds
        lines.append(
            f"time of stage {stage.name}: some {clock(seconds)}: {plan.steps:,} steps of "
            f"{1000 * pace.step_s:.0f} ms, {judged:,} evaluations of {pace.judge_s:.1f} s"
        )
    return [*lines, f"time in all: some {clock(total)}; {_disk(preview)}"]


def _disk(preview: Preview) -> str:
    """What the run's folder will hold."""
    model = sum(p.numel() for p in preview.model.parameters())
    trained = max(preview.memory(stage).trained for stage in preview.recipe.stages)
    saved = KEPT_GENERATIONS * (model + (STATES - 1) * trained)
    return (
        f"disk: {4 * model / 2**20:,.0f} MiB, and {4 * saved / 2**20:,.0f} MiB more while it trains"
    )
