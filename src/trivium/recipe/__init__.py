"""The recipe: its schema, its files, and its messages."""

from trivium.recipe.files import dump_recipe, load_recipe, parse_recipe
from trivium.recipe.schema import Recipe
from trivium.recipe.stage import Stage

__all__ = ["Recipe", "Stage", "dump_recipe", "load_recipe", "parse_recipe"]
