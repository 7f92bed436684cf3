"""Texts to try, from a run's own dev answers."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from trivium.answering.form import Form
from trivium.answering.rows import answering
from trivium.run.folder.names import predictions_file

PER_TASK = 12

Example = dict[str, str]


def examples_of(run: Path, forms: Mapping[str, Form]) -> list[Example]:
    """Rows by column, a few per task: of every label in turn, the shortest first.

    Of a folder without dev answers none, and none of a file that is not as `trivium train` left
    it: examples are no reason not to serve.

        examples_of(Path("runs/first"), predictor.forms)[0]  # {"message": "Where is it?"}
    """
    found: dict[tuple[tuple[str, str], ...], Example] = {}
    for name, form in answering(forms).items():
        by_label: dict[str, list[Example]] = {}
        for label, row in _rows(run / predictions_file(name, "dev"), form.text):
            by_label.setdefault(label, []).append(row)
        for row in islice(_in_turn(list(by_label.values())), PER_TASK):
            found.setdefault(tuple(row.items()), row)
    return list(found.values())


def _in_turn(groups: Sequence[Sequence[Example]]) -> Iterator[Example]:
    """The shortest of each group, then the second of each, and so on; the same row once."""
    distinct = [{tuple(row.values()): row for row in rows}.values() for rows in groups]
    rounds = zip_longest(*(sorted(rows, key=_length) for rows in distinct))
    seen: set[tuple[str, ...]] = set()
    for row in chain.from_iterable(
        sorted((row for row in turn if row is not None), key=_length) for turn in rounds
    ):
        if tuple(row.values()) not in seen:
            seen.add(tuple(row.values()))
            yield row


def _length(row: Example) -> int:
    return sum(map(len, row.values()))


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[str, Example]]:
    """The true label and the texts of each row. A text whose carriage return broke its row is
    passed over."""
    limit = csv.field_size_limit(sys.maxsize)  # of the whole process, so put back
    try:
        with path.open(encoding="utf-8", newline="") as file:
            records = list(csv.reader(file))
    except (csv.Error, UnicodeDecodeError, OSError):
        return []
    finally:
        csv.field_size_limit(limit)
    head = ["line", *columns, "label", "prediction"]
    if not records or records[0][: len(head)] != head:
        return []
    return [
        (cells[len(columns) + 1], dict(zip(columns, cells[1:], strict=False)))
        for cells in records[1:]
        if len(cells) == len(records[0])
        if cells[0].isdecimal() and all(text.strip() for text in cells[1 : len(columns) + 1])
    ]
