"""From rows to what an encoder reads: every distinct text once, for all tasks that read it alike.

Shape letters: see `trivium.types`; arrays are NumPy's. U distinct sequences.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trivium.answering.form import Form
from trivium.errors import RecipeError, did_you_mean
from trivium.text.cutting import Cut, Ids, cut
from trivium.text.frames import TableLike, columns_of, is_frame, values_of
from trivium.text.tokenizer import Tokenizer

Texts = str | tuple[str, ...]
"""One row's text, or its pair of texts."""

Rows = Iterable[Any]
"""`Texts` of many rows: a list, an array or a Series of them, or a DataFrame with the columns that
a task reads. What is none is refused when it is read."""

PLAIN = ""
"""Stands for a task where the encoder's vector of a text is wanted: the mean over its tokens."""

Places = NDArray[np.int32]


class Way(NamedTuple):
    """How a sequence is read. What two tasks read in the same way goes through the encoder once."""

    member: int
    """Place of the model in its ensemble; 0 of a model that answers alone."""
    max_length: int
    keeps: Cut
    own: str
    """The task for whose eyes alone it is read; "" where it is the shared encoder's."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One sequence as the encoder reads it: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]`, cut."""

    ids: Ids
    first: int
    """Tokens of the first segment."""
    uncut: int
    """Tokens that it would have had; of a text that is not read to its end, at least so many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One row's question: what is to be read for it."""

    way: Way
    task: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """U distinct sequences that are read in one way, and which of them each row is about."""

    way: Way
    ids_N: Ids
    """The tokens of all sequences, one after another."""
    length_U: Places
    first_U: Places
    """Tokens of each sequence's first segment."""
    places: Mapping[str, NDArray[np.int32]]
    """By task the sequences of each row: place_BS."""

    def starts(self) -> NDArray[np.int64]:
        """Where each sequence begins among the tokens."""
        length_U = self.length_U.astype(np.int64)
        return length_U.cumsum() - length_U


class Reader:
    """Texts to what a model reads.

    forms: its tasks; limit: the encoder's longest sequence, in tokens; member: the model's place in
    its ensemble. Beside its tasks it reads texts for PLAIN.
    """

    def __init__(
        self, forms: Mapping[str, Form], tokenizer: Tokenizer, limit: int, member: int = 0
    ) -> None:
        plain = Form(name=PLAIN, kind="embedding", text=("text",), apart=False, max_length=limit)
        self.forms, self.tokenizer = {**forms, PLAIN: plain}, tokenizer
        self.limit, self.member = limit, member
        self.ways = {
            name: Way(member, form.max_length, form.cut, name if form.own else "")
            for name, form in self.forms.items()
        }

    def read(self, asks: Mapping[str, Rows]) -> list[Reading]:
        """The passes through the encoder, for all rows of all tasks.

        Raises RecipeError for an unknown task or a row with the wrong number of texts.
        """
        return gather(self.asked(asks))

    def asked(self, asks: Mapping[str, Rows]) -> list[Asked]:
        """Every row of every task, in order; rows about the same text share its `Line`."""
        rows = {name: self._sequences(name, asks[name]) for name in asks}
        pieces = self._pieces(rows)
        known: dict[tuple[Way, tuple[str, ...]], Line] = {}

        def line(way: Way, texts: tuple[str, ...]) -> Line:
            if (way, texts) not in known:
                known[way, texts] = self._line(way, [pieces[text] for text in texts])
            return known[way, texts]

        return [
            Asked(self.ways[name], name, tuple(line(self.ways[name], texts) for texts in row))
            for name, of_task in rows.items()
            for row in of_task
        ]

    def _sequences(self, name: str, rows: Rows) -> list[list[tuple[str, ...]]]:
        """Of each row the texts of its sequences."""
        if name not in self.forms:
            raise RecipeError(f"no task {name!r} in this model{did_you_mean(name, self.forms)}.")
        form = self.forms[name]
        found: list[list[tuple[str, ...]]] = []
        for number, row in enumerate(_several(form, rows)):
            texts = tuple(row) if isinstance(row, (tuple, list)) else (row,)
            if len(texts) != len(form.text) or not all(isinstance(text, str) for text in texts):
                wanted = "a pair of texts" if form.is_pair else "a text"
                told = repr(row) if len(repr(row)) < _SHOWN else f"{repr(row)[:_SHOWN]}…"
                raise RecipeError(f"{_of(form)}row {number} must be {wanted}, found {told}.")
            _refuse_halves(texts, f"{_of(form)}row {number}")
            found.append([texts[place : place + 1] for place in (0, 1)] if form.apart else [texts])
        return found

    def _pieces(self, rows: Mapping[str, Sequence[Sequence[tuple[str, ...]]]]) -> dict[str, Ids]:
        """The word pieces of every text: all of them, or of a long one as many as are read."""
        most: dict[str, int] = {}
        for name, of_task in rows.items():
            way = self.ways[name]
            for texts in (texts for row in of_task for texts in row):
                # Of two texts that share a sequence, how much is kept depends on both.
                some = way.keeps == "head" and len(texts) == 1
                for text in texts:
                    most[text] = max(most.get(text, 0), way.max_length if some else len(text) + 1)
        begins = {text: _beginning(text, count) for text, count in most.items()}
        pieces = self._tokenised(begins.values())
        # Long words, or long stretches of blanks: the beginning was too short after all.
        more = {t for t, begin in begins.items() if begin != t and len(pieces[begin]) < most[t]}
        pieces |= self._tokenised(more)
        return {text: pieces[text if text in more else begins[text]] for text in most}

    def _tokenised(self, texts: Iterable[str]) -> dict[str, Ids]:
        distinct = list(dict.fromkeys(texts))
        ids = self.tokenizer(distinct)
        return {t: np.asarray(i, dtype=np.int32) for t, i in zip(distinct, ids, strict=True)}

    def _line(self, way: Way, pieces: Sequence[Ids]) -> Line:
        kept = cut(pieces, way.max_length, way.keeps)
        uncut = 1 + sum(len(ids) + 1 for ids in pieces)
        ids = np.empty(1 + sum(len(part) + 1 for part in kept), dtype=np.int32)
        ids[0], end, first = self.tokenizer.cls, 1, 0
        for part in kept:
            ids[end : end + len(part)] = part
            end += len(part) + 1
            ids[end - 1] = self.tokenizer.sep
            first = first or end
        return Line(ids, first, uncut)


