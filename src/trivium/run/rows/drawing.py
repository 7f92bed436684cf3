"""Which training rows are held out, where a recipe draws dev or test from its training files.

Rows with the same text, but for case and space, are one *group*, and so are those with the same
value in the column `by`. A group has a place between 0 and 1, a hash of what it holds. Dev takes
the groups from 0 on, test those from 1 down: so neither moves when the other is left out, and what
stands in a file besides, or in which order, changes nothing.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trivium.errors import RecipeError
from trivium.parts.tasks.drawn import Drawn
from trivium.types import Target

Held = Mapping[str, Drawn]
"""What is drawn as "dev", as "test", or both."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What of a labelled row decides on which side it is."""

    texts: tuple[str, ...]
    by: str | None = None
    target: Target | None = None


@dataclass(slots=True)
class _Group:
    place: float
    rows: list[int] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)


def sides(rows: Sequence[Candidate], held: Held) -> tuple[list[str], list[bool]]:
    """For every row "train", "dev" or "test"; and whether it shares its group with other rows."""
    groups = _groups(rows)
    side, has_twin = ["train"] * len(rows), [False] * len(rows)
    for group in groups:
        for row in group.rows:
            has_twin[row] = len(group.rows) > 1
    left = groups
    for split in ("test", "dev"):  # test first: what it takes is never dev's
        if split not in held:
            continue
        order = [group if split == "dev" else _mirrored(group) for group in left]
        taken = _taken(order, groups, held[split])
        for group in taken:
            for row in group.rows:
                side[row] = split
        gone = {id(group.rows) for group in taken}
        left = [group for group in left if id(group.rows) not in gone]
    return side, has_twin


def refuse_empty(counts: Mapping[str, int], held: Held, where: str) -> None:
    """RecipeError where a side got no row. counts: of each its rows; where: the task and its
    files."""
    whole = sum(counts.values())
    for split in ("train", *held):
        if counts.get(split):
            continue
        shares = ", ".join(f"{name}: {drawn.share:g}" for name, drawn in held.items())
        by = next((drawn.by for drawn in held.values()), None)
        rows = f"{whole:,} labelled row" + "s" * (whole != 1)
        together = f" Rows with the same text or the same {by!r} stay together." if by else ""
        raise RecipeError(
            f"{where}: of {rows}, none is left for {split} ({shares}; rows with the same text stay "
            f"together).{together} Take other shares, or name a file of {split} rows."
        )


def _mirrored(group: _Group) -> _Group:
    return _Group(1 - group.place, group.rows, group.labels)


_ALL = 0.5


def _taken(order: Iterable[_Group], everything: Sequence[_Group], drawn: Drawn) -> list[_Group]:
    """The groups that a split takes; order: those that it may, by the place from which it counts.

    To stratify, groups are taken by their place while that brings the counts of the split's labels
    nearer to their share (in the sum of absolute differences). All rows together count as half a
    label: else many labels of few rows, each of which rounds to none, would give nothing.
    """
    if not drawn.stratify:
        return [group for group in order if group.place < drawn.share]
    total: Counter[int] = Counter()
    for group in everything:
        total.update(group.labels)
    missing = {label: drawn.share * count for label, count in total.items()}
    rows = drawn.share * sum(len(group.rows) for group in everything)
    taken = []
    for group in sorted(order, key=lambda group: group.place):
        gain = sum(abs(missing[k]) - abs(missing[k] - n) for k, n in group.labels.items())
        gain += _ALL * (abs(rows) - abs(rows - len(group.rows)))
        if gain > 0:
            taken.append(group)
            rows -= len(group.rows)
            for label, count in group.labels.items():
                missing[label] -= count
    return taken


# --- groups ------------------------------------------------------------------------------------


def _groups(rows: Sequence[Candidate]) -> list[_Group]:
    """Rows that are connected by a text or a value of `by`, in whatever order they came."""
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = parents[parents[key]]  # halves the way for the next who asks
            key = parents[key]
        return key

    keys = [key_of(row) for row in rows]
    for row, key in zip(rows, keys, strict=True):
        if row.by is not None and row.by.strip():
            a, b = root(key), root("by " + _plain(row.by))
            parents[max(a, b)] = min(a, b)  # so that the least key names the group
    found: dict[str, _Group] = {}
    for number, (row, key) in enumerate(zip(rows, keys, strict=True)):
        name = root(key)
        if name not in found:
            found[name] = _Group(place_of(name) / PLACES)
        found[name].rows.append(number)
        found[name].labels.update(_labels(row.target))
    return list(found.values())


def key_of(row: Candidate) -> str:
    """The same for rows that a person would call the same; a pair may be turned round."""
    return "text " + "\0".join(sorted(map(_plain, row.texts)))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


PLACES = 2**56


def place_of(name: str) -> int:
    """The place of the group of this name, in units of 1 / PLACES: below PLACES."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big")


def _labels(target: Target | None) -> Iterable[int]:
    if isinstance(target, tuple):
        return target or (-1,)  # that none applies is as good as a label
    return () if target is None else (int(target),)
