"""What is drawn from shared training files, as splits; every row of a file is accounted for."""

from collections.abc import Sequence
from dataclasses import replace

from trivium.parts.tasks import Source
from trivium.run.rows.drawing import Held
from trivium.run.rows.sample import sample
from trivium.run.rows.splits import FileRows, Split
from trivium.types import Example


def dealt(
    split: str,
    parts: Sequence[tuple[Source, Split]],
    side: Sequence[str],
    has_twin: Sequence[bool],
    held: Held,
) -> Split:
    """One split of the rows of several files; side, has_twin: of all their rows, as
    `drawing.sides` tells them. A cap of a file is for its training rows, one of what is drawn for
    all that is drawn."""
    files: list[FileRows] = []
    rows: list[tuple[int, Example]] = []
    first = 0
    for number, (source, part) in enumerate(parts):
        here = side[first : first + len(part.examples)]
        own = [row for row, one in zip(part.examples, here, strict=True) if one == split]
        first += len(part.examples)
        kept = sample(own, source.rows if split == "train" else None)
        files.append(file_of(part.files[0], split, len(own), len(kept)))
        rows += [(number, row) for row in kept]
    if split in held:
        whole, rows = len(rows), sample(rows, held[split].rows)
        if len(rows) < whole:
            files = [
                replace(file, drawn=sum(place == number for place, _ in rows))
                for number, file in enumerate(files)
            ]
    twins = sum(twin for twin, one in zip(has_twin, side, strict=True) if one == split)
    told = told_drawn(split, (side.count(split), len(side), twins), held)
    return Split(split, tuple(files), [row for _, row in rows], drawn=told)


def file_of(file: FileRows, split: str, own: int, kept: int) -> FileRows:
    """What a file holds for one split. own: its rows of that split; kept: those that are used."""
    drawn = kept if kept < own else None
    if split == "train":
        return replace(
            file, labelled=own, drawn=drawn, elsewhere=file.elsewhere + file.labelled - own
        )
    # What cannot be used of a file is told once, with its training rows.
    return FileRows(file.table, own, 0, [], drawn, elsewhere=file.rows - own)


def told_drawn(split: str, counts: tuple[int, int, int], held: Held) -> str:
    """How a split was drawn, for people. counts: its rows, all rows, and its rows with a twin."""
    if split not in held:
        return ""
    own, rows, twins = counts
    drawn = held[split]
    with_ = f" or {drawn.by}" if drawn.by else ""
    even = ", every label in its share" if drawn.stratify else ""
    return (
        f"drawn from the training rows by a hash of their {'text' + with_}{even}: "
        f"{own:,} of {rows:,} rows, {twins:,} of them with a twin (the same text"
        f"{with_}), which stays beside it"
    )
