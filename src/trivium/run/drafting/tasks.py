"""From a table's files to the tasks of a recipe: its texts, its answers, and what is held out.

What is not certain is asked, if there is anybody to ask, and else assumed; both is told.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trivium.errors import RecipeError, did_you_mean
from trivium.parts.tasks.cells import listed
from trivium.recipe.stage import SELECTIONS
from trivium.run.drafting.columns import Column, couples
from trivium.run.drafting.files import Found, Group

Ask = Callable[[str, Sequence[str], Sequence[str]], list[str]]
"""A question, what may be answered, and the answer where nobody chooses another: chosen columns."""

SHARE = 0.1
FEW_ROWS = 2000
"""Training rows below which every label is given its share of dev."""
FEW_OF_A_LABEL = 50
_PLAIN = {"label", "labels", "class", "category", "target", "y", "score", "gold", "answer", "tags"}
_REPEATED = 1.5


@dataclass
class Wanted:
    """What the user said beforehand of columns, and whom to ask about the others."""

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    ask: Ask | None = None


@dataclass
class Draft:
    """A task, and what is said of it."""

    name: str
    values: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    """Setting -> a few words for the recipe, which hold nothing of the user's."""
    assumed: list[str] = field(default_factory=list)


def drafts(group: Group, wanted: Wanted) -> list[Draft]:
    """A task for every column of answers. Raises RecipeError where there is no text, or none."""
    assumed: list[str] = []
    if group.supposed:
        assumed.append(f"{group.train.name} is trained on, since there is no other file beside it")
    texts = _texts(group, wanted, assumed)
    labels = _labels(group, wanted, texts, assumed)
    made = []
    for label in labels:
        draft = _task(group, texts, label, only=len(labels) == 1)
        draft.assumed = [*assumed, *draft.assumed]
        assumed = []
        made.append(draft)
    return made


# --- columns -----------------------------------------------------------------------------------


def _texts(group: Group, wanted: Wanted, assumed: list[str]) -> tuple[str, ...]:
    columns = group.train.columns
    if wanted.text:
        return tuple(_known(name, group.train) for name in wanted.text)
    texts = [column for column in columns.values() if column.is_text]
    if not texts:
        rest = [c for c in columns.values() if c.numbers is None and not c.named_answer]
        texts = sorted(rest, key=lambda c: (c.named_text, c.letters * c.variety))[-1:]
    if not texts:
        raise RecipeError(
            f"{group.train.path}: no column seems to hold texts, of {_names(columns)}. Name it: "
            "--text COLUMN, or two of a pair: --text COLUMN,COLUMN."
        )
    pair = next(couples(texts), None)
    if pair is not None:
        chosen = [column.name for column in pair]
    else:
        best = max(texts, key=lambda column: (column.named_text, column.letters))
        chosen = [best.name]
    if len(texts) > len(chosen):
        names = [column.name for column in texts]
        if wanted.ask:
            chosen = wanted.ask(
                f"{group.train.name}: which column holds the text (two: a pair)?", names, chosen
            )[:2]
        else:
            unread = [name for name in names if name not in chosen]
            assumed.append(f"the text is {_said(chosen)}; {_said(unread)} is not read")
    return tuple(chosen)


def _labels(
    group: Group, wanted: Wanted, texts: tuple[str, ...], assumed: list[str]
) -> list[Column]:
    columns = {name: c for name, c in group.train.columns.items() if name not in texts}
    if wanted.label:
        found = [_known(name, group.train) for name in wanted.label]
        return [group.train.columns[name] for name in found]
    choices = [column for column in columns.values() if column.is_answer]
    named = [column for column in choices if column.named_answer]
    likely = [column for column in choices if not column.named_other]
    chosen = named or likely or choices
    if not chosen:
        lone = (column for column in columns.values() if len(column.counts) == 1)
        single = [column.name for column in lone if column.named_answer]
        why = f" ({_said(single)} holds one value only)" if single else ""
        raise RecipeError(
            f"{group.train.path}: no column seems to hold answers to texts{why}, of "
            f"{_names(group.train.columns)}. Name it: --label COLUMN."
        )
    names = [column.name for column in chosen]
    if len(choices) > len(chosen) or len(chosen) > 1:
        if wanted.ask:
            question = f"{group.train.name}: which columns hold answers? Each becomes a task"
            names = wanted.ask(question, [column.name for column in choices], names)
        else:
            unused = [column.name for column in choices if column.name not in names]
            more = f"; {_said(unused)} is not used" if unused else ""
            assumed.append(f"what is asked of a text stands in {_said(names)}{more}")
    return [columns[name] for name in names]


def _known(name: str, file: Found) -> str:
    if name not in file.columns:
        raise RecipeError(f"{file.path}: has no column {name!r}{did_you_mean(name, file.columns)}.")
    return name


# --- a task ------------------------------------------------------------------------------------


