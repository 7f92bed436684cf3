"""Wrong files of every kind: values and bytes that are changed a little, or a lot."""

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trivium.errors import RecipeError

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""Of a long run (`make fuzz`), over all tests; 0: a short part of them, always the same."""
SHORT = 400

Path = tuple[str | int, ...]


def cases(share: float) -> settings:
    """How a test is run that has this share of all cases."""
    return settings(
        max_examples=max(1, round(share * (CASES or SHORT))),
        derandomize=not CASES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


NASTY = st.sampled_from([
    "", " ", "\t", "\n", "\r", "\r\n", '"', "'", '""', ",", ";", "|", "\\", "\0", "\ufeff",
    "\u2028", "é", "e\u0301", "日本", "🙂", "\x1f", "null", "NaN", "nan", "true", "0", "-1", "1.0",
    "01", "1e999", "[]", "{}", "['a', 'b']", '["a"]', "=1+1", "a", "b", "good", "../x", "/", ".",
    "[UNK]", "_", "-",
])  # fmt: skip
WORDS = st.lists(NASTY | st.text(max_size=3), max_size=6).map("".join)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([10**6, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**400])
    | st.floats()
)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS
JUNK = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, here: Path = ()) -> Iterator[Path]:
    """Where something stands within lists and tables; the whole first."""
    yield here
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items or (enumerate(value) if isinstance(value, list) else ()):
        yield from places(inner, (*here, key))


@st.composite
def changed(draw: st.DrawFn, value: Any, most: int = 3, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """A copy in which a few things are something else, are gone, or have another name."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        inner = list(places(value))[1:]
        if not inner:
            break
        *path, key = draw(st.sampled_from(inner))
        holder = value
        for step in path:
            holder = holder[step]
        what = draw(st.sampled_from(["junk", "junk", "gone", "named", "number", "again"]))
        if what == "gone":
            del holder[key]
        elif what == "named" and isinstance(holder, dict):
            holder[draw(WORDS)] = holder.pop(key)
        elif what == "number" and isinstance(holder[key], int | float):
            holder[key] = draw(NUMBERS)
        elif what == "again":
            holder[key] = draw(st.sampled_from([[holder[key]] * 2, {str(key): holder[key]}]))
        else:
            holder[key] = draw(junk)
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """A copy in which some bytes are others, gone, or more."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(["flip", "flip", "cut", "gone", "more"]))
        if what == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del data[place:]
        elif what == "gone":
            del data[place : place + draw(st.integers(1, 50))]
        else:
            data[place:place] = draw(st.binary(max_size=8) | WORDS.map(_bytes))
    return bytes(data)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def refusal(call: Callable[[], object], lines: int = 1) -> str | None:
    """What is said of what is refused, in so many short lines at most; None where it is not.

    Anything but a RecipeError is a failure.
    """
    try:
        call()
    except RecipeError as error:
        message = str(error)
    else:
        return None
    said = message.split("\n")
    assert message.strip()
    assert len(said) <= lines, message
    assert max(map(len, said)) < 2000, message
    return message
