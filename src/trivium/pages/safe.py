"""Pages that hold their scripts, styles and data, and into which nobody's text can break."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Literal

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""What embeds, overrides or isolates a direction of writing."""


def upright(page: str) -> str:
    """A page in which no label or text turns what stands beside it round: characters that would are
    shown as such that nobody can read. Letters that are written from the right are what they were.
    """
    return _TURNS.sub("\N{REPLACEMENT CHARACTER}", page)


def as_data(value: Any) -> str:
    """JSON that can stand in a <script> block: no character of it can end the block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def digests(texts: Iterable[str]) -> str:
    """Sources of a Content-Security-Policy that allow these scripts (or styles) and no others."""
    return " ".join(f"'sha256-{_digest(text)}'" for text in texts)


def colours(theme: Literal["light", "dark"]) -> str:
    """A theme's colours, as style."""
    return (files("trivium.pages") / f"{theme}.css").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
