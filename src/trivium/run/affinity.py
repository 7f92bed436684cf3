"""`trivium affinity`: which tasks help one another on one encoder, and which do not."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.errors import Interrupted, RecipeError
from trivium.jsons import shown
from trivium.recipe import AnyRecipe, Recipe, load_recipe
from trivium.recipe.budget import FULL
from trivium.run.assembly.device import choose_device, choose_precision, make_current
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.folder.affinity import write_affinity
from trivium.run.folder.atomic import refusals_told
from trivium.run.folder.locks import alone
from trivium.run.folder.names import AFFINITY, RECIPE
from trivium.run.folder.start import run_recipe
from trivium.run.folder.started import begin
from trivium.run.folder.writable import refuse_no_folder
from trivium.run.lookahead.conclude import conclude
from trivium.run.lookahead.follow import EVERY, Look, follow, shortened, stage_to_follow
from trivium.run.lookahead.intervals import FEWEST
from trivium.run.lookahead.measure import LENGTH
from trivium.run.lookahead.told import print_affinity
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.rows.refusals import unused_rows
from trivium.run.screen.console import heard_on, note, say
from trivium.run.training.parameters import start_from_counts
from trivium.run.training.plan import plan_stage
from trivium.run.training.start import start_of
from trivium.run.training.stopping import stop_on_signal
from trivium.run.training.work import Setup


def affinity(
    recipe: AnyRecipe,
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    every: int = EVERY,
    length: float = LENGTH,
    encoders: int | None = None,
    budget: str = FULL,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a recipe's tasks together for a while, and tell what a step for each does to the loss
    of every other: the content of `affinity.json`.

    recipe: as in `train`, or the folder of a run, whose recipe it then is, and where the file is
    put. out: a folder for it. steps: of training; by default those of the recipe, 400 at most.
    every: steps between two look-aheads, each of which costs T gradients and T * T losses of T
    tasks. length: of a look-ahead. encoders: suggest at most so many; by default as few as harm no
    task. budget, changes: of the recipe.

    Raises RecipeError where the recipe has nothing to compare, or `out` has such a file already
    (unless `overwrite`), and Interrupted after Ctrl-C; what was measured by then is kept.

        found = trivium.affinity("recipes/quickstart.yaml", "runs/affinity", steps=6, every=2)
        found["tasks"], found["gain"][0][1]  # what a step for the first gives the second
    """
    console = heard_on(console)
    look = _look(steps, every, length, encoders)
    loaded, folder = _recipe_and_folder(recipe, out, budget, changes)
    path = folder / AFFINITY
    refuse_no_folder(folder, "what is found")
    if path.exists() and not overwrite:
        raise RecipeError(f"{path}: is there already; replace it with --overwrite, or name --out.")
    short = shortened(loaded, stage_to_follow(loaded), look.steps)
    with alone(path), refusals_told(folder, lambda: "Nothing was kept."):
        setup = _setup(short, console)
        _refuse_too_short(setup, look)
        folder.mkdir(parents=True, exist_ok=True)
        with stop_on_signal() as stopping:
            seen = follow(setup, look, console, stopping)
        if len(seen.gains) < FEWEST:
            _refuse_too_few(len(seen.gains), look, stopped=seen.stopped)
        result = conclude(seen, look, encoders)
        write_affinity(folder, result)
    print_affinity(result, console)
    say(console, f"affinity: {path}")
    if seen.stopped:
        raise Interrupted(f"stopped; what was measured until then is in {path}.")
    return result.as_dict()


def _look(steps: int | None, every: int, length: float, encoders: int | None) -> Look:
    for name, value in (("steps", steps), ("every", every), ("length", length)):
        if value is not None and not 0 < value < math.inf:
            kind = "finite number" if value > 0 else "number"
            raise RecipeError(f"--{name} {shown(value)}: give a {kind} above 0.")
    if encoders is not None and encoders < 1:
        raise RecipeError(f"--encoders {encoders}: give at least 1.")
    return Look(steps, every, length)


def _recipe_and_folder(
    recipe: AnyRecipe, out: str | Path | None, budget: str, changes: Sequence[str]
) -> tuple[Recipe, Path]:
    if isinstance(recipe, str | Path) and (Path(recipe) / RECIPE).is_file():
        run = Path(recipe)
        if budget != FULL or changes:
            raise RecipeError(
                f"{run}: is a run, whose recipe stands; --budget and --set are for a recipe's file."
            )
        return run_recipe(run), Path(out) if out is not None else run
    loaded = load_recipe(recipe, changes, budget)
    if out is None:
        raise RecipeError("affinity: name a folder for what is found, with --out.")
    return loaded, Path(out)


def _setup(recipe: Recipe, console: Console) -> Setup:
    """The model and its rows, before the first step."""
    device = choose_device(recipe.device)
    make_current(device)
    keep_memory()
    recipe, data = load_data(recipe, console=console)
    for line in unused_rows(data):
        note(console, line)
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    start_from_counts(model, encoded)
    begin(recipe, model, tokenizer)
    model.encoder.precision = choose_precision(recipe.precision, device)
    model.to(device)
    return Setup(recipe, encoded, model, device, start=start_of(recipe, model.encoder))


def _refuse_too_short(setup: Setup, look: Look) -> None:
    """A training that will not have enough look-aheads is not begun."""
    rows = {name: len(encoded) for name, encoded in setup.encoded.items()}
    (stage,) = setup.recipe.stages
    found = plan_stage(stage, setup.recipe, rows).steps // look.every
    if found < FEWEST:
        _refuse_too_few(found, look, stopped=False)


def _refuse_too_few(found: int, look: Look, *, stopped: bool) -> None:
    if stopped:
        raise Interrupted("stopped before there were two look-aheads; nothing was kept.")
    raise RecipeError(
        f"affinity: {found} look-aheads, but an interval needs {FEWEST}; take more --steps, or a "
        f"smaller --every ({look.every})."
    )
