"""The files of a drafted task: how each is read, and what is held out if there is no dev file."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

from trivium.parts.tasks.cells import listed
from trivium.run.drafting.columns import SPLITS, Column
from trivium.run.drafting.draft import Draft, said
from trivium.run.drafting.files import Found, Group

NO_DEV = "there is no dev file"
SHARE = 0.1
FEW_ROWS = 2000
"""Training rows below which every label is given its share of dev, and epochs are twice as many."""
FEW_OF_A_LABEL = 50
_REPEATED = 1.5
"""Rows of a pair's first text, on average, from which its rows are kept together."""


def put_files(group: Group, texts: tuple[str, ...], label: Column, draft: Draft) -> None:
    words = _one_spelling(group, label, draft)
    draft.values["train"] = _source(group.train, label, words)
    if not (group.dev or group.test):
        _parts(group.train, label, words, draft)
    for split, file in (("dev", group.dev), ("test", group.test)):
        lacks = [c for c in (*texts, label.name) if file and c not in file.columns]
        if file is not None and not [c for c in lacks if split == "dev" or c != label.name]:
            draft.values[split] = _source(file, label, words)
        elif file is not None:
            draft.assumed.append(f"{file.name} is not used: it has no column {said(lacks)}")
    if "dev" not in draft.values:
        draft.values["dev"] = _held_out(group.train, texts, label, draft)
    if "test" in draft.values:  # the last, as people expect it
        draft.values["test"] = draft.values.pop("test")


def _parts(train: Found, label: Column, words: Mapping[str, str], draft: Draft) -> None:
    """Splits that one file holds, if a column says of which each row is."""
    column = next((column for column in train.columns.values() if column.is_split), None)
    if column is None:
        return
    rows: dict[str, Counter[str]] = {split: Counter() for split in ("train", "dev", "test")}
    for cell, where in train.pairs(label.name, column.name):
        if cell.strip() and (split := SPLITS.get(where.strip().lower())):
            rows[split][cell.strip()] += 1
    for split in rows:
        named = [cell for cell in column.counts if SPLITS[cell.lower()] == split]
        if not named:
            continue
        there = _spelt(Column(label.name, (), rows[split]), label)
        source = _source(train, label, {w: own for w, own in words.items() if w in there})
        plain = source if isinstance(source, dict) else {"file": source}
        draft.values[split] = plain | {"where": {column.name: named if named[1:] else named[0]}}
    draft.assumed.append(f"column {column.name!r} says of which split a row is (where)")


def _held_out(
    train: Found, texts: tuple[str, ...], label: Column, draft: Draft
) -> float | dict[str, Any]:
    """What is drawn from the training file, in the place of a dev file."""
    draft.notes["dev"] = "drawn from train, the same rows in every run"
    drawn: dict[str, Any] = {"share": SHARE}
    first = train.columns[texts[0]]
    if len(texts) > 1 and len(first.filled) > _REPEATED * len({*first.filled}):
        drawn["by"] = first.name
    rare = min(label.counts.values()) < FEW_OF_A_LABEL or label.many < FEW_ROWS
    if draft.values["kind"] != "regression" and rare:
        drawn["stratify"] = True
    by = f"; rows with the same {drawn['by']!r} stay together" if "by" in drawn else ""
    even = " (of every label)" if "stratify" in drawn else ""
    draft.assumed.append(
        f"{NO_DEV}: {SHARE:.0%} of the training rows{even} are held out by a hash of their text{by}"
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
