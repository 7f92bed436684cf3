"""Matching: pairs of texts that belong together, to be found among others."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator
from torch import Tensor

from trivium.answering.form import refuse_missing
from trivium.errors import RecipeError
from trivium.parts import metrics
from trivium.parts.retrieval import retrieval
from trivium.parts.tasks.cells import as_text
from trivium.parts.tasks.contrastive import Contrastive, numbered
from trivium.parts.tasks.rows import Gathered, RowError, RowsPart
from trivium.text.encodings import Encoding
from trivium.text.tables import Table
from trivium.types import Answer, Example, Row, Target

_OTHER, _POSITIVE, _NEGATIVE = (0,), (1,), (2,)
"""What a row is while it is read: none of both, texts that belong together, or that do not."""
_FOUND, _SCORED = ("accuracy_at_1", "mrr"), ("spearman", "pearson")
"""What it is judged by: of pairs that are to be found, and of pairs with a score."""


class Matching(Contrastive):
    """Pairs that belong together (questions and answers, paraphrases, a text and its title), each
    to be told from the other pairs of its batch: `loss: mnrl`. It makes vectors of texts, and has
    no answers to give.

    With `label` and `positive` only rows of those labels are pairs. With `negative` too, a row is
    three texts: a pair, and a text that the first one is paired with under a negative label, which
    is one more wrong choice for all rows of the batch. With `entailment` and `contradiction` of NLI
    this is supervised SimCSE (Gao et al. 2021, section 4.2, equation 5). First texts without
    either are left out.

    Judged by `accuracy_at_1`, with `mrr`, among all dev pairs (see `parts.retrieval`); where dev
    rows have a `score`, by `spearman` of the pairs' cosines with it, with `pearson`.
    """

    kind: Literal["matching"] = "matching"
    label: str = ""
    """Column that tells which rows are pairs; by default all are."""
    positive: tuple[str, ...] = ()
    """What stands in it for texts that belong together."""
    negative: tuple[str, ...] = ()
    """What stands in it for texts that seem to, and do not."""
    score: str = ""
    """Column, of the dev file alone, that tells how near the texts of a pair are."""
    auxiliary: bool = True

    judged_by: ClassVar[tuple[str, ...]] = (*_FOUND, *_SCORED)
    answers_questions: ClassVar[bool] = False
    rows_are: ClassVar[str] = "pairs"
    gathers: ClassVar[bool] = True

    @field_validator("positive", "negative", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(as_text(label).strip() for label in values)

    @model_validator(mode="before")
    @classmethod
    def _by_what_dev_has(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("metric"):
            return values
        return values | {"metric": _SCORED[0] if values.get("score") else _FOUND[0]}

    @model_validator(mode="after")
    def _is_judged_by_what_dev_has(self) -> "Matching":
        known = _SCORED if self.score else _FOUND
        if self.metric not in known:
            where = "with `score`" if self.score else "without `score`"
            raise ValueError(f"metric: {where} matching is judged by {' or '.join(known)}")
        return self

    @model_validator(mode="after")
    def _says_which_are_pairs(self) -> "Matching":
        if not self.is_pair:
            raise ValueError("text: matching is about pairs; name two columns")
        unused = {"test": None, "encode": "separate", "missing_labels": "refuse"}
        for name, value in unused.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}: matching has no use for it; leave it out")
        if bool(self.label) != bool(self.positive):
            raise ValueError(
                "label: needs `positive`, what stands there for texts that belong together, and "
                "`positive` needs `label`; give both, or none where all rows are pairs"
            )
        if self.negative and not self.positive:
            raise ValueError("negative: needs `label` and `positive` beside it")
        if both := sorted({*self.positive} & {*self.negative}):
            raise ValueError(f"negative: {both[0]!r} is also positive")
        relabels = any(source.relabel for s in ("train", "dev") for source in self.sources(s))
        if relabels and not self.label:
            raise ValueError("relabel: there is no `label` here; leave it out")
        return self

    # --- its rows -----------------------------------------------------------------------------

    @property
    def row_texts(self) -> int:
        return 3 if self.negative else 2

    def text_problems(self, tasks: Mapping[str, RowsPart]) -> Iterator[str]:
        if not self.train:
            yield f"tasks.{self.name}: has no pairs; name its file of pairs as `train`"

    def open_table(
        self, path: str | Path, needed: Sequence[str], encoding: Encoding | None = None
    ) -> Table:
        table = super().open_table(path, self.text_columns, encoding)
        if self.label and self.score not in table.columns:
            refuse_missing(table, (self.label,), f"task {self.name!r}")
        return table

    def example(self, row: Row) -> Example:
        return Example(self.texts_of(row), self._said_of(row), row.line)

    def _said_of(self, row: Row) -> Target:
        if self.score and self.score in row.cells:
            return self.target(row.cells[self.score])
        if not self.label:
            return _POSITIVE
        cell = row.cells[self.label].strip()
        if not cell:
            raise RowError(f"column {self.label!r} is empty. Fill it in, or set `bad_rows: skip`")
        return (
            _POSITIVE if cell in self.positive else _NEGATIVE if cell in self.negative else _OTHER
        )

    def target(self, cell: str) -> float:
        try:
            score = float(cell.replace("_", "?"))  # Python would read 1_0 as 10
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise RowError(
                f"column {self.score!r} holds {cell!r}, which is not a number. "
                "Fix the row, or set `bad_rows: skip`"
            )
        return score

    def gather(self, rows: Mapping[str, Iterable[Example]]) -> Gathered:
        """Every pair once; to train with a negative, where there are any."""
        return {
            split: self._trained(list(found)) if split == "train" else self._judged(list(found))
            for split, found in rows.items()
        }

    def _trained(self, rows: Sequence[Example]) -> tuple[list[Example], str]:
        if any(isinstance(row.target, float) for row in rows):
            raise RecipeError(
                f"task {self.name!r}: train: has the column {self.score!r}: scores are for the dev "
                "file alone. Leave the column out, or `score`."
            )
        pairs = self._pairs(rows, "train")
        if not self.negative:
            return pairs, self._note(pairs, rows)
        wrong: dict[str, dict[str, str]] = {}
        for row in rows:
            if row.target == _NEGATIVE:
                first, second = row.texts
                wrong.setdefault(first.strip(), {})[second.strip()] = second
        used, found = dict.fromkeys(wrong, 0), []
        for pair in pairs:
            first = pair.texts[0].strip()
            if first in wrong:  # where there are several, each in its turn
                choices = list(wrong[first].values())
                choice = choices[used[first] % len(choices)]
                used[first] += 1
                found.append(numbered((*pair.texts, choice), pair.line))
        if not found:
            raise RecipeError(
                f"task {self.name!r}: train: no first text stands both in a row that is "
                f"{_or(self.positive)} and in one that is {_or(self.negative)}. Leave `negative` "
                "out, or name other labels."
            )
        alone = len(pairs) - len(found)
        out = f"; {alone:,} more have no negative and are left out" if alone else ""
        return found, f"{len(found):,} distinct pairs, each with a negative{out}"

    def _judged(self, rows: Sequence[Example]) -> tuple[list[Example], str]:
        scored = [row for row in rows if isinstance(row.target, float)]
        if self.score and len(scored) < len(rows):
            raise RecipeError(
                f"task {self.name!r}: dev: has no column {self.score!r}, which `score` names."
            )
        if scored:
            return scored, ""
        pairs = self._pairs(rows, "dev")
        return pairs, self._note(pairs, rows)

    def _pairs(self, rows: Sequence[Example], split: str) -> list[Example]:
        found: dict[tuple[str, ...], Example] = {}
        for row in rows:
            if row.target == _POSITIVE:
                key = tuple(text.strip() for text in row.texts)
                found.setdefault(key, numbered(row.texts, row.line))
        if not found:
            raise RecipeError(
                f"task {self.name!r}: {split}: column {self.label!r} nowhere holds "
                f"{_or(self.positive)}. Name what stands there as `positive`."
            )
        return list(found.values())

    def _note(self, pairs: Sequence[Example], rows: Sequence[Example]) -> str:
        if len(pairs) == len(rows):
            return ""
        return f"{len(pairs):,} distinct pairs of {len(rows):,} rows"

    # --- how it is judged ---------------------------------------------------------------------

    def as_judged(self, row: Example) -> Example | None:
        """The pair without its negative; none where dev rows have a score."""
        return None if self.score else numbered(row.texts[:2], row.line)

    def summary(self, targets: Sequence[Target]) -> list[str]:
        values = [target for target in targets if not isinstance(target, tuple)]
        if values:
            return [f"scores from {min(values):g} to {max(values):g}"]
        return [f"{self.row_texts} texts a row" if targets and _has_three(targets[0]) else "pairs"]

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        unit_B2C = readout_BK.view(len(readout_BK), 2, readout_BK.shape[1] // 2)
        if target_B.dim() == 2:
            return retrieval(unit_B2C, target_B)
        found = metrics.regression(unit_B2C.double().prod(1).sum(1), target_B)
        return {"spearman": found["spearman"], "pearson": found["pearson"]}

    def answer_of(self, target: Target) -> Answer:
        raise AssertionError("callers look at `answers_questions` first")


def _has_three(target: Target) -> bool:
    return isinstance(target, tuple) and len(target) == 3


def _or(labels: Sequence[str]) -> str:
    return " or ".join(map(repr, labels))
