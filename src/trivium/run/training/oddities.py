"""What in labels and texts may not be what was meant: for the notes of a preview."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.run.rows.encoded import Encoded
from trivium.run.rows.splits import Split
from trivium.text.cutting import Ids

MANY_UNKNOWN = 0.1
"""Share of [UNK] among a split's word pieces from which it is told."""
LOOKED_AT = 1000
"""Texts of a split that are cut into word pieces only to be looked at."""
SHOWN = 3
MISSING_WORDS = {"nan", "none", "null", "nat", "<na>", "n/a"}
SEPARATORS = ";|,"


# --- labels ------------------------------------------------------------------------------------


def label_notes(task: Task, splits: Mapping[str, Split]) -> Iterator[str]:
    """Labels that may be two for one, or one for several."""
    for split in splits.values():
        respelt = {cell: own for file in split.files for cell, own in file.respelt.items()}
        if respelt:
            each = [f"{cell!r} as {own!r}" for cell, own in respelt.items()]
            yield f"{split.name}: labels are read as the same number: {_some(each)}"
    if not isinstance(task, Labelled):
        return
    labels = list(task.labels or {})
    yield from _twins(labels)
    if lists := [label for label in labels if label[0] in "[({" and label[-1] in "])}"]:
        yield (
            f"labels look like lists: {_some(map(repr, lists))}. Lists in JSON or Python are read "
            "where the task is `kind: multilabel`"
        )
    elif pieces := [label for label in labels if label[0] in "[(" or label[-1] in "])"]:
        yield f"labels look like pieces of a list: {_some(map(repr, pieces))}"
    if isinstance(task, Multilabel):
        yield from _joined(task, labels)
    if words := [label for label in labels if label.lower() in MISSING_WORDS]:
        yield (
            f"labels look like missing ones: {_some(map(repr, words))}. Leave such cells empty "
            "where nobody labelled the row"
        )


def _twins(labels: Sequence[str]) -> Iterator[str]:
    """Labels that people would take for one."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        plain = unicodedata.normalize("NFKC", label).casefold()
        alike.setdefault(" ".join(plain.split()), []).append(label)
    if each := [" and ".join(map(_told, same)) for same in alike.values() if len(same) > 1]:
        yield (
            f"labels differ in case, spaces or the coding of letters only: {_some(each)}. "
            "`relabel` makes them one"
        )


def _told(label: str) -> str:
    """Spelt out where it is coded in a way that cannot be seen."""
    return repr(label) if unicodedata.is_normalized("NFC", label) else ascii(label)


def _joined(task: Multilabel, labels: Sequence[str]) -> Iterator[str]:
    for separator in SEPARATORS:
        held = [label for label in labels if separator in label]
        if separator != task.separator and 2 * len(held) > len(labels):
            yield (
                f"labels hold {separator!r}: {_some(map(repr, held))}. If it stands between labels "
                f"say `separator: {separator!r}`"
            )


# --- texts -------------------------------------------------------------------------------------


def text_notes(encoded: Encoded, splits: Mapping[str, Split]) -> Iterator[str]:
    """Texts that the encoder's vocabulary says little of."""
    tokenizer = encoded.packer.tokenizer
    for name, split in splits.items():
        if name == "train":
            pieces = encoded.table.several(_looked_at(encoded))
        else:
            texts = [text for example in split.examples[:LOOKED_AT] for text in example.texts]
            pieces = [np.asarray(ids) for ids in tokenizer(texts)]
        if empty := sum(not len(ids) for ids in pieces):
            sampled = name == "train" and encoded.looked_at is not None
            of = f" of {len(pieces):,} looked at" if sampled else ""
            yield f"{name}: texts without any word piece, which are read all alike: {empty:,}{of}"
        if (share := _share(pieces, tokenizer.unk)) > MANY_UNKNOWN:
            yield (
                f"{name}: {share:.0%} of the word pieces are [UNK]: the encoder's vocabulary does "
                "not know these texts. Take an encoder that was trained on their language"
            )


def _looked_at(encoded: Encoded) -> list[int]:
    """Training texts, each once: all, or those of a sample of the rows."""
    chosen = encoded.looked_at
    columns = encoded.texts
    if chosen is not None:
        columns = [[column[row] for row in chosen] for column in columns]
    return list(dict.fromkeys(place for column in columns for place in column))


def _share(pieces: Sequence[Ids], piece: int) -> float:
    found = sum(int(np.count_nonzero(ids == piece)) for ids in pieces)
    return found / max(1, sum(len(ids) for ids in pieces))


def _some(shown: Iterable[str]) -> str:
    each = list(shown)
    more = f" and {len(each) - SHOWN:,} more" if len(each) > SHOWN else ""
    return ", ".join(each[:SHOWN]) + more
