"""What the front and its workers say to each other, as bytes: a header in JSON, then raw arrays.

A frame is a prefix (mark, bytes of the header, bytes of the body), the header, the body: int32 or
fp32, little-endian, in the order in which the header names the arrays. Nothing in it can run.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from trivium.answering.described import Described
from trivium.answering.reading import Reading, Way
from trivium.answering.says import Floats
from trivium.part import Part

MARK = b"TRV1"
PREFIX = struct.Struct("<4sII")
MOST_HEADER, MOST_BODY = 2**26, 2**31
INT, FLOAT = np.dtype("<i4"), np.dtype("<f4")


class Malformed(Exception):  # noqa: N818 whoever hears it ends the conversation
    """What came is no frame, or says what cannot be."""


class Hello(Part):
    """A worker to its front: it has loaded this."""

    kind: Literal["hello"] = "hello"
    described: Described


class Refusal(Part):
    """A worker to its front: it cannot load, and ends."""

    kind: Literal["refusal"] = "refusal"
    why: str


class Failure(Part):
    """A worker to its front: computing a batch raised this."""

    kind: Literal["failure"] = "failure"
    number: NonNegativeInt
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """The front to a worker: a batch."""

    number: int
    readings: Sequence[Reading]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A worker to its front: what is said of a batch."""

    number: int
    seconds: float
    """That computing took."""
    readouts: Mapping[str, Floats]
    """By task, readout_BK."""


Message = Hello | Refusal | Failure | Ask | Answer


class _ReadingFacts(Part):
    way: Way
    tokens: PositiveInt
    sequences: PositiveInt
    places: dict[str, tuple[PositiveInt, PositiveInt]]


class _AskFacts(Part):
    kind: Literal["ask"] = "ask"
    number: NonNegativeInt
    readings: tuple[_ReadingFacts, ...]


class _AnswerFacts(Part):
    kind: Literal["answer"] = "answer"
    number: NonNegativeInt
    seconds: float
    shapes: dict[str, tuple[NonNegativeInt, NonNegativeInt]]


_Header = Hello | Refusal | Failure | _AskFacts | _AnswerFacts
_HEADERS: TypeAdapter[_Header] = TypeAdapter(Annotated[_Header, Field(discriminator="kind")])


def encode(message: Message) -> bytes:
    """A message as a frame."""
    header, arrays = _apart(message)
    facts = header.model_dump_json().encode()
    body = b"".join(arrays)
    return PREFIX.pack(MARK, len(facts), len(body)) + facts + body


def sizes(prefix: bytes | bytearray) -> tuple[int, int]:
    """Bytes of the header and of the body that follow. Raises Malformed."""
    mark, header, body = PREFIX.unpack(prefix)
    if mark != MARK or header > MOST_HEADER or body > MOST_BODY:
        raise Malformed("what came is no frame")
    return header, body


def decode(header: bytes | bytearray, body: bytes | bytearray) -> Message:
    """The message of a frame. Arrays are views of `body`. Raises Malformed."""
    try:
        facts = _HEADERS.validate_json(header)
    except ValidationError as error:
        raise Malformed(f"a header that says what cannot be: {error.errors()[0]['msg']}") from error
    parts = _Arrays(body)
    message: Message
    if isinstance(facts, _AskFacts):
        message = Ask(facts.number, [_reading(one, parts) for one in facts.readings])
    elif isinstance(facts, _AnswerFacts):
        shapes = facts.shapes.items()
        readouts = {task: parts.take(FLOAT, *shape) for task, shape in shapes}
        message = Answer(facts.number, facts.seconds, readouts)
    else:
        message = facts
    if parts.begin != len(body):
        raise Malformed(f"a body of {len(body)} bytes, where {parts.begin} were announced")
    return message


# --- there ---------------------------------------------------------------------------------------


def _apart(message: Message) -> tuple[Part, list[bytes]]:
    if isinstance(message, Ask):
        readings = tuple(_facts(reading) for reading in message.readings)
        arrays = [one for reading in message.readings for one in _arrays(reading)]
        return _AskFacts(number=message.number, readings=readings), arrays
    if isinstance(message, Answer):
        shapes: dict[str, Any] = {task: r_BK.shape for task, r_BK in message.readouts.items()}
        facts = _AnswerFacts(number=message.number, seconds=message.seconds, shapes=shapes)
        return facts, [
            np.asarray(r_BK, dtype=FLOAT).tobytes() for r_BK in message.readouts.values()
        ]
    return message, []


def _facts(reading: Reading) -> _ReadingFacts:
    places: dict[str, Any] = {task: place_BS.shape for task, place_BS in reading.places.items()}
    return _ReadingFacts(
        way=reading.way,
        tokens=len(reading.ids_N),
        sequences=len(reading.length_U),
        places=places,
    )


def _arrays(reading: Reading) -> Iterator[bytes]:
    for array in (reading.ids_N, reading.length_U, reading.first_U, *reading.places.values()):
        yield np.asarray(array, dtype=INT).tobytes()


# --- and back ------------------------------------------------------------------------------------


class _Arrays:
    """A body, read from its beginning."""

    def __init__(self, body: bytes | bytearray) -> None:
        self.body, self.begin = body, 0

    def take(self, dtype: np.dtype[Any], *shape: int) -> NDArray[Any]:
        count = 1
        for axis in shape:
            count *= axis
        end = self.begin + count * dtype.itemsize
        if end > len(self.body):
            raise Malformed(f"a body of {len(self.body)} bytes, where {end} were announced")
        array = np.frombuffer(self.body, dtype, count, self.begin)
        self.begin = end
        return array.reshape(shape)


def _reading(facts: _ReadingFacts, parts: _Arrays) -> Reading:
    ids_N = parts.take(INT, facts.tokens)
    length_U = parts.take(INT, facts.sequences)
    first_U = parts.take(INT, facts.sequences)
    places = {task: parts.take(INT, *shape) for task, shape in facts.places.items()}
    if length_U.min() < 1 or length_U.sum(dtype=np.int64) != facts.tokens or ids_N.min() < 0:
        raise Malformed("sequences that are not made of the tokens that came")
    if first_U.min() < 0 or (first_U > length_U).any():
        raise Malformed("a first segment that is longer than its sequence")
    for task, place_BS in places.items():
        if place_BS.min() < 0 or place_BS.max() >= facts.sequences:
            raise Malformed(f"rows of task {task!r} about sequences that did not come")
    return Reading(facts.way, ids_N, length_U, first_U, places)
