"""The texts that masked words are trained and judged by: distinct ones, and none of them both."""

import hashlib
from collections.abc import Iterable, Mapping

from trivium.errors import RecipeError
from trivium.parts.tasks import MaskedWords
from trivium.types import Example

Gathered = dict[str, tuple[list[Example], str]]
"""split -> its texts, and how they came about, for people."""


def gather(task: MaskedWords, rows: Mapping[str, Iterable[Example]]) -> Gathered:
    """Every distinct text once, of the splits that have rows; one that stands in dev is not
    trained. Texts are the same if they differ in surrounding space only.

    rows: split -> rows of the task's own files and of the tasks it names, with one text or two.
    Raises RecipeError where nothing is left to train.
    """
    distinct = {split: _distinct(task, found) for split, found in rows.items()}
    dev = distinct.get("dev", {})
    gathered: Gathered = {}
    if "train" in distinct:
        train = [example for key, example in distinct["train"].items() if key not in dev]
        if not train:
            raise RecipeError(
                f"task {task.name!r}: train: no text is left that does not also stand in dev. Name "
                "other texts, or leave the `dev` rows out."
            )
        gathered["train"] = train, _note(task, len(train), len(distinct["train"]) - len(train))
    if dev:
        drawn = _drawn(dev, task.dev_texts)
        more = f", of {len(dev):,} always these" if len(drawn) < len(dev) else ""
        gathered["dev"] = drawn, _note(task, len(drawn)) + more
    return gathered


def _distinct(task: MaskedWords, rows: Iterable[Example]) -> dict[str, Example]:
    """A row for each text, by the text without surrounding space."""
    most = 1 if task.texts == "first" else None
    target = task.target("")
    found: dict[str, Example] = {}
    for row in rows:
        for text in row.texts[:most]:
            # The text itself stays as it was read: so it is tokenised once for all tasks.
            found.setdefault(text.strip(), Example((text,), target, row.line))
    return found


def _drawn(texts: Mapping[str, Example], most: int) -> list[Example]:
    """At most so many, in their order; which, depends on the texts alone."""
    if len(texts) <= most:
        return list(texts.values())
    chosen = set(sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:most])
    return [example for text, example in texts.items() if text in chosen]


def _note(task: MaskedWords, texts: int, held_out: int = 0) -> str:
    of = f" of {', '.join(task.of)}" if task.of else ""
    of += " and files of its own" if task.of and task.train else ""
    out = f"; {held_out:,} more also stand in dev and are not trained" if held_out else ""
    return f"{texts:,} distinct texts{of}{out}"
