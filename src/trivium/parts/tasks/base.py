"""Task: everything that depends on what a question and its answer look like."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from pydantic import Field, field_validator, model_validator
from torch import Tensor

from trivium.answering.form import Form
from trivium.answering.says import AnySays
from trivium.errors import RecipeError, did_you_mean
from trivium.model.encoder import Encoder
from trivium.model.multitask import Head
from trivium.parts.facts import StageFacts
from trivium.parts.heads import AnyHead, HeadPart
from trivium.parts.losses import AnyLoss, LossPart
from trivium.parts.tasks.rows import RowsPart
from trivium.text.tokenizer import Tokenizer
from trivium.types import Answer, Batch, Target, Tokens

CORRELATIONS = ("pearson", "spearman")
"""Scores between -1 and 1."""
FORM = ("kind", "labels", "range", "threshold", "separator")
"""Settings of a task that say what its answers are."""


class Task(RowsPart):
    """One question about a text or a pair of texts, and where its rows are.

    A trained model knows its tasks:

        task = trivium.load("runs/first").task("topic")
        assert isinstance(task, trivium.Task)
        task.name, task.metric, task.text_columns
    """

    if TYPE_CHECKING:  # every kind says its own
        kind: str

    head: AnyHead | None = None
    """By default chosen by the kind of task: `resolved_head` says which."""
    loss: AnyLoss | None = None
    """By default chosen by the kind of task: `resolved_loss` says which."""

    metric: str = Field(default="", validate_default=True)
    """The score by which models are chosen, guarded, searched and compared: one of those that the
    kind of task has (`judged_by`), by default the first of them."""

    losses: ClassVar[type[LossPart]]
    """What fits the kind of task."""
    judged_by: ClassVar[tuple[str, ...]]
    """Its scores, as far as higher is better."""
    problem_type: ClassVar[str] = ""
    """What `transformers` calls such a task."""
    answers_questions: ClassVar[bool] = True
    """Whether it has answers that can be predicted, or is only there to be trained."""
    draws_targets: ClassVar[bool] = False
    """Whether `prepare` draws what a batch is asked about, so that only then it is known."""

    @model_validator(mode="before")
    @classmethod
    def _plain_words(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        words = {key: values[key] for key in ("head", "loss") if isinstance(values.get(key), str)}
        return values | {key: {"kind": word} for key, word in words.items()}

    @field_validator("metric")
    @classmethod
    def _a_score_that_it_has(cls, value: str) -> str:
        if value and value not in cls.judged_by:
            raise ValueError(
                f"{value!r} is no score of this kind of task{did_you_mean(value, cls.judged_by)}"
            )
        return value or cls.judged_by[0]

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
    def scale(self) -> tuple[float, float]:
        """The lower and the upper end of what answers can be: 0 and 1 of probabilities."""
        return 0.0, 1.0

    @abstractmethod
    def default_head(self) -> HeadPart: ...

    @abstractmethod
    def default_loss(self) -> AnyLoss: ...

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
        """A model's answers, of a readout, as targets, in the form that `targets` gives them."""
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
    def answer_of(self, target: Target) -> Answer:
        """The answer that is right for a row with this target."""

    @abstractmethod
    def summary(self, targets: Sequence[Target]) -> list[str]:
        """How targets are spread, in a few short lines for people."""

    @abstractmethod
    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        """Metric name to value; higher is better."""

    def leaderboard(self, scores: dict[str, float]) -> float:
        """The task's part of the leaderboard mean, between 0 and 1: of a correlation r it is
        (r + 1) / 2."""
        value = scores[self.metric]
        return (value + 1) / 2 if self.metric in CORRELATIONS else value

    # --- what all kinds share -----------------------------------------------------------------

    def undecided(self) -> "Task":
        """The task as it was trained, without what `trivium calibrate` found."""
        return self

    @property
    def says(self) -> AnySays | None:
        """How answers are read off a readout; None of a task that has none."""
        return None

    def answers(self, readout_BK: Tensor) -> list[Answer]:
        return self._says.answers(readout_BK.numpy())

    def columns(self, readout_BK: Tensor, *, detailed: bool) -> dict[str, list[Answer]]:
        """Columns of a prediction file."""
        return self._says.columns(readout_BK.numpy(), detailed=detailed)

    def kept(self, readout_BK: Tensor) -> dict[str, list[Answer]]:
        """Columns of a run's own file of predictions, from which the readout can be told again."""
        return self._says.kept(readout_BK.numpy())

    @property
    def _says(self) -> AnySays:
        assert self.says is not None, "callers look at `answers_questions` first"
        return self.says

    def form(self, limit: int, *, own: bool = False) -> Form:
        """The task as data that needs no torch.

        limit: the encoder's longest sequence; own: whether the task has sides. Raises RecipeError
        where the task asks for longer sequences.
        """
        length = self.max_length or limit
        if length > limit:
            raise RecipeError(
                f"tasks.{self.name}.max_length: {length} is more than the encoder's {limit} "
                "positions."
            )
        return Form(
            name=self.name,
            kind=self.kind,
            text=self.text_columns,
            apart=self.sequences == len(self.text_columns) == 2,
            max_length=length,
            cut=self.cut,
            own=own or self.draws_targets,
            says=self.says,
            delimiter=self.delimiter,
            quoting=self.quoting,
        )

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

    def outputs_beside(self, width: int) -> int:
        """Outputs of a training row, beside an encoder of that width."""
        return self.outputs

    def notes(self, facts: StageFacts) -> Iterator[str]:
        """What in such a stage may not do what was meant, a sentence each."""
        yield from ()

    @property
    def asked_share(self) -> float:
        """Share of a batch's tokens for each of which the head guesses a word piece."""
        return 0.0

    @property
    def weighs_labels(self) -> bool:
        """Whether rows count in the loss by their label."""
        return False

    @property
    def can_be_recorded(self) -> bool:
        """Whether a graph can do `compute_loss`; see `LossPart`."""
        return self.resolved_loss.can_be_recorded

    def judge(self, tokens: Tokens, head: Head, encoder: Encoder, tokenizer: Tokenizer) -> Tensor:
        """What is said of each text when the task is judged or asked, one vector each, from which
        the head decides: vector_RC. tokens: on the CPU."""
        tokens = tokens.to(encoder.embeddings.word_embeddings.weight.device)
        hidden_ND: Tensor = encoder(tokens, self.name)
        return head.represent(hidden_ND, tokens, encoder)

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


def _kinds(family: type[LossPart]) -> str:
    members = (member for member in get_args(get_args(AnyLoss)[0]) if issubclass(member, family))
    return ", ".join(member.model_fields["kind"].default for member in members)
