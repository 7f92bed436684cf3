"""Words of users (labels, columns, names of files) in Markdown, where none of them means more."""

import re
import unicodedata

_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them."""
_PLAIN = r"[\w .,;:!?'/()@%+=#$€…–—*~^{}\[\]\"-]+"
"""What means nothing in a code span, and nothing in a table's cell."""


def one_line(text: str) -> str:
    """The text without line breaks, control characters, or what is no character at all."""
    kept = "".join(
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in text
        if c not in _TURNING and unicodedata.category(c) != "Cs"
    )
    return " ".join(kept.split())


def code(text: str) -> str:
    """A user's words as code: in a code span, or with every mark as an entity."""
    line = one_line(text)
    if not line:
        return "(empty)"
    if re.fullmatch(_PLAIN, line):
        return f"`{line}`"
    # In a table a bar ends the cell even within a code span; an entity is never a mark.
    return f"<code>{_without_marks(line)}</code>"


def plain(text: str) -> str:
    """A sentence in which words of users may stand, none of which is a mark."""
    return _without_marks(one_line(text))


def _without_marks(line: str) -> str:
    return re.sub(r"[!-/:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", line)
