"""SimCSE without labels: a text is to be found again under another dropout mask."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from trivium.parts.facts import StageFacts
from trivium.parts.retrieval import uniformity
from trivium.parts.tasks.contrastive import Contrastive, numbered
from trivium.parts.tasks.practice import TextPractice
from trivium.parts.tasks.rows import Gathered
from trivium.types import Example, Target

EVENEST = 8.0
"""The most that uniformity can be."""


class SimCSE(TextPractice, Contrastive):
    """Unsupervised SimCSE (Gao et al. 2021, section 3, equation 4): every text goes through the
    encoder twice, and its two vectors, which differ by dropout alone, are each other's positive;
    the batch's other texts are negatives. -log softmax_j(cos(h_i, h'_j) / 0.05) of j = i.

    Supervised SimCSE (section 4) is a task of kind `matching` with `positive` and `negative`.

    Judged by `uniformity` (see `parts.retrieval`) of the dev texts' vectors, which says whether
    they are spread, and not whether they are good: that says a task that follows.
    """

    kind: Literal["simcse"] = "simcse"

    judged_by: ClassVar[tuple[str, ...]] = ("uniformity",)
    who_has: ClassVar[str] = "SimCSE has"

    @property
    def row_texts(self) -> int:
        return 2  # the same one twice

    def notes(self, facts: StageFacts) -> Iterator[str]:
        if facts.dropout == 0:
            yield "simcse tells a text from itself by dropout, but this encoder has none"

    def gather(self, rows: Mapping[str, Iterable[Example]]) -> Gathered:
        times = {"train": self.row_texts}
        return {
            split: ([numbered(e.texts * times.get(split, 1), e.line) for e in examples], note)
            for split, (examples, note) in super().gather(rows).items()
        }

    def as_judged(self, row: Example) -> Example | None:
        """The text once."""
        return numbered(row.texts[:1], row.line)

    def summary(self, targets: Sequence[Target]) -> list[str]:
        return ["every text twice" if len(_first(targets)) > 1 else "every text once"]

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        return {"uniformity": uniformity(readout_BK)}

    def leaderboard(self, scores: dict[str, float]) -> float:
        return max(0.0, scores[self.metric]) / EVENEST


def _first(targets: Sequence[Target]) -> tuple[int, ...]:
    first = targets[0]
    return first if isinstance(first, tuple) else ()
