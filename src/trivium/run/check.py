"""`trivium check`: what training would do, on the screen."""

from collections.abc import Sequence

import torch
from rich.console import Console

from trivium.recipe.budget import FULL
from trivium.recipe.given import AnyRecipe, take
from trivium.recipe.loading import check_budgets, load_recipe_file
from trivium.recipe.only import only_tasks
from trivium.recipe.space import search_in_words, search_of
from trivium.run.assembly.device import choose_device, choose_precision
from trivium.run.assembly.model import build
from trivium.run.baselines.find import BeforeTraining, find_baselines
from trivium.run.baselines.told import print_baselines
from trivium.run.folder.given import Tables
from trivium.run.folder.lent import called_so, lent
from trivium.run.folder.objectives import check_metrics, objectives_of
from trivium.run.folder.started import begin
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.screen.console import heard_on, say
from trivium.run.teachers.find import find_lessons
from trivium.run.training.explain import print_preview
from trivium.run.training.preview import Preview
from trivium.run.training.timing import timed_lines
from trivium.text.tokenizer import Tokenizer


def check(
    recipe: AnyRecipe,
    console: Console | None = None,
    *,
    tables: Tables | None = None,
    budget: str = FULL,
    changes: Sequence[str] = (),
    only: Sequence[str] = (),
    preset: str | None = None,
    time: bool = False,
    probe: bool = False,
) -> Preview:
    """Read and check everything a recipe names, and print what training would do.

    recipe: its file, or the recipe itself: see `AnyRecipe`. tables: rows that Python holds in place
    of its files, as `train` takes them. budget: one of the recipe's; the others are tried, too.
    changes: `dotted.path=value`, after the budget. only: these of its tasks. preset: `fast`, `good`
    or `best`, by default what the file says; of `best` one of its runs. time: run some steps of
    each stage, to tell how long it will take. probe: also judge the usual answer and a linear
    probe, which takes seconds. Nothing is written. Raises RecipeError where something is wrong.

        preview = trivium.check("recipes/quickstart.yaml", changes=["stages.0.epochs=1"])
        preview.warnings
    """
    console = heard_on(console)
    given = take(recipe)
    with lent(given, tables) as held:
        file = load_recipe_file(held.recipe, changes, budget, preset)
        check_budgets(file, held.recipe, changes)
        device = choose_device(file.recipe.device)
        if only:
            file = file.model_copy(update={"recipe": only_tasks(file.recipe, only), "search": None})
        search = search_of(file, given.path) if file.search else None
        loaded, data = load_data(file.recipe, console=console)
        lessons = find_lessons(loaded, data)
        model, tokenizer = build(loaded)
        started = begin(loaded, model, tokenizer, planned=True)
        limit = model.encoder.config.max_position_embeddings
        encoded = encode_all(loaded, data, tokenizer, limit, glance=True)
        data = called_so(data, held.tables)
    preview = Preview(loaded, data, encoded, model, lessons, started)
    if search:
        check_metrics(objectives_of(loaded, search), loaded, data, given.path)
    print_preview(preview, console)
    for line in timed_lines(preview, tokenizer, device) if time else ():
        say(console, line)
    if probe:
        print_baselines(_probed(preview, tokenizer, device), console)
    if search:
        words = search_in_words(loaded, search, given.path)
        say(console, ("search", "bold"), f" (tune): {words}")
    return preview


def _probed(preview: Preview, tokenizer: Tokenizer, device: torch.device) -> BeforeTraining:
    recipe, model = preview.recipe, preview.model
    model.encoder.precision = choose_precision(recipe.precision, device)
    predictor = TorchPredictor(model.to(device), recipe.tasks, tokenizer)
    return find_baselines(recipe, preview.data, predictor, wanted=True)
