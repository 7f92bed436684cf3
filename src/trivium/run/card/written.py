"""A card written, unless a person has changed the one that is there."""

import hashlib
import re

import trivium
from trivium.run.card.body import body
from trivium.run.card.facts import Facts, gather
from trivium.run.card.head import head
from trivium.run.folder.atomic import write_text
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.names import CARD, MODEL

_MARK = re.compile(r"\n<!-- Written by trivium [^\n]*sha256 ([0-9a-f]{64}) -->\s*\Z")

_NAMED = re.compile(r"^# `([\w.-]+/[\w.-]+)`$", re.MULTILINE)
"""The title of a card that tells the model's name on the hub: that of a folder has no slash."""


def write_card(run: FinishedRun, name: str | None = None) -> bool:
    """Write the card of a run's model; False where a person's changes were left alone.

    name: of the model on the hub. Raises RecipeError where a file of the run is damaged.
    """
    path = run.folder / MODEL / CARD
    if path.is_file() and is_changed(path.read_bytes().decode(errors="replace")):
        return False
    write_text(path, card(gather(run, name)))
    return True


def renew_card(run: FinishedRun) -> bool:
    """As `write_card`, where there is a card, under the name on the hub that it has, if it has one;
    False where there is none, or where it is a person's."""
    path = run.folder / MODEL / CARD
    if not path.is_file():
        return False
    named = _NAMED.search(path.read_bytes().decode(errors="replace"))
    return write_card(run, named[1] if named else None)


def card(facts: Facts) -> str:
    """All of a card: its head for the hub, its text, and the mark that tells if it is changed."""
    from huggingface_hub import ModelCard

    text = str(ModelCard(f"---\n{head(facts).to_yaml()}\n---\n\n{body(facts)}"))
    return (
        f"{text}\n<!-- Written by trivium {trivium.__version__}, which leaves this file alone once "
        f"anything above is changed. sha256 {_digest(text)} -->\n"
    )


def is_changed(text: str) -> bool:
    """Whether a card is not, or no longer, as it was written here."""
    text = text.replace("\r\n", "\n")  # as Git may have made of it
    mark = _MARK.search(text)
    return mark is None or mark[1] != _digest(text[: mark.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
