"""`trivium init`: a first recipe for tables that nobody has described."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.errors import RecipeError
from trivium.recipe.parse import parse_recipe
from trivium.recipe.presets import preset_of
from trivium.recipe.schema import Recipe
from trivium.run.drafting.draft import Ask, Draft, Wanted
from trivium.run.drafting.files import Group, grouped, look
from trivium.run.drafting.oddities import oddities
from trivium.run.drafting.sources import NO_DEV
from trivium.run.drafting.tasks import drafts
from trivium.run.drafting.written import recipe_text, recipe_values
from trivium.run.folder.atomic import refuse_source, refuse_unwritable, write_text
from trivium.run.rows.load import load_data
from trivium.run.screen.console import heard_on, note, say

ENCODER = "minilm"
TRIES = 4


def init(
    files: Sequence[str | Path],
    out: str | Path = "recipe.yaml",
    *,
    text: Sequence[str] = (),
    label: Sequence[str] = (),
    encoder: str = ENCODER,
    preset: str | None = None,
    overwrite: bool = False,
    ask: Ask | None = None,
    console: Console | None = None,
) -> Recipe:
    """Look at tables, and write the recipe that trains on them, which `check` takes as it is.

    What was assumed, and what is odd in the files, is told on the console. text, label: columns, by
    default those that seem to hold texts and answers. preset: `fast`, `good` or `best`, for the
    recipe to say how much `train` spends on it. ask: whom to ask where that is not certain;
    by default it is assumed. Raises RecipeError where a file cannot be read, or holds no answers.

        recipe = trivium.init(["recipes/data/support-desk/messages-train.csv"], "desk.yaml")
        list(recipe.tasks)  # ['topic', 'urgency']
    """
    console, path = heard_on(console), Path(out).absolute()
    refuse_source(path, files, "the recipe goes")
    refuse_unwritable(path, overwrite=overwrite, example="recipe.yaml")
    given = _each_once(files)
    preset = preset_of({}, preset) if preset is not None else None
    if not given:
        raise RecipeError("init: name one or more files of labelled text.")
    home = Path(os.path.commonpath([file.parent for file in given]))
    groups = grouped([look(file, home, console) for file in given])
    wanted = Wanted(tuple(text), tuple(label), ask, of_sentences=encoder == ENCODER)
    made = [(group, draft) for group in groups for draft in drafts(group, wanted)]
    _name_apart(made)
    data = _from(Path(os.path.realpath(path.parent)), home)
    recipe = _settled(encoder, home, [draft for _, draft in made])
    _tell(made, console)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, recipe_text(encoder, data, [draft for _, draft in made], preset))
    say(
        console,
        ("written", "bold"),
        f": {out}. See what it means with: trivium check {shlex.quote(str(out))}",
    )
    return recipe


def _each_once(files: Sequence[str | Path]) -> list[Path]:
    """Files by their own names in folders without links, for only then do paths tell the way from
    one folder to another; each once, however often and under whatever names it is given."""
    once: dict[str, Path] = {}
    for path in map(Path, files):
        folder = Path(os.path.realpath(path.parent))
        once.setdefault(os.path.realpath(path), folder / path.name)
    return list(once.values())


def _from(folder: Path, home: Path) -> str:
    """The folder of data, as a recipe in that folder names it. Both are without links."""
    try:
        relative = Path(os.path.relpath(home, folder))
    except ValueError:  # on another drive
        return str(home)
    return str(home) if relative.parts[:3] == ("..",) * 3 else relative.as_posix()


def _name_apart(made: Sequence[tuple[Group, Draft]]) -> None:
    """Give tasks of the same name the name of their table, or a number."""
    taken: set[str] = set()
    for _, draft in made:
        name, number = draft.name, 1
        while draft.name in taken:
            number += 1
            draft.name = f"{name}_{number}"
        taken.add(draft.name)


def _settled(encoder: str, home: Path, tasks: Sequence[Draft]) -> Recipe:
    """The recipe with its files read, as `check` will read them; what keeps them from being used,
    and can be said in a recipe, is said. Raises RecipeError for what is left."""
    for attempt in range(TRIES):
        try:
            recipe = parse_recipe(recipe_values(encoder, str(home), tasks))
            return load_data(recipe)[0]
        except RecipeError as error:
            if attempt == TRIES - 1 or not _mend(tasks, str(error)):
                raise
    raise AssertionError("the last attempt raises")


def _mend(tasks: Sequence[Draft], said: str) -> bool:
    """Change the task that a message is about; whether there was something to change."""
    for draft in tasks:
        if f"task {draft.name!r}" not in said:
            continue
        values = draft.values
        if "bad_rows: skip" in said and "bad_rows" not in values:
            values["bad_rows"] = "skip"
            draft.notes["bad_rows"] = "each is told by its line"
            draft.assumed.append("rows that cannot be used are left out (bad_rows: skip)")
            return True
        drawn = values.get("dev") if isinstance(values.get("dev"), dict | float) else None
        if "is left for" in said and drawn is not None and "file" not in _table(drawn):
            del values["dev"]
            draft.assumed = [line for line in draft.assumed if not line.startswith(NO_DEV)]
            draft.assumed.append(
                "there are too few rows to hold some out: nothing judges this task"
            )
            return True
    return False


def _table(drawn: Any) -> dict[str, Any]:
    return drawn if isinstance(drawn, dict) else {}


# --- what is said ------------------------------------------------------------------------------


def _tell(made: Sequence[tuple[Group, Draft]], console: Console) -> None:
    groups = list({id(group): group for group, _ in made}.values())
    for file in (file for group in groups for file in group.files.values()):
        say(console, _plain(f"{file.name}: {file.rows:,} rows, {file.table.dialect}"))
    for _, draft in made:
        say(console, ("task ", ""), (_plain(draft.name), "bold"), f": {_plain(_about(draft))}")
        for line in dict.fromkeys(draft.assumed):
            say(console, ("assumed", "cyan"), f" {_plain(line)}")
    odd = [line for group, draft in made for line in oddities(group, draft.values)]
    for line in dict.fromkeys(odd):
        note(console, _plain(line))


def _about(draft: Draft) -> str:
    values = draft.values
    texts = values["text"] if isinstance(values["text"], list) else [values["text"]]
    what = draft.notes["kind"]
    read = " and ".join(map(repr, texts))
    return f"{values['kind']} of {read} by {values['label']!r}, {what}"


def _plain(text: str) -> str:
    """Names of people's files, without what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
