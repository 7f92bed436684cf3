"""`trivium check`: what training would do, on the screen."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from trivium.recipe import Recipe
from trivium.recipe.space import search_in_words, search_of
from trivium.run.assembly.device import choose_device
from trivium.run.assembly.model import build
from trivium.run.folder.objectives import check_metrics, objectives_of
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.teachers.find import find_lessons
from trivium.run.training.explain import (
    print_preview,
)
from trivium.run.training.preview import Preview


def check(
    recipe: Recipe, console: Console | None = None, *, source: str | Path = "recipe"
) -> Preview:
    """Read and check everything a recipe names, and print what training would do.

    source: the recipe's file, at which folders that its search names start. Nothing is written.
    Raises RecipeError where something is wrong.
    """
    console = console or Console(stderr=True)
    choose_device(recipe.device)
    search = search_of(recipe, Path(source)) if recipe.search else None
    recipe, data = load_data(recipe)
    lessons = find_lessons(recipe, data)
    model, tokenizer = build(recipe)
    encoded = encode_all(recipe, data, tokenizer, model.encoder.config.max_position_embeddings)
    preview = Preview(recipe, data, encoded, model, lessons)
    if search:
        check_metrics(objectives_of(recipe, search), recipe, data, Path(source))
    print_preview(preview, console)
    if search:
        told = escape(search_in_words(recipe, search, Path(source)))
        console.print(f"[bold]search[/] (tune): {told}", soft_wrap=True, highlight=False)
    return preview
