"""Words as they are shown: what a terminal would obey is a mark that can be seen.

A label, a text or a file's name may hold escape sequences, which clear a screen or write to a
clipboard, and overrides of direction, which turn the rest of a line round.
"""

import re

from rich.text import Text

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and what embeds, overrides or isolates a direction."""
_PICTURES = 0x2400
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"

Part = str | Text | tuple[str, str]
"""Something said: plain, or with its style as the second half."""


def harmless(words: str) -> str:
    """The same words; each character that a terminal would obey is one that it shows.

    One for one, so places in a text, such as those of its styles, stay what they are.
    """
    return _OBEYED.sub(_shown, words) if _OBEYED.search(words) else words


def harmless_text(*parts: Part, style: str = "") -> Text:
    """All parts in one text; a `Text` would leave some characters out, and move the styles."""
    text = Text(style=style)
    for part in parts:
        if isinstance(part, str):
            text.append(harmless(part))
        elif isinstance(part, tuple):
            text.append(harmless(part[0]), part[1])
        else:
            own = part.copy()
            own.plain = harmless(part.plain)
            text.append_text(own)
    return text


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)  # an escape is \N{SYMBOL FOR ESCAPE}
    return chr(_PICTURES + 0x21) if code == 0x7F else _UNKNOWN
