"""What people should look at in their files, whatever the recipe makes of it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trivium.run.drafting.columns import MISSING, Column, comma_of
from trivium.run.drafting.draft import PLAIN_NUMBERS
from trivium.run.drafting.files import MOST_ROWS, Found, Group
from trivium.run.rows.drawing import Candidate, key_of

SHOWN = 3


def oddities(group: Group, values: dict[str, Any]) -> Iterator[str]:
    """Of one task's files. values: the task's, as drafted."""
    texts = values["text"] if isinstance(values["text"], list) else [values["text"]]
    for file in group.files.values():
        yield from _of_reading(file)
        if all(text in file.columns for text in texts):
            yield from _of_cells(file, texts, values["label"])
    yield from _unused_splits(group, {*texts, values["label"]})
    yield from _twins(group, texts, values["label"])
    label = group.train.columns[values["label"]]
    if values["kind"] in ("classification", "ordinal"):
        train = values["train"]
        words = train.get("relabel", {}) if isinstance(train, dict) else {}
        yield from _of_labels(group, label, words)
    none = [cell for cell in label.counts if cell.lower() in MISSING]
    if none and values["kind"] not in ("regression", "ordinal"):  # where they are bad rows
        yield f"{group.train.name}: {_some(none)} counts as a label; empty the cell if it is none"
    if label.written:
        yield (
            f"{group.train.name}: column {label.name!r} has {len(label.counts):,} labels, since "
            f"{label.written!r} is no number; {PLAIN_NUMBERS}"
        )
    else:
        yield from (f"{group.train.name}: {line}" for line in comma_of(label))


def _of_reading(file: Found) -> Iterator[str]:
    if file.encoding:
        odd = [cell for c in file.columns.values() for cell in c.counts if not cell.isascii()]
        like = f"; it reads {odd[0][:40]!r}" if odd else ""
        yield f"{file.name}: is not UTF-8, but {file.encoding} (encoding: {file.encoding}){like}"
    for bad in file.bad[:SHOWN]:
        yield f"{file.name}:{bad.line}: {bad.problem}"
    if len(file.bad) > SHOWN:
        yield f"{file.name}: {len(file.bad) - SHOWN:,} more rows cannot be read"
    if not file.is_whole:
        yield (
            f"{file.name}: texts that are repeated were looked for in its first {MOST_ROWS:,} rows "
            "only"
        )


def _of_cells(file: Found, texts: Sequence[str], label: str) -> Iterator[str]:
    for name in (*texts, label):
        column = file.columns.get(name)
        if column is not None and column.empty:
            what = "cell is empty" if column.empty == 1 else "cells are empty"
            there = (n for n, cell in enumerate(column.cells) if not cell.strip())
            if (place := next(there, None)) is None:
                yield (
                    f"{file.name}: column {name!r}: {column.empty:,} {what}, all after row "
                    f"{MOST_ROWS:,}"
                )
                continue
            yield (
                f"{file.name}:{file.lines[place]}: column {name!r}: {column.empty:,} {what}, this "
                "the first"
            )


def _unused_splits(group: Group, read: set[str]) -> Iterator[str]:
    """Columns that seem to say of which split a row is, but from which none could be made."""
    alone = len(group.files) == 1
    for split, file in group.files.items():
        for column in file.columns.values():
            # One that says of a file what the file's name does needs no words.
            says = column.splits - (set() if alone else {split})
            if says and not column.is_split and column.name not in read:
                words = " or ".join(repr(cell) for cell in column.counts)
                yield (
                    f"{file.name}: column {column.name!r} says {words} of every row, so it holds "
                    f"none out: all rows are taken for {split}"
                )


def _twins(group: Group, texts: Sequence[str], label: str) -> Iterator[str]:
    """Texts that stand in several rows, or in several files."""
    seen = _keys(group.train, texts)
    counts = Counter(seen)
    if twice := len(seen) - len(counts):
        answers: dict[str, set[str]] = {}
        for key, cell in zip(seen, group.train.columns[label].cells, strict=True):
            answers.setdefault(key, set()).update(filter(None, [cell.strip().casefold()]))
        torn = sum(len(found) > 1 for found in answers.values())
        more = f"; {torn:,} of the texts with different answers" if torn else ""
        yield f"{group.train.name}: {twice:,} rows repeat the text of another{more}"
    for split, file in group.files.items():
        if split != "train" and all(text in file.columns for text in texts):
            held = _keys(file, texts)
            if leaks := sum(key in counts for key in held):
                yield (
                    f"{file.name}: {leaks:,} of {len(held):,} rows have a text that also stands in "
                    f"{group.train.name}, so their scores flatter"
                )


def _keys(file: Found, texts: Sequence[str]) -> list[str]:
    rows = zip(*(file.columns[text].cells for text in texts), strict=True)
    return [key_of(Candidate(row)) for row in rows]


def _of_labels(group: Group, label: Column, words: Mapping[str, str]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for name, count in label.counts.items():
        counts[words.get(name, name)] += count
    if once := [name for name, count in counts.items() if count == 1]:
        yield f"{group.train.name}: labels of one row only: {_some(once)}"
    plain = {name.casefold() for name in label.counts}
    for split, file in group.files.items():
        column = file.columns.get(label.name)
        if split == "train" or column is None or label.numbers is not None:
            continue
        strange = [name for name in column.counts if name.casefold() not in plain]
        if strange:
            yield (
                f"{file.name}: {_some(strange)} is no label of {group.train.name}; such rows "
                "cannot be judged"
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name[:60]) for name in names[:SHOWN]) + more