_SHOWN = 200


def _of(form: Form) -> str:
    """Begins what is said of rows; vectors of texts are of no task."""
    return "" if form.name == PLAIN else f"task {form.name!r}: "


def _several(form: Form, rows: object) -> Iterable[Texts]:
    """Rows as they are meant: a single text is one row, and so is a single pair as a tuple."""
    if isinstance(rows, str):
        return [rows]
    if form.is_pair and isinstance(rows, tuple) and len(rows) == 2:
        first, second = rows
        if isinstance(first, str) and isinstance(second, str):
            return [(first, second)]
    if isinstance(rows, (list, tuple)):
        return rows
    if is_frame(rows):
        return _of_frame(form, rows)
    # A set has no order, so nobody could tell which answer is whose.
    if isinstance(rows, (bytes, bytearray, Mapping, Set)) or not isinstance(rows, Iterable):
        kind = type(rows).__name__
        wanted = "pairs of texts" if form.is_pair else "texts"
        raise RecipeError(f"{_of(form)}rows must be a list of {wanted}, found {kind}.")
    return values_of(rows)


def _of_frame(form: Form, table: TableLike) -> list[tuple[Any, ...]]:
    where = f"{_of(form)}the table"
    columns = columns_of(table, where)
    for column in form.text:
        if column not in columns:
            raise RecipeError(f"{where}: no column {column!r}{did_you_mean(column, columns)}.")
    return list(zip(*(columns[column] for column in form.text), strict=True))


def _refuse_halves(texts: tuple[str, ...], where: str) -> None:
    """Half a surrogate pair is no character, and cannot be written as UTF-8."""
    for text in texts:
        try:
            text.isascii() or text.encode()
        except UnicodeEncodeError as error:
            raise RecipeError(
                f"{where}: character {error.start + 1} of the text is half a surrogate pair "
                "(\\ud800 to \\udfff). Remove it."
            ) from None


CHARACTERS_PER_PIECE = 12
"""Of a text's beginning, for each piece that is wanted: three times what words have."""


def _beginning(text: str, pieces: int) -> str:
    """Enough of a long text for so many pieces, as a rule; it ends where a word does."""
    end = pieces * CHARACTERS_PER_PIECE
    if len(text) <= end:
        return text
    blank = text.rfind(" ", 0, end)
    return text[:blank] if blank > 0 else text


def gather(asked: Iterable[Asked]) -> list[Reading]:
    """The questions of many rows as few passes; a line that is shared is read once."""
    lines: dict[Way, dict[Line, int]] = {}
    places: dict[Way, dict[str, list[list[int]]]] = {}
    for one in asked:
        index = lines.setdefault(one.way, {})
        row = [index.setdefault(line, len(index)) for line in one.lines]
        places.setdefault(one.way, {}).setdefault(one.task, []).append(row)
    return [
        Reading(
            way,
            np.concatenate([line.ids for line in index]),
            np.fromiter((len(line.ids) for line in index), np.int32, len(index)),
            np.fromiter((line.first for line in index), np.int32, len(index)),
            {task: np.asarray(rows, dtype=np.int32) for task, rows in places[way].items()},
        )
        for way, index in lines.items()
    ]
