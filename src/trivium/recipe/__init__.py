"""The recipe: its schema, its files, and its messages."""

from trivium.recipe.dumping import dump_recipe
from trivium.recipe.file import RecipeFile
from trivium.recipe.given import AnyRecipe
from trivium.recipe.loading import load_recipe, load_recipe_file
from trivium.recipe.parse import parse_recipe
from trivium.recipe.schema import Recipe
from trivium.recipe.stage import Stage

__all__ = [
    "AnyRecipe",
    "Recipe",
    "RecipeFile",
    "Stage",
    "dump_recipe",
    "load_recipe",
    "load_recipe_file",
    "parse_recipe",
]
