"""The recipes of a study: each has a name, for its row, and a file, for its runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.errors import RecipeError
from trivium.recipe import AnyRecipe, RecipeFile, load_recipe_file
from trivium.recipe.ensembles import EnsembleRecipe, load_ensemble
from trivium.recipe.folders import moved
from trivium.recipe.given import NAMELESS, Given, take
from trivium.recipe.plain_yaml import write_yaml
from trivium.recipe.reading import whole
from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import TABLE

AnyRecipes = Sequence[AnyRecipe] | Mapping[str, AnyRecipe]
"""What a study is made of: recipes in their order, with names or without."""

PAGE = Path(TABLE).with_suffix(".md").name
"""The table for people, beside TABLE, the one for programs."""
Loaded = RecipeFile | EnsembleRecipe
HEAD = "# Written by `trivium study`, of a recipe that was given to it as data.\n"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One recipe of a study."""

    name: str
    recipe: AnyRecipe
    """As it was given."""
    source: Path
    """Its file; or its name, as if that was a file in the working directory."""
    path: Path
    """What its runs are trained from: its own file; or, if that has not its name, or there is none,
    NAME.yaml in the study's folder, which the study writes."""

    @property
    def is_written(self) -> bool:
        return self.path != self.source

    @property
    def files(self) -> set[str]:
        """By which an ensemble may name it as a member."""
        names = {self.path, self.source} | ({Path(self.name)} if self.is_written else set())
        return {str(name.resolve()) for name in names}

    def given(self) -> Given:
        """Raises RecipeError where its file cannot be read."""
        return take(self.recipe, self.name)


def entries_of(recipes: AnyRecipes, out: Path) -> list[Entry]:
    """A name per recipe: the one it was given, its file's without the ending, or a number. A file
    given twice counts once. Raises RecipeError where two would have one name, or a name is no use.
    """
    if not recipes:
        raise RecipeError("a study needs at least one recipe.")
    entries: dict[str, Entry] = {}
    for entry in _named(recipes, out) if isinstance(recipes, Mapping) else _in_order(recipes, out):
        same = entries.get(entry.name.casefold())
        if same and same.source.resolve() == entry.source.resolve():
            continue
        if same:
            raise RecipeError(
                f"{same.source} and {entry.source}: both would be called {entry.name!r} in the "
                "study; rename one of the files."
            )
        entries[entry.name.casefold()] = entry
    return list(entries.values())


def load_entries(
    entries: Sequence[Entry], changes: Sequence[str], budget: str
) -> dict[Entry, Loaded]:
    """What every recipe says, or one RecipeError with what is wrong in each of them."""
    loaded: dict[Entry, Loaded] = {}
    wrong = []
    for entry in entries:
        try:
            given = entry.given()
            loaded[entry] = load_ensemble(given) or load_recipe_file(given, changes, budget)
        except RecipeError as error:
            # What is said of a change names the change only, but it may fit the other recipes.
            message = str(error)
            names_file = message.startswith(str(entry.source))
            wrong.append(message if names_file else f"{entry.source}: {message}")
    if wrong:
        raise RecipeError("\n".join(wrong))
    return loaded


def text_of(entry: Entry, loaded: Loaded, members: Sequence[str]) -> str:
    """What the file says that the study writes for a recipe: as it was given, without budget and
    changes, its folders absolute.

    members: of an ensemble, the files from which the study trains them.
    """
    if isinstance(loaded, EnsembleRecipe):
        values = loaded.with_members(members).model_dump(mode="json", exclude_none=True)
    else:
        given = entry.given()
        values = moved(whole(given), given.path.parent)
    return HEAD + write_yaml(values)


def refuse_foreign_file(path: Path) -> None:
    """RecipeError where a recipe's file would replace one that no study wrote."""
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(HEAD.encode())):
        raise RecipeError(
            f"{path}: is there, and no study wrote it, but a recipe of that name is to be written "
            "there. Give the recipe another name, or name another folder with --out."
        )


def write_recipes(texts: Mapping[Path, str]) -> None:
    """The files of recipes that have none of their own. Raises OSError."""
    for path, text in texts.items():
        write_text(path, text)


def _in_order(recipes: Sequence[AnyRecipe], out: Path) -> list[Entry]:
    entries, numbers = [], 0
    for recipe in [recipes] if isinstance(recipes, str) else recipes:  # not a text's letters
        if isinstance(recipe, str | os.PathLike):
            path = Path(recipe)
            if path.stem in ("", PAGE, TABLE):
                raise RecipeError(f"{path}: give the recipe's file another name.")
            entries.append(Entry(path.stem, recipe, path, path))
        else:
            numbers += 1
            name = f"{NAMELESS}-{numbers}"
            entries.append(Entry(name, recipe, Path(name), out / f"{name}.yaml"))
    return entries


def _named(recipes: Mapping[str, AnyRecipe], out: Path) -> list[Entry]:
    entries = []
    for name, recipe in recipes.items():
        taken = ("", ".", "..", PAGE, TABLE)
        if name in taken or Path(name).name != name or name.endswith(".yaml"):
            raise RecipeError(f"{name!r}: is no name for a recipe's row and folder; use a word.")
        source = Path(recipe) if isinstance(recipe, str | os.PathLike) else Path(name)
        is_file_itself = source != Path(name) and source.stem == name
        entries.append(
            Entry(name, recipe, source, source if is_file_itself else out / f"{name}.yaml")
        )
    return entries
