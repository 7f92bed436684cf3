"""Masked words: not a question about a text, but practice in reading it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from trivium.errors import RecipeError, did_you_mean
from trivium.model.encoder import Encoder
from trivium.model.multitask import Head
from trivium.parts.heads import HeadPart
from trivium.parts.heads.words import WordsHead
from trivium.parts.losses import AnyLoss, CrossEntropy, LabelLoss, LossPart
from trivium.parts.tasks.base import Task
from trivium.parts.tasks.labels import symmetrised_kl
from trivium.parts.tasks.rows import Gathered, RowsPart
from trivium.parts.tasks.texts import Texts, distinct, drawn
from trivium.text.encodings import Encoding
from trivium.text.masking import Masking, fixed_draws, fresh_draws, mask
from trivium.text.plain import is_plain, open_lines
from trivium.text.tables import Table
from trivium.text.tokenizer import Tokenizer
from trivium.types import Answer, Batch, Example, Row, Target, Tokens

ASKED_AT_ONCE = 512
"""Tokens whose logits are held at once while judging: 60 MiB at BERT's vocabulary."""
_NOTHING = 0.0
"""The target of a row, which has none: what a batch asks is drawn when it is made."""


class MaskedWords(Task):
    """Masked language modelling (Devlin et al. 2019, section 3.1), with new masks in every batch
    (Liu et al. 2019, section 4.1): further pretraining as a task of a stage.

    Judged by `masked_accuracy`, with `perplexity` beside it: exp of the mean loss of the asked
    word pieces, the one score of all that is better when it is *lower*. The masks of a text that is
    judged are always the same ones, so scores of different models can be compared.
    """

    kind: Literal["mlm"] = "mlm"
    of: tuple[str, ...] = ()
    """Tasks of the recipe whose texts are used: their training rows to train, their dev rows to
    judge."""
    texts: Literal["all", "first"] = "all"
    """first: of their pairs only the first text."""
    text: str = ""
    """Column of the text in `train` and `dev`, where these are tables. Files that end in .txt hold
    a text a line, and no header."""
    label: str = ""
    dev_texts: int = Field(default=2000, gt=0)
    """Most texts that it is judged by: always the same ones of the same texts."""
    mask: Masking = Masking()
    auxiliary: bool = True
    head: WordsHead | None = None  # type: ignore[assignment]

    losses: ClassVar[type[LossPart]] = LabelLoss
    draws_targets: ClassVar[bool] = True
    answers_questions: ClassVar[bool] = False
    rows_are: ClassVar[str] = "text"
    gathers: ClassVar[bool] = True

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_nothing_of_answers(self) -> "MaskedWords":
        unused = {"label": "", "test": None, "encode": "separate", "missing_labels": "refuse"}
        for name, value in unused.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}: masked words have no use for it; leave it out")
        if any(source.relabel for split in ("train", "dev") for source in self.sources(split)):
            raise ValueError("relabel: masked words have no labels; leave it out")
        if any(source.where for split in ("train", "dev") for source in self.sources(split)):
            raise ValueError("where: masked words take all the texts of a file; leave it out")
        if (held := self.drawn("dev")) and held.by:
            raise ValueError("dev: by: masked words are drawn by their text alone; leave it out")
        if len(set(self.of)) < len(self.of):
            raise ValueError("of: names a task twice")
        return self

    # --- its texts ----------------------------------------------------------------------------

    @property
    def lenders(self) -> tuple[str, ...]:
        return self.of

    def text_problems(self, tasks: Mapping[str, RowsPart]) -> Iterator[str]:
        if not self.of and not self.train:
            yield (
                f"tasks.{self.name}: has no texts; name tasks as `of`, or files as `train` (.txt: "
                "a text a line; or a table with its column as `text`)"
            )
        choices = [name for name, task in tasks.items() if not task.gathers]
        for other in self.of:
            if other == self.name or (other in tasks and other not in choices):
                yield (
                    f"tasks.{self.name}.of: {other!r} has no texts of its own to lend; leave it out"
                )
            elif other not in tasks:
                yield f"tasks.{self.name}.of: no task {other!r}{did_you_mean(other, choices)}"

    def open_table(
        self, path: str | Path, needed: Sequence[str], encoding: Encoding | None = None
    ) -> Table:
        """Plain text, or the column `text` of a table, whatever else is needed of other tasks."""
        if is_plain(path):
            return open_lines(path, self.text, encoding)
        if not self.text:
            raise RecipeError(
                f"task {self.name!r}: {path}: is a table; say as `text` which column holds the "
                "text. A file with a text a line ends in .txt."
            )
        return super().open_table(path, self.text_columns, encoding)

    def gather(self, rows: Mapping[str, Iterable[Example]]) -> Gathered:
        """Every distinct text once, of the splits that have rows; one that stands in dev is not
        trained."""
        most = 1 if self.texts == "first" else None
        texts = {split: distinct(found, most, _NOTHING) for split, found in rows.items()}
        dev = texts.get("dev", {})
        gathered: Gathered = {}
        if "train" in texts:
            gathered["train"] = self._trained(texts["train"], dev)
        if dev:
            judged = drawn(dev, self.dev_texts)
            more = f", of {len(dev):,} always these" if len(judged) < len(dev) else ""
            gathered["dev"] = judged, self._note(len(judged)) + more
        return gathered

    def _trained(self, texts: Texts, dev: Texts) -> tuple[list[Example], str]:
        train = [example for key, example in texts.items() if key not in dev]
        if not train:
            raise RecipeError(
                f"task {self.name!r}: train: no text is left that does not also stand in dev. Name "
                "other texts, or leave the `dev` rows out."
            )
        return train, self._note(len(train), len(texts) - len(train))

    def _note(self, texts: int, held_out: int = 0) -> str:
        of = f" of {', '.join(self.of)}" if self.of else ""
        of += " and files of its own" if self.of and self.train else ""
        out = f"; {held_out:,} more also stand in dev and are not trained" if held_out else ""
        return f"{texts:,} distinct texts{of}{out}"

    # --- what is learned ----------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        return 0  # as many as the encoder has word pieces

    @property
    def metric(self) -> str:
        return "masked_accuracy"

    @property
    def asked_share(self) -> float:
        return self.mask.share

    def default_head(self) -> HeadPart:
        return WordsHead()

    def build_head(self, width: int, words: int = 0) -> Head:
        return self.resolved_head.build(width, words, self.sequences)

    def default_loss(self) -> AnyLoss:
        return CrossEntropy()

    def example(self, row: Row) -> Example:
        return Example(self.texts_of(row), _NOTHING, row.line)

    def target(self, cell: str) -> float:
        return _NOTHING

    def targets(self, values: Sequence[Target]) -> Tensor:
        return torch.zeros(len(values))

    def prepare(self, batch: Batch, tokenizer: Tokenizer) -> Batch:
        tokens, target_M = mask(batch.tokens, fresh_draws(batch.tokens), self.mask, tokenizer)
        return replace(batch, tokens=tokens, target_B=target_M)

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        loss = self.resolved_loss
        assert isinstance(loss, LabelLoss), "validation refuses others"
        return loss.one(output_BK, target_B)

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        return symmetrised_kl(output_BK, other_BK)

    # --- how it is judged ---------------------------------------------------------------------

    @torch.inference_mode()
    def judge(self, tokens: Tokens, head: Head, encoder: Encoder, tokenizer: Tokenizer) -> Tensor:
        """Of each text the summed loss, the number of right guesses, and of asked tokens, under
        masks that are the text's own: readout_R3, fp32. tokens: on the CPU."""
        asked, target_M = mask(tokens, fixed_draws(tokens), self.mask, tokenizer)
        assert asked.asked_M is not None
        text_M = torch.bucketize(asked.asked_M, tokens.lengths_R.cumsum(0), right=True)
        device = encoder.embeddings.word_embeddings.weight.device
        asked, target_M = asked.to(device), target_M.to(device)
        hidden_ND: Tensor = encoder(asked, self.name)
        sums_M3 = []
        assert asked.asked_M is not None
        for place_M, right_M in zip(
            torch.split(asked.asked_M, ASKED_AT_ONCE),
            torch.split(target_M, ASKED_AT_ONCE),
            strict=True,
        ):
            logit_MV = head.represent(hidden_ND, replace(asked, asked_M=place_M), encoder)
            loss_M = F.cross_entropy(logit_MV, right_M, reduction="none")
            is_right_M = logit_MV.argmax(dim=1) == right_M
            sums_M3.append(torch.stack([loss_M, is_right_M.float(), torch.ones_like(loss_M)], 1))
        readout_R3 = torch.zeros(len(tokens.lengths_R), 3, device=device)
        return readout_R3.index_add(0, text_M.to(device), torch.cat(sums_M3))

    def readout(self, output_BK: Tensor) -> Tensor:
        """What `judge` gave, as it is."""
        return output_BK

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        loss, right, asked = readout_BK.double().sum(0).tolist()
        # Of a model that has gone astray exp would not fit into a number.
        perplexity = math.exp(min(loss / asked, 700.0))
        return {"masked_accuracy": right / asked, "perplexity": perplexity}

    def summary(self, targets: Sequence[Target]) -> list[str]:
        rule, chosen = self.mask, "of words" if self.mask.whole_words else "of word pieces"
        stay = max(0.0, 1 - rule.masked - rule.random)
        return [
            f"asks {rule.share:.3g} {chosen}",
            f"masked {rule.masked:.3g}, random {rule.random:.3g}, as they are {stay:.3g}",
        ]

    # --- what it has not ----------------------------------------------------------------------

    def answer_of(self, target: Target) -> Answer:
        raise AssertionError("callers look at `answers_questions` first")
