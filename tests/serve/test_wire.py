"""Frames between processes come back as they were sent, and nothing else is understood."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.answering.reading import Asked, Line, Way, gather
from trivium.apps.serve.wire import (
    MARK,
    PREFIX,
    Answer,
    Ask,
    Failure,
    Malformed,
    Message,
    Refusal,
    decode,
    encode,
    sizes,
)


def back(frame: bytes) -> Message:
    header, body = sizes(frame[: PREFIX.size])
    assert len(frame) == PREFIX.size + header + body
    return decode(frame[PREFIX.size : PREFIX.size + header], frame[PREFIX.size + header :])


names = st.text(st.characters(codec="utf-8"), max_size=5)
ways = st.builds(
    Way,
    st.integers(0, 3),
    st.integers(2, 512),
    st.sampled_from(["head", "tail", "head_tail"]),
    names,
)
lines = st.builds(
    lambda ids, first: Line(np.array(ids, dtype=np.int32), min(first, len(ids)), len(ids)),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9),
    st.integers(0, 9),
)


@st.composite
def asked(draw: st.DrawFn) -> list[Asked]:
    pool = draw(st.lists(lines, min_size=1, max_size=5))
    sequences = draw(st.dictionaries(names, st.integers(1, 2), min_size=1, max_size=3))
    way_of = draw(st.lists(ways, min_size=1, max_size=2))
    rows = st.tuples(st.sampled_from(way_of), st.sampled_from(list(sequences)))
    return [
        Asked(way, task, tuple(draw(st.sampled_from(pool)) for _ in range(sequences[task])))
        for way, task in draw(st.lists(rows, min_size=1, max_size=8))
    ]


@given(asked(), st.integers(0, 2**40))
@settings(max_examples=60)
def test_readings_come_back_as_they_were_sent(rows: list[Asked], number: int) -> None:
    readings = gather(rows)
    found = back(encode(Ask(number, readings)))
    assert isinstance(found, Ask)
    assert found.number == number
    for sent, got in zip(readings, found.readings, strict=True):
        assert got.way == sent.way
        assert isinstance(got.way, Way)
        assert list(got.places) == list(sent.places)
        for name in ("ids_N", "length_U", "first_U"):
            np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
        for task, place_BS in sent.places.items():
            np.testing.assert_array_equal(got.places[task], place_BS)


@given(
    st.dictionaries(names, st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=3),
    st.floats(0, 1e6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_readouts_come_back_to_the_bit(
    shapes: dict[str, tuple[int, int]], seconds: float, random: Any
) -> None:
    draw = np.random.default_rng(random.randrange(2**32))
    readouts = {task: draw.normal(size=shape).astype(np.float32) for task, shape in shapes.items()}
    found = back(encode(Answer(7, seconds, readouts)))
    assert isinstance(found, Answer)
    assert (found.number, found.seconds, list(found.readouts)) == (7, seconds, list(shapes))
    for task, readout_BK in readouts.items():
        assert found.readouts[task].tobytes() == readout_BK.tobytes()
        assert found.readouts[task].shape == readout_BK.shape


@pytest.mark.parametrize("message", [Failure(number=3, why="№ 3"), Refusal(why='"no"\n')])
def test_words_come_back_as_they_were_sent(message: Message) -> None:
    assert back(encode(message)) == message


def parts() -> tuple[dict[str, Any], bytes]:
    """Header and body of a batch: two sequences of 2 and 3 tokens, two rows."""
    first, second = (Line(np.arange(n, dtype=np.int32), 1, n) for n in (2, 3))
    way = Way(0, 9, "head", "")
    frame = encode(Ask(1, gather([Asked(way, "mood", (one,)) for one in (first, second)])))
    header, _ = sizes(frame[: PREFIX.size])
    return json.loads(frame[PREFIX.size :][:header]), frame[PREFIX.size + header :]


def ints(body: bytes, place: int, value: int) -> bytes:
    array = np.frombuffer(body, dtype=np.int32).copy()
    array[place] = value
    return array.tobytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header, body: (header | {"kind": "pickle"}, body), "a header"),
        (lambda header, body: (header | {"number": -1}, body), "a header"),
        (lambda header, body: (header | {"more": 1}, body), "a header"),
        (lambda header, body: (header, body[:-4]), "announced"),
        (lambda header, body: (header, body + b"four"), "announced"),
        (lambda header, body: (header, ints(body, 0, -1)), "tokens that came"),
        (lambda header, body: (header, ints(body, 5, 3)), "tokens that came"),
        (lambda header, body: (header, ints(ints(body, 5, 0), 6, 5)), "tokens that came"),
        (lambda header, body: (header, ints(body, 7, 3)), "first segment"),
        (lambda header, body: (header, ints(body, 9, 2)), "'mood' about sequences"),
        (lambda header, body: (header, ints(body, 9, -1)), "'mood' about sequences"),
    ],
)
def test_what_cannot_be_is_refused(change: Any, said: str) -> None:
    header, body = change(*parts())
    with pytest.raises(Malformed, match=said):
        decode(json.dumps(header).encode(), body)


def test_a_header_that_is_no_json_is_refused() -> None:
    with pytest.raises(Malformed, match="a header"):
        decode(b"{", b"")


@pytest.mark.parametrize(
    "prefix", [b"Warning: so", PREFIX.pack(MARK, 2**30, 0), PREFIX.pack(MARK, 2, 2**31 + 1)]
)
def test_what_does_not_begin_as_a_frame_is_refused(prefix: bytes) -> None:
    with pytest.raises(Malformed, match="is no frame"):
        sizes(prefix[: PREFIX.size].ljust(PREFIX.size))
