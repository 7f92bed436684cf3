"""From a table's files to the tasks of a recipe: its texts, its answers, and what is held out.

What is not certain is asked, if there is anybody to ask, and else assumed; both is told.
"""

import math
import re
import unicodedata
from typing import Any

from trivium.recipe.stage import SELECTIONS
from trivium.run.drafting.columns import Column
from trivium.run.drafting.draft import Draft, Wanted
from trivium.run.drafting.files import Group
from trivium.run.drafting.roles import labels_of, texts_of
from trivium.run.drafting.sources import FEW_ROWS, put_files

_PLAIN = {"label", "labels", "class", "category", "target", "y", "score", "gold", "answer", "tags"}


def drafts(group: Group, wanted: Wanted) -> list[Draft]:
    """A task for every column of answers. Raises RecipeError where there is no text, or none."""
    assumed: list[str] = []
    if group.supposed:
        assumed.append(f"{group.train.name} is trained on, since there is no other file beside it")
    texts = texts_of(group, wanted, assumed)
    labels = labels_of(group, wanted, texts, assumed)
    made = []
    for label in labels:
        draft = _task(group, texts, label, wanted, only=len(labels) == 1)
        draft.assumed = [*assumed, *draft.assumed]
        assumed = []
        made.append(draft)
    return made


# --- a task ------------------------------------------------------------------------------------


def _task(
    group: Group, texts: tuple[str, ...], label: Column, wanted: Wanted, *, only: bool
) -> Draft:
    kind = label.kind
    values: dict[str, Any] = {"kind": kind, "text": list(texts) if len(texts) > 1 else texts[0]}
    draft = Draft(_name(group, label, only=only), values)
    draft.is_small = label.many <= FEW_ROWS
    if len(texts) > 1 and kind != "regression":
        # docs/defaults.md: so few rows do not teach such an encoder to read two texts as one.
        apart = wanted.of_sentences and draft.is_small
        values["encode"] = "separate" if apart else "joint"
        draft.notes["encode"] = "or joint: " if apart else ""
        draft.notes["encode"] += "both texts in one sequence"
    values["label"] = label.name
    told = {
        "classification": f"{len(label.counts):,} labels",
        "ordinal": f"{len(label.ordered or label.counts):,} numbers in order",
        "regression": "scores",
    }
    draft.notes["kind"] = told.get(kind, "several labels a cell")
    if kind == "ordinal" and (there := label.ordered):
        values["labels"] = there
        draft.notes["labels"] = "the lowest first"
    if kind == "multilabel" and label.between not in ("[", ","):
        values["separator"] = label.between
    if kind == "regression":
        values["range"] = _range(group, label.name)
        draft.notes["range"] = "of the scores that were found"
    if kind == "multilabel":
        between = "as a list" if label.between == "[" else f"with {label.between!r} between them"
        draft.assumed.append(f"a cell of {label.name!r} holds several labels, {between}")
    if kind in ("ordinal", "regression"):
        draft.assumed.append(f"{label.name!r} holds {told[kind]} (kind: {kind})")
    _reading(group, texts, label, draft)
    put_files(group, texts, label, draft)
    if kind == "classification":
        draft.notes["kind"] = f"{_labels(label, draft):,} labels"
    return draft


def _labels(label: Column, draft: Draft) -> int:
    """How many there are, those that are one counted once."""
    train = draft.values["train"]
    words = train.get("relabel", {}) if isinstance(train, dict) else {}
    return len({words.get(name, name) for name in label.counts})


def _range(group: Group, label: str) -> list[float]:
    found = [
        number
        for file in group.files.values()
        if label in file.columns
        for number in file.columns[label].numbers or ()
    ]
    low, high = math.floor(min(found)), math.ceil(max(found))
    return [low, high if high > low else low + 1]


def _reading(group: Group, texts: tuple[str, ...], label: Column, draft: Draft) -> None:
    """What must be said so that rows which cannot be used do not end the run."""
    files = [file for file in group.files.values() if label.name in file.columns]
    if any(file.columns[label.name].empty for file in files):
        draft.values["missing_labels"] = "allow"
        draft.notes["missing_labels"] = "rows without an answer are left out here"
    without = [f for f in files for t in texts if t in f.columns and f.columns[t].empty]
    if without or any(file.bad for file in files):
        draft.values["bad_rows"] = "skip"
        draft.notes["bad_rows"] = "each is told by its line"
        draft.assumed.append("rows that cannot be used are left out (bad_rows: skip)")
    if any(file.quoting == "none" for file in files):
        draft.values["quoting"] = "none"
        draft.assumed.append("a quotation mark is a character like any other (quoting: none)")


# --- words -------------------------------------------------------------------------------------


def _name(group: Group, label: Column, *, only: bool) -> str:
    """Of a task: its column's, unless that says nothing and there is but one."""
    plain = label.plain in _PLAIN
    own = group.key if only and plain else f"{group.key}_{label.name}" if plain else label.name
    return slug(own)


def slug(text: str) -> str:
    """A name that a task may have."""
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", ascii_).strip("_").lower()[:40] or "task"
    return name if name[0].isalpha() and name not in SELECTIONS else f"task_{name}"