def _task(group: Group, texts: tuple[str, ...], label: Column, *, only: bool) -> Draft:
    kind = label.kind
    values: dict[str, Any] = {"kind": kind, "text": list(texts) if len(texts) > 1 else texts[0]}
    draft = Draft(_name(group, label, only=only), values)
    if len(texts) > 1 and kind != "regression":
        values["encode"] = "joint"
        draft.notes["encode"] = "both texts in one sequence"
    values["label"] = label.name
    told = {
        "classification": f"{len(label.counts):,} labels",
        "ordinal": f"{len(label.counts):,} numbers in order",
        "regression": "scores",
    }
    draft.notes["kind"] = told.get(kind, "several labels a cell")
    if kind == "multilabel" and label.between not in ("[", ","):
        values["separator"] = label.between
    if kind == "regression":
        values["range"] = _range(group, label.name)
        draft.notes["range"] = "of the scores that were found"
    if kind in ("ordinal", "regression"):
        draft.assumed.append(f"{label.name!r} holds {told[kind]} (kind: {kind})")
    _reading(group, texts, label, draft)
    _files(group, texts, label, draft)
    return draft


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


def _files(group: Group, texts: tuple[str, ...], label: Column, draft: Draft) -> None:
    words = _one_spelling(group, label, draft)
    draft.values["train"] = _source(group.train, label, words)
    for split, file in (("dev", group.dev), ("test", group.test)):
        lacks = [c for c in (*texts, label.name) if file and c not in file.columns]
        if file is not None and not [c for c in lacks if split == "dev" or c != label.name]:
            draft.values[split] = _source(file, label, words)
        elif file is not None:
            draft.assumed.append(f"{file.name} is not used: it has no column {_said(lacks)}")
    if "dev" not in draft.values:
        draft.values["dev"] = _held_out(group.train, texts, label, draft)


def _held_out(
    train: Found, texts: tuple[str, ...], label: Column, draft: Draft
) -> float | dict[str, Any]:
    """What is drawn from the training file, in the place of a dev file."""
    draft.notes["dev"] = "a share of the training rows, the same ones in every run"
    drawn: dict[str, Any] = {"share": SHARE}
    first = train.columns[texts[0]]
    if len(texts) > 1 and len(first.filled) > _REPEATED * len(first.counts):
        drawn["by"] = first.name
    rare = min(label.counts.values()) < FEW_OF_A_LABEL or len(label.filled) < FEW_ROWS
    if draft.values["kind"] != "regression" and rare:
        drawn["stratify"] = True
    by = f"; rows with the same {drawn['by']!r} stay together" if "by" in drawn else ""
    even = " (of every label)" if "stratify" in drawn else ""
    draft.assumed.append(
        f"there is no dev file: {SHARE:.0%} of the training rows{even} are held out by a hash of "
        f"their text{by}"
    )
    return drawn if len(drawn) > 1 else SHARE


def _source(file: Found, label: Column, words: Mapping[str, str]) -> str | dict[str, Any]:
    values: dict[str, Any] = {"file": file.file}
    there = _spelt(file.columns[label.name], label) if label.name in file.columns else {}
    if relabel := {word: own for word, own in words.items() if word in there}:
        values["relabel"] = relabel
    if file.encoding:
        values["encoding"] = file.encoding
    return values if len(values) > 1 else file.file


def _one_spelling(group: Group, label: Column, draft: Draft) -> dict[str, str]:
    """Labels that differ in case, spaces or the coding of letters -> the most frequent of them."""
    if label.numbers is not None:
        return {}
    alike: dict[str, Counter[str]] = {}
    for file in group.files.values():
        if label.name in file.columns:
            for spelt, count in _spelt(file.columns[label.name], label).items():
                plain = " ".join(unicodedata.normalize("NFKC", spelt).casefold().split())
                alike.setdefault(plain, Counter())[spelt] += count
    words: dict[str, str] = {}
    for same in alike.values():
        own = max(same, key=lambda spelt: (same[spelt], spelt))
        words |= {spelt: own for spelt in same if spelt != own}
    if words:
        each = ", ".join(f"{word!r} as {own!r}" for word, own in list(words.items())[:3])
        more = f" and {len(words) - 3:,} more" if len(words) > 3 else ""
        draft.assumed.append(f"labels of column {label.name!r} are one: {each}{more} (relabel)")
    return words


def _spelt(column: Column, label: Column) -> Counter[str]:
    """The labels in a column's cells, without the space around them."""
    if not label.between:
        return column.counts
    found: Counter[str] = Counter()
    for cell, count in column.counts.items():
        in_list = listed(cell)
        pieces = cell.split(label.between) if in_list is None else in_list
        for piece in filter(None, map(str.strip, pieces)):
            found[piece] += count
    return found


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


def _said(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))


def _names(columns: Mapping[str, Column]) -> str:
    return ", ".join(map(repr, columns))
