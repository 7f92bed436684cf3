"""The recipe of a run that is to end in time."""

import time

from rich.console import Console

from trivium.recipe import Recipe
from trivium.recipe.probed import judges_start
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.splits import Data
from trivium.run.screen.console import note, say
from trivium.run.training.minutes import fit, in_words, notes_on, shortened
from trivium.run.training.pace import STEPS, finish_s, paces
from trivium.run.training.plan import plan_stage
from trivium.run.training.work import Setup

TEACHERS_TAKE_TIME = (
    "--minutes: the recipe has teachers, and nobody knows how long their answers take; say how "
    "long it is to train by a stage's `steps` or `epochs`."
)


def in_time(
    setup: Setup, predictor: TorchPredictor, data: Data, until: float, console: Console
) -> Recipe:
    """The recipe with as many steps as there is time for; some are run to know. The model is
    afterwards as it was.

    until: of `time.monotonic()`. Raises RecipeError where nothing fits.
    """
    if all(stage.steps == 0 for stage in setup.recipe.stages):
        return setup.recipe
    say(console, f"--minutes: {STEPS} steps of each stage are timed")
    measured = paces(setup, predictor, data), finish_s(setup, predictor, data)
    # Clocks differ, but all processes must do the same.
    found, end_s = setup.processes.from_first(measured)
    stages = setup.recipe.stages
    starts = (judges_start(setup.recipe, stage) for stage in stages)
    end_s += sum(pace.judge_s for pace, judged in zip(found, starts, strict=True) if judged)
    left = setup.processes.from_first(until - time.monotonic()) - end_s
    rows = {name: len(each) for name, each in setup.encoded.items()}
    plans = [plan_stage(stage, setup.recipe, rows) for stage in stages]
    timed = fit(stages, plans, found, left)
    say(console, f"--minutes: {in_words(timed, left)}")
    for text in notes_on(timed):
        note(console, text)
    return shortened(setup.recipe, timed)
