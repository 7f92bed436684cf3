"""Task: everything that depends on what a question and its answer look like."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator
from torch import Tensor

from trivium.model.multitask import Head
from trivium.part import Part
from trivium.parts.heads import AnyHead, HeadPart
from trivium.parts.losses import AnyLoss, LossPart
from trivium.parts.tasks.cells import canonical
from trivium.parts.tasks.sources import OneSource, Source, Sources
from trivium.text.packing import Cut
from trivium.text.tokenizer import Tokenizer
from trivium.types import Answer, Batch, Example, Row, Target

Policy = Literal["refuse", "skip"]

FORM = ("kind", "labels", "range", "threshold", "separator")
"""Settings of a task that say what its answers are."""


class RowError(ValueError):
    """A row cannot be used: the message says why, the caller knows file and line."""


class MissingLabelError(RowError):
    """The row is fine but has no label for this task."""


class Task(Part):
    """One question about a text or a pair of texts, and where its rows are."""

    name: str = ""
    """Set from the task's key in the recipe."""
    text: str | tuple[str, str]
    """Column of the text; two columns for a pair."""
    label: str
    """Column of the label."""
    train: Sources = None
    """One file or several, each with a `relabel` of its own if its labels differ."""
    dev: OneSource = None
    test: OneSource = None
    encode: Literal["separate", "joint"] = "separate"
    """Pairs: each text by itself (vectors can be reused), or `[CLS] a [SEP] b [SEP]`."""
    max_length: int | None = Field(default=None, ge=4)
    """Word pieces of a sequence, special ones included; by default the encoder's limit."""
    cut: Cut = "head"
    """What is kept of a text that is too long: its start, its end, or the first quarter and the
    rest from the end."""
    weight: float = Field(default=1.0, ge=0)
    """Factor on the task's loss."""
    auxiliary: bool = False
    """A means, not an end: left out of the overall mean, and judged only in stages that train it
    or guard it."""
    missing_labels: Literal["refuse", "allow"] = "refuse"
    """allow: a row with an empty label trains the other tasks only."""
    bad_rows: Policy = "refuse"
    """skip: leave out rows that cannot be used, and report each by file and line."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Between cells; by default found from the header line."""
    quoting: Literal["standard", "none"] = "standard"
    """none: a quotation mark is a character like any other."""
    head: AnyHead | None = None
    """By default chosen by the kind of task: `resolved_head` says which."""
    loss: AnyLoss | None = None
    """By default chosen by the kind of task: `resolved_loss` says which."""

    losses: ClassVar[type[LossPart]]
    """What fits the kind of task."""
    answers_questions: ClassVar[bool] = True
    """Whether it has answers that can be predicted, or is only there to be trained."""
    draws_targets: ClassVar[bool] = False
    """Whether `prepare` draws what a batch is asked about, so that only then it is known."""
    empty_hint: ClassVar[str] = ""
    """What else to do about an empty label."""

    @model_validator(mode="before")
    @classmethod
    def _plain_words(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        words = {key: values[key] for key in ("head", "loss") if isinstance(values.get(key), str)}
        return values | {key: {"kind": word} for key, word in words.items()}

    @model_validator(mode="after")
    def _loss_fits_answers(self) -> "Task":
        if self.loss is not None and not isinstance(self.loss, self.losses):
            raise ValueError(
                f"loss: {self.loss.kind} needs a task that answers with {self.loss.needs}, but "
                f"this one answers with {self.losses.needs}; use {_kinds(self.losses)}"
            )
        return self

    @model_validator(mode="after")
    def _head_fits_texts(self) -> "Task":
        head = self.resolved_head
        if self.sequences not in head.texts:
            have = "two texts, encoded apart" if self.sequences == 2 else "one encoded sequence"
            fits = "concat, cosine" if self.sequences == 2 else "linear"
            raise ValueError(
                f"head: {head.kind} does not fit {have} a row; use {fits}"
                + (", or `encode: joint`" if self.sequences == 2 else "")
                + ("" if self.sequences == 2 or not self.is_pair else ", or `encode: separate`")
            )
        if head.outputs is not None and head.outputs != self.head_outputs:
            raise ValueError(
                f"head: {head.kind} gives {head.outputs} output, but this task needs "
                f"{self.head_outputs or 'one per label'}; use {self.default_head().kind}"
            )
        return self

    # --- what a kind of task must say ---------------------------------------------------------

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs of the model, K; 0 where labels are not known yet."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """Name of the score by which models are chosen."""

    @abstractmethod
    def default_head(self) -> HeadPart: ...

    @abstractmethod
    def default_loss(self) -> AnyLoss: ...

    @abstractmethod
    def target(self, cell: str) -> Target:
        """The target a label cell stands for. Raises RowError."""

    @abstractmethod
    def targets(self, values: Sequence[Target]) -> Tensor:
        """Targets as the loss wants them: target_B, or target_BK where several labels apply."""

    @abstractmethod
    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        """Mean loss of the batch, a scalar."""

    @abstractmethod
    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        """How far apart two outputs for the same rows are: mean over the batch, a scalar.

        Of labels the symmetrised KL divergence KL(p || q) + KL(q || p) of the answers'
        distributions, of scores the squared difference on the unit scale (Jiang et al. 2020,
        section 3.1). Differentiable in both; 0 with a gradient of 0 where they are equal.
        """

    def imitation(self, output_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
        """How far the output is from what a teacher says: mean over the batch, a scalar.

        teacher_BK: its `readout`. Of labels the cross-entropy with the teacher's probabilities,
        both softened by `temperature`, times its square (Hinton et al. 2015, section 2); of scores
        the squared difference on the unit scale, whatever the temperature.
        """
        raise NotImplementedError(f"{type(self).__name__}: has no answer that can be imitated")

    def settled(self, readout_BK: Tensor) -> Tensor:
        """A model's answers as targets, in the form that `targets` gives them."""
        raise NotImplementedError(f"{type(self).__name__}: has no answer that can be a target")

    def prepare(self, batch: Batch, tokenizer: Tokenizer) -> Batch:
        """The batch as the model shall see it, each time anew."""
        return batch

    def mass(self, target_B: Tensor) -> float:
        """What the rows weigh in the mean that `compute_loss` is: their number, if all alike."""
        return float(len(target_B))

    @abstractmethod
    def readout(self, output_BK: Tensor) -> Tensor:
        """The output on the answer's own scale, so that averaging models makes sense."""

    @abstractmethod
    def answers(self, readout_BK: Tensor) -> list[Answer]: ...

    @abstractmethod
    def answer_of(self, target: Target) -> Answer:
        """The answer that is right for a row with this target."""

    @abstractmethod
    def summary(self, targets: Sequence[Target]) -> list[str]:
        """How targets are spread, in a few short lines for people."""

    @abstractmethod
    def columns(self, readout_BK: Tensor, *, detailed: bool) -> dict[str, list[Answer]]:
        """Columns of a prediction file."""

    @abstractmethod
    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        """Metric name to value; higher is better."""

    def leaderboard(self, scores: dict[str, float]) -> float:
        """The task's part of the leaderboard mean, between 0 and 1."""
        return scores[self.metric]

    # --- what all kinds share -----------------------------------------------------------------

    @property
    def is_pair(self) -> bool:
        return not isinstance(self.text, str)

    @property
    def text_columns(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else self.text

    @property
    def sequences(self) -> int:
        """Encoded sequences per row, S."""
        return 2 if self.is_pair and self.encode == "separate" else 1

    @property
    def resolved_head(self) -> HeadPart:
        return self.head or self.default_head()

    @property
    def resolved_loss(self) -> AnyLoss:
        return self.loss or self.default_loss()

    @property
    def head_outputs(self) -> int:
        """Outputs that the chosen head must give."""
        return self.outputs

    def build_head(self, width: int, words: int = 0) -> Head:
        """The head's module. words: V, of the encoder's vocabulary."""
        return self.resolved_head.build(width, self.head_outputs, self.sequences)

    # --- what is found in the training rows ---------------------------------------------------

    @property
    def looks_for_labels(self) -> bool:
        """Whether `with_labels` must be called before rows can be read."""
        return False

    def with_labels(self, cells: Sequence[str]) -> "Task":
        """The task with the labels that these cells hold. Raises ValueError."""
        return self

    def with_weights(self, targets: Sequence[Target]) -> "Task":
        """The task with class weights as numbers, for these training targets. Raises ValueError."""
        return self

    # --- rows ---------------------------------------------------------------------------------

    def sources(self, split: str) -> tuple[Source, ...]:
        """The files of a split ("train", "dev", "test"); none where the recipe names none."""
        return {
            "train": self.train or (),
            "dev": (self.dev,) if self.dev else (),
            "test": (self.test,) if self.test else (),
        }[split]

    def labels_in(self, cell: str) -> Iterable[str]:
        """What a cell of the label column holds."""
        return [cell]

    def relabelled(self, cell: str, words: Mapping[str, str]) -> str:
        """A label cell in the task's words: see `Source.relabel`."""
        return words.get(canonical(cell), cell)

    def lacks_label(self, cell: str) -> bool:
        """Whether a label cell says nothing."""
        return cell.strip() == ""

    def example(self, row: Row) -> Example:
        """The row as this task sees it. Raises RowError (MissingLabelError if only that lacks)."""
        cell = row.cells[self.label]
        if self.lacks_label(cell):
            if self.missing_labels == "allow":
                raise MissingLabelError("has no label")
            raise RowError(
                f"column {self.label!r} is empty. Fill it in, or set `missing_labels: allow` "
                f"(such rows train the other tasks only) or `bad_rows: skip`{self.empty_hint}"
            )
        return Example(self.texts_of(row), self.target(cell), row.line)

    def texts_of(self, row: Row) -> tuple[str, ...]:
        """The row's one or two texts. Raises RowError."""
        texts = tuple(row.cells[column] for column in self.text_columns)
        for column, text in zip(self.text_columns, texts, strict=True):
            if text.strip() == "":
                raise RowError(f"column {column!r} is empty. Fill it in, or set `bad_rows: skip`")
        return texts


def _kinds(family: type[LossPart]) -> str:
    members = (member for member in get_args(get_args(AnyLoss)[0]) if issubclass(member, family))
    return ", ".join(member.model_fields["kind"].default for member in members)
