"""Source: a file of rows, and what its labels mean to the task."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    field_validator,
    model_validator,
)

from trivium.part import Part
from trivium.parts.tasks.cells import Known, as_text, spellings
from trivium.parts.tasks.drawn import Drawn
from trivium.text.encodings import Encoding

PLACE = ("file", "hub", "config", "split", "revision", "encoding")
"""Settings of a Source that say where its rows are, and in what bytes; the others, which are meant,
and what they mean."""


class Source(Part):
    """One file of a task's rows. In a recipe a plain name stands for a file without settings."""

    file: str = Field(min_length=1)
    """Its name; of a data set on the hub, what messages call it."""
    hub: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    """In the place of `file`: user/name, a data set on the Hugging Face hub; a folder of that name
    here is taken before it."""
    config: str | None = Field(default=None, min_length=1)
    """Of a data set that has several."""
    split: str | None = Field(default=None, min_length=1)
    """Of a data set: `train`, say."""
    revision: str | None = Field(default=None, min_length=1)
    """Of a data set: a branch, tag or commit. Rows are fetched once; a commit makes sure which."""
    relabel: dict[str, str] = Field(default_factory=dict)
    """What stands in the file's label column -> what the task is to read instead; a value that is
    not named stays as it is. A number that is not named as it is spelt is the one of that value."""
    rows: int | None = Field(default=None, gt=0)
    """At most so many labelled rows, in the file's order: a sample that is the same in every run,
    whatever its seed, and part of every larger one."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column -> value, or values: only such rows are meant, where one file holds several splits."""
    license: str | None = Field(default=None, min_length=1)
    """For people: under what licence the rows are, such as `CC-BY-4.0`. A model's card tells it."""
    encoding: Encoding | None = None
    """Of a file of text, where it is not UTF-8: `cp1252` is what Windows and old Excel write."""

    @model_validator(mode="before")
    @classmethod
    def _called(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = [name for name in ("config", "split", "revision") if values.get(name)]
        if values.get("hub") is None:
            if given:
                raise ValueError(f"{given[0]}: is of a data set; name it as `hub`, without `file`")
            return values
        name = _hub_words(values)
        if values.get("file", name) != name or values.get("encoding"):
            raise ValueError("hub: stands in the place of `file` and `encoding`; leave them out")
        if not values.get("split"):
            raise ValueError("hub: say which `split` of the data set, such as train")
        return values | {"file": name}

    @field_validator("relabel", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        words = {as_text(key).strip(): as_text(word) for key, word in value.items()}
        named = spellings(words)
        if len(set(named.values())) < len(value):
            raise ValueError("names a label twice")
        return {named[label]: word for label, word in words.items()}

    @field_validator("where", mode="before")
    @classmethod
    def _values(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        each = {key: one if isinstance(one, list | tuple) else [one] for key, one in value.items()}
        return {str(key): tuple(as_text(one).strip() for one in of) for key, of in each.items()}

    @property
    def rows_are(self) -> tuple[object, ...]:
        """What tells its rows from those of other sources, however both are spelt."""
        file = self.file if self.hub is not None else os.path.normpath(self.file)
        return file, *sorted((key, *sorted({*of})) for key, of in self.where.items())

    @property
    def words(self) -> str:
        """For people: the file, and which of its rows."""
        each = (f"{key}: {' or '.join(of)}" for key, of in self.where.items())
        return ", ".join([self.file, *each])

    def plain(self) -> Any:
        """As a recipe would say it: the name alone, if there is nothing else."""
        more = self.model_dump(include={"relabel", "rows", "license", "encoding"})
        each = {key: of[0] if len(of) == 1 else list(of) for key, of in self.where.items()}
        told = {name: value for name, value in (more | {"where": each}).items() if value}
        if self.hub is not None:
            set_ = self.model_dump(include={"hub", "config", "split", "revision"})
            return {name: value for name, value in set_.items() if value} | told
        return {"file": self.file} | told if told else self.file

    def capped(self, rows: int) -> "Source":
        """With at most so many rows."""
        return self.model_copy(update={"rows": min(rows, self.rows or rows)})


class Relabel(Mapping[str, str]):
    """`Source.relabel`, asked by what stands in a file; it remembers what it was asked for."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words, self._known = words, Known(words)
        self.asked: set[str] = set()
        """Which of its own words."""

    def __getitem__(self, label: str) -> str:
        found = self._known.find(label)
        if found is None:
            raise KeyError(label)
        self.asked.add(found)
        return self._words[found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def _hub_words(values: Mapping[str, Any]) -> str:
    """What a split of a data set is called: hub:user/name:config:split@revision."""
    parts = [str(values[name]) for name in ("hub", "config", "split") if values.get(name)]
    revision = values.get("revision")
    return ":".join(["hub", *parts]) + (f"@{revision}" if revision else "")


def _source(value: Any) -> Any:
    """A recipe's word for a file, as values of a Source. Raises ValueError."""
    if not isinstance(value, str | dict | Source):
        raise ValueError(
            "is a file's name, or a table of `file`, `relabel`, `rows`, `where`, `license` and "
            "`encoding`, or with `hub`, `split`, `config`, `revision` in the place of `file`; "
            f"found {value!r}"
        )
    return {"file": value} if isinstance(value, str) else value


def _one(value: Any) -> Any:
    if isinstance(value, list | tuple):
        raise ValueError("is one file; only `train` may be several")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"share": value}
    return value if value is None or isinstance(value, Drawn) else _source(value)


def is_drawn(value: Mapping[str, Any]) -> bool:
    """Whether a recipe's table says what is to be drawn from the training rows, rather than where
    rows are."""
    return bool(value.keys() & {"share", "by", "stratify"})


def _which(value: Any) -> str:
    """Of which class these values are to be."""
    if not isinstance(value, dict):
        return type(value).__name__
    return "Drawn" if is_drawn(value) else "Source"


def _several(value: Any) -> Any:
    """One file or a list of files, as a list of values of Sources. Raises ValueError."""
    if value is None:
        return None
    given = value if isinstance(value, list | tuple) else [value]
    return [_source(item) for item in given]


def _each_once(sources: tuple[Source, ...] | None) -> tuple[Source, ...] | None:
    """Raises ValueError where rows would be trained on twice."""
    known: dict[tuple[object, ...], Source] = {}
    for source in sources or ():
        first = known.setdefault(source.rows_are, source)
        if first is not source:
            other = f", once as {source.file}" if source.file != first.file else ""
            raise ValueError(f"names {first.words} twice{other}")
    return sources


def _plain_one(value: Source | Drawn | None) -> Any:
    return value.plain() if value else None


def _plain_several(value: tuple[Source, ...] | None) -> Any:
    plain = [source.plain() for source in value or ()]
    return plain if len(plain) > 1 else plain[0] if plain else None


_Either = Annotated[
    Annotated[Source, Tag("Source")] | Annotated[Drawn, Tag("Drawn")], Discriminator(_which)
]
OneSource = Annotated[_Either | None, BeforeValidator(_one), PlainSerializer(_plain_one)]
Sources = Annotated[
    Annotated[tuple[Source, ...], Field(min_length=1)] | None,
    BeforeValidator(_several),
    AfterValidator(_each_once),
    PlainSerializer(_plain_several),
]
