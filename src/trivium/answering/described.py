"""A predictor as data: what one process tells another, which reads for it and says its answers."""

from pathlib import Path

from trivium.answering.form import Form
from trivium.answering.reading import Reader
from trivium.part import Part
from trivium.text.tokenizer import Tokenizer


class ReaderFacts(Part):
    """How one of its models reads texts."""

    forms: dict[str, Form]
    tokenizer: str
    """Folder of the tokenizer's files."""
    limit: int
    """The encoder's longest sequence, in tokens."""


class Described(Part):
    """What is known of a predictor without what it computes with."""

    forms: dict[str, Form]
    readers: tuple[ReaderFacts, ...]
    precision: str
    backend: str
    sha256: str = ""
    """Of the file that seals the model's folder: tells one training from the next."""

    @property
    def embeds(self) -> bool:
        """Whether it has one encoder, whose vectors can be asked for."""
        return len(self.readers) == 1

    def open(self) -> tuple[Reader, ...]:
        """Its readers. Raises RecipeError where a tokenizer cannot be read."""
        return tuple(
            Reader(facts.forms, Tokenizer(Path(facts.tokenizer)), facts.limit, member)
            for member, facts in enumerate(self.readers)
        )
