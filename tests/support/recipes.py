"""A small recipe in a file, and what is said of a wrong one."""

from pathlib import Path

import pytest

from trivium.errors import RecipeError
from trivium.recipe import Recipe, load_recipe

GOOD = """\
tasks:
  mood: {kind: classification, text: a, label: y, labels: [bad, good]}
  sim: {kind: regression, text: [a, b], label: y, range: [0, 5]}
stages:
  - {name: both, epochs: 1, sampler: annealed}
  - {name: more, tasks: [mood], lr: 5e-5}
"""


def saved(folder: Path, content: str | bytes = GOOD, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(folder: Path, *changes: str, content: str | bytes = GOOD) -> Recipe:
    return load_recipe(saved(folder, content), changes)


def refusal(folder: Path, *changes: str, content: str | bytes = GOOD) -> list[str]:
    """The lines of the message, without the file's name."""
    path = saved(folder, content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, changes)
    return [line.removeprefix(f"{path}") for line in str(caught.value).splitlines()]


# --- extending ---------------------------------------------------------------------------------
def family(folder: Path, child: str, home: str = "children") -> Path:
    """A recipe, and another in a folder of its own that extends it."""
    (folder / "base.yaml").write_text(GOOD)
    (folder / home).mkdir(exist_ok=True)
    path = folder / home / "child.yaml"
    path.write_text(child)
    return path
