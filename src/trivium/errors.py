"""The one error that people see, the hint that goes with a misspelt name, and a wanted end."""

import difflib
from collections.abc import Iterable


class RecipeError(ValueError):
    """The recipe, the data or a folder it names is wrong; the message says where and what to do.

    It is for people, and all that they need to read:

        try:
            trivium.load("runs/nowhere")
        except trivium.RecipeError as error:
            print(error)
    """


class Interrupted(Exception):  # noqa: N818 an outcome, not an error
    """Work was asked to stop, and saved what going on needs.

    The same call, with `resume` where there is one, goes on:

        try:
            trivium.train("recipes/quickstart.yaml", "runs/long")
        except trivium.Interrupted:  # a first Ctrl-C
            trivium.train("recipes/quickstart.yaml", "runs/long", resume=True)
    """


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest allowed one, or all of them."""
    names = list(allowed)
    if close := difflib.get_close_matches(str(name), names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(map(repr, names))}" if names else ""
