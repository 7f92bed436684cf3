"""A column of a table, and what it seems to hold: texts, labels, scores, lists, ids."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from trivium.parts.tasks.cells import listed, spellings

LOOKED_AT = 2000
"""Cells by which a column's length is measured."""
MOST_LABELS = 5000
FEW_NUMBERS = 20
"""Whole numbers up to so many are labels, more are scores."""
_TEXT = re.compile(
    r"text|sentence|message|body|content|review|comment|question|query|tweet|premise|hypothesis|"
    r"passage|document|utterance|title|headline|description|article|post|abstract|summary|prompt|"
    r"response|phrase"
)
_ANSWER = re.compile(
    r"label|class|categor|target|^tags?$|topic|intent|sentiment|emotion|rating|stars?$|score|grade|"
    r"simil|toxic|spam|polarity|stance|gold|answer|^y$|relation|entail|duplicate|^same|paraphrase|"
    r"urgency|priority|mood|quality|relevan"
)
_ORDERED = re.compile(r"rating|stars?$|grade|urgency|priority|quality|score")
_OTHER = re.compile(
    r"date|time|user|author|url|link|lang|country|source|file|name$|mail|phone|page|worker|annotat|"
    r"split|fold|version"
)
_ID = re.compile(r"(^|_|-| )(id|idx|index|uuid|guid|nr|no|key)$|^(unnamed: \d+|)$|id$")
_PAIRED = re.compile(r"(.*?)[ _-]?(1|2|a|b|one|two)$")
_COUPLES = {frozenset(couple.split()) for couple in (
    "premise hypothesis", "text hypothesis", "reference hypothesis", "query passage",
    "query document", "query title", "query product", "question passage", "question sentence",
    "question answer", "question context", "context response", "prompt response", "claim evidence",
    "original paraphrase", "reference candidate",
)}  # fmt: skip
_SIDES = {frozenset(sides.split()) for sides in (
    "first second", "left right", "source target", "src tgt", "one two",
)}  # fmt: skip
"""Words by which alone the names of a pair's texts may differ."""
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_SEPARATORS = ("|", ";", ",")
MISSING = {"nan", "none", "null", "nat", "<na>", "n/a", "na", "-"}
"""What people write where there is nothing."""
_WRITTEN_NUMBER = re.compile(
    r"[-+]?[$€£]? ?\d[\d.,']*(e[-+]?\d+)? ?[%$€£]?|[-+]?(inf|infinity)", re.I
)
SPLITS = {
    "train": "train", "training": "train", "trn": "train",
    "dev": "dev", "develop": "dev", "valid": "dev", "validation": "dev", "val": "dev",
    "eval": "dev", "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
"""What people call the splits -> what they are called here."""


@dataclass(frozen=True)
class Column:
    """The cells of one file below one name."""

    name: str
    cells: Sequence[str]
    """Of all rows, or of the first ones of many."""
    more: Mapping[str, int] = field(default_factory=dict)
    """Of the other rows: how often a cell that is not empty stands there; see `Rest`."""
    more_empty: int = 0
    """Of the other rows: how many cells are."""

    @cached_property
    def filled(self) -> list[str]:
        return [text for cell in self.cells if (text := cell.strip())]

    @property
    def empty(self) -> int:
        return len(self.cells) - len(self.filled) + self.more_empty

    @cached_property
    def counts(self) -> Counter[str]:
        found = Counter(self.filled)
        found.update(self.more)
        return found

    @cached_property
    def many(self) -> int:
        """How many cells were counted."""
        return self.counts.total()

    @cached_property
    def words(self) -> float:
        """Of a cell, on average."""
        some = self.filled[:LOOKED_AT]
        return sum(len(cell.split()) for cell in some) / max(1, len(some))

    @cached_property
    def letters(self) -> float:
        some = self.filled[:LOOKED_AT]
        return sum(map(len, some)) / max(1, len(some))

    @cached_property
    def numbers(self) -> list[float] | None:
        """None unless all are numbers, but for those that say that there is nothing."""
        there = [cell for cell in self.counts if cell.lower() not in MISSING]
        found = [number_of(cell) for cell in there]
        if None in found or (self.counts and not found):
            return None
        return [each for each in found if each is not None]

    @property
    def ordered(self) -> list[str]:
        """Its numbers, each as it is written first, the lowest first, where there are cells besides
        that say that there is nothing; else nothing, for then all cells say it themselves."""
        there = [cell for cell in self.counts if cell.lower() not in MISSING]
        if self.numbers is None or len(there) == len(self.counts):
            return []
        once: dict[float, str] = {}
        for spelt in spellings(there).values():
            once.setdefault(float(spelt), spelt)
        return [once[number] for number in sorted(once)]

    @cached_property
    def written(self) -> str | None:
        """The first cell that keeps many numbers from being read as numbers, by a sign or a comma
        in it; None where that is not so."""
        if self.numbers is not None or len(self.counts) <= FEW_NUMBERS:
            return None
        odd = [
            cell for cell in self.counts if number_of(cell) is None and cell.lower() not in MISSING
        ]
        return odd[0] if all(map(_WRITTEN_NUMBER.fullmatch, odd)) else None

    @property
    def variety(self) -> float:
        """Share of the cells that stand there once."""
        return len(self.counts) / max(1, self.many)

    @cached_property
    def between(self) -> str | None:
        """What stands between the labels of a cell, or "[" where cells are lists; None where a
        cell holds one."""
        some = list(self.counts)[:LOOKED_AT]
        if self.numbers is not None or not some:
            return None
        if all(cell.startswith("[") and listed(cell) is not None for cell in some):
            return "["
        for mark in _SEPARATORS:
            pieces = {piece.strip() for cell in some for piece in cell.split(mark)}
            short = all(len(piece.split()) <= 3 for piece in pieces)
            counts = {cell.count(mark) for cell in some}
            if len(counts) > 1 and short and "" not in pieces and _are_shared(some, mark):
                return mark
        return None

    # --- what it seems to be ------------------------------------------------------------------

    @property
    def plain(self) -> str:
        return self.name.strip().lower()

    @property
    def named_text(self) -> bool:
        return bool(_TEXT.search(self.plain))

    @property
    def named_answer(self) -> bool:
        return bool(_ANSWER.search(self.plain)) and not self.is_id

    @property
    def named_other(self) -> bool:
        return bool(_OTHER.search(self.plain))

    @property
    def is_ordered(self) -> bool:
        return bool(_ORDERED.search(self.plain))

    @cached_property
    def is_id(self) -> bool:
        if _ID.search(self.plain):
            return not (self.words > 2)
        single = self.words == 1 and len(self.counts) == self.many > 1 and not _is_named(self.plain)
        rising = self.numbers is not None and self.numbers == sorted(self.numbers)
        return single and (self.numbers is None or (rising and _whole(self.numbers)))

    @cached_property
    def splits(self) -> set[str]:
        """Those that its cells name, if no cell says anything else."""
        splits = {SPLITS.get(cell.lower(), "") for cell in self.counts}
        return set() if "" in splits else splits

    @property
    def is_split(self) -> bool:
        """Whether it says which rows are to train, and which are held out."""
        return len(self.splits) > 1 and "train" in self.splits

    @property
    def is_text(self) -> bool:
        if self.numbers is not None or self.is_id or not self.filled or self.between:
            return False
        if self.words >= 5 or self.letters >= 40:
            return True
        enough = self.variety > 0.5 or (self.named_text and self.variety > 0.1)
        return enough and (self.words >= 1.5 or self.named_text)

    @property
    def is_answer(self) -> bool:
        if self.is_id or self.is_split or len(self.counts) < 2 or self.is_text:
            return False
        if self.numbers is not None or self.between:
            return True
        return len(self.counts) <= MOST_LABELS and (self.variety <= 0.5 or self.named_answer)

    @property
    def kind(self) -> str:
        """Of the task that answers with what it holds."""
        if self.between:
            return "multilabel"
        if self.numbers is None:
            return "classification"
        if not _whole(self.numbers) or len(self.counts) > FEW_NUMBERS:
            return "regression"
        return "ordinal" if self.is_ordered and len(self.counts) > 2 else "classification"


def _are_shared(cells: Sequence[str], mark: str) -> bool:
    """Whether most cells with a mark hold a piece that other cells hold, too."""
    pieces = [{piece.strip() for piece in cell.split(mark)} for cell in cells]
    counts = Counter(piece for own in pieces for piece in own)
    several = [own for own in pieces if len(own) > 1]
    shared = sum(any(counts[piece] > 1 for piece in own) for own in several)
    return 2 * shared > len(several) > 0


def couples(texts: Sequence[Column]) -> Iterator[tuple[Column, Column]]:
    """Columns whose names say that they are two texts of a pair."""
    for place, one in enumerate(texts):
        for two in texts[place + 1 :]:
            a, b = _PAIRED.fullmatch(one.plain), _PAIRED.fullmatch(two.plain)
            alike = a is not None and b is not None and a[1] == b[1]
            if alike or {one.plain, two.plain} in _COUPLES or _are_sides(one.plain, two.plain):
                yield one, two


def _are_sides(one: str, two: str) -> bool:
    """Whether names such as `left_title` and `right_title` differ in the side only."""
    words = [re.split(r"[ _-]", name) for name in (one, two)]
    if len(words[0]) != len(words[1]):
        return False
    differ = [frozenset(each) for each in zip(*words, strict=True) if each[0] != each[1]]
    return len(differ) == 1 and differ[0] in _SIDES


def comma_of(column: Column) -> Iterator[str]:
    """What to do where all cells are numbers, and some have a comma for a point, as in 3,5."""
    with_comma = [cell for cell in column.counts if _COMMA.fullmatch(cell)]
    if with_comma and all(
        number_of(cell) is not None or _COMMA.fullmatch(cell) for cell in column.counts
    ):
        one = with_comma[0]
        yield (
            f"{column.name!r} holds numbers with a comma, such as {one!r}, which are words here: "
            f"for scores write {one.replace(',', '.')}"
        )


def _is_named(plain: str) -> bool:
    return bool(_TEXT.search(plain) or _ANSWER.search(plain))


def number_of(cell: str) -> float | None:
    """The number that a cell is; None of any other."""
    try:
        number = float(cell.replace("_", "?"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(numbers: Sequence[float]) -> bool:
    return all(number == int(number) for number in numbers)
