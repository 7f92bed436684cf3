"""Bodies that are the same for every model, described for `/openapi.json`.

Nothing is parsed by them: requests are checked by hand, which costs a tenth of it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trivium.apps.serve.settings import MAX_CHARACTERS


class Described(BaseModel):
    """What is said in braces, and nothing else."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Place(Described):
    """One place that is wrong."""

    where: str = Field(examples=["rows[3].message"])
    found: str = Field(examples=["null"])
    allowed: str
    hint: str


class Told(Described):
    code: str
    """For programs."""
    message: str
    """For people: the first mistake, and how many more there are."""
    details: list[Place]


class Error(Described):
    """The one form of all errors, but for those of the Open Inference Protocol."""

    error: Told


class InferError(Described):
    """The same, as the Open Inference Protocol has it."""

    error: str
    """For people: the first mistake, and how many more there are."""
    code: str
    """For programs."""
    details: list[Place]


class Timing(Described):
    queue_ms: float
    compute_ms: float


class Cut(Described):
    """There where the text was too long."""

    tokens: int
    """That the text has."""
    kept: int
    """That were read."""


class Scored(Described):
    label: str
    score: float


class Word(Described):
    column: str
    start: int
    end: int
    """Characters of the text, counted in Unicode code points."""
    word: str
    effect: float | None
    """What is said with the word, less what is said without it; null where that could not be
    computed."""


class Parameters(Described):
    top_k: int | None = Field(default=None, ge=1, le=2**31)
    """Labels per row; all by default."""


class Embedding(Described):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(Described):
    prompt_tokens: int
    total_tokens: int


class Embeddings(Described):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Live(Described):
    status: Literal["live"]


class Ready(Described):
    status: Literal["ready"]


class Model(Described):
    name: str
    sha256: str
    """Of the file that seals the model's folder."""


class Limits(Described):
    rows: int
    """Of one request."""
    body_bytes: int
    characters: int
    """Of one text."""
    queue_rows: int
    queue_tokens: int
    timeout_s: float


class TaskInfo(Described):
    kind: str
    columns: list[str]
    max_tokens: int
    keeps: Literal["head", "tail", "head_tail"]
    """Part of a text that is too long."""
    answers: Literal["one label", "several labels", "score"]
    labels: list[str] = []
    threshold: float | None = None
    range: list[float] = []
    decide: dict[str, Any] = {}
    """What `trivium calibrate` found, if it did: how answers are decided upon."""


class Info(Described):
    model: Model
    tasks: dict[str, TaskInfo]
    embeds: bool
    limits: Limits
    precision: str
    backend: str
    workers: int
    wanted_workers: int
    cores: int
    trivium: str


class ServerMetadata(Described):
    name: str
    version: str
    extensions: list[str]


class ServerLive(Described):
    live: Literal[True]


class ServerReady(Described):
    ready: Literal[True]


class ModelReady(Described):
    name: str
    ready: Literal[True]


class TensorMetadata(Described):
    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(Described):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Output(Described):
    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: list[str | float]


class InferAnswer(Described):
    id: str = ""
    model_name: str
    outputs: list[Output]


STATIC: tuple[type[BaseModel], ...] = (
    Error, InferError, Timing, Cut, Scored, Word, Parameters, Embeddings, Live, Ready, Info,
    ServerMetadata, ServerLive, ServerReady, ModelReady, ModelMetadata, InferAnswer,
)  # fmt: skip

TEXT: dict[str, Any] = {"type": "string", "maxLength": MAX_CHARACTERS}
