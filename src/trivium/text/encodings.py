"""Encodings of text files other than UTF-8: which there are, and which a file seems to be in.

None is taken by itself: a recipe says which (`encoding` of a file), because two of them read the
same bytes as different words without a complaint.
"""

import codecs
import unicodedata
from pathlib import Path
from typing import Literal

Encoding = Literal[
    "utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "latin-1", "iso-8859-2", "iso-8859-15",
    "mac-roman", "koi8-r", "shift_jis", "euc-jp", "euc-kr", "gb18030", "big5",
]  # fmt: skip
"""In all but UTF-16 a line ends with the byte of LF, and no other character holds that byte."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PUNCTUATION = "€‚„…‹‘’“”•–—™›¡¢£¥§©«®°±²³´·¹»¼½¾¿×÷\xa0\xad"
_NEAR = 12


def seems_windows(raw: bytes) -> bool:
    """Whether bytes that are not UTF-8 read as Western text in Windows-1252, which is what Excel
    and Notepad long wrote: accents among plain letters, curly quotes, dashes."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    odd = [each for each in text if ord(each) > 127]
    letters = [each for each in text if each.isalpha()]
    fit = all(each in _PUNCTUATION or _is_accented(each) for each in odd)
    foreign = sum(each in odd for each in letters)
    return bool(odd) and fit and 2 * foreign <= len(letters)


def excerpt(raw: bytes, place: int, encoding: str) -> str:
    """The text around a byte, as an encoding reads it."""
    before = raw[:place].decode(encoding, errors="replace")[-_NEAR:]
    return (before + raw[place:].decode(encoding, errors="replace")[:_NEAR]).strip()


def _is_accented(letter: str) -> bool:
    return letter in "ßÆæØøÐðÞþŒœªºƒ" or unicodedata.decomposition(letter) != ""


def sniffed(path: Path) -> Encoding | None:
    """What a text file seems to be in: UTF-8, UTF-16 with a byte order mark, or Windows-1252; None
    where it is none of them."""
    with path.open("rb") as file:
        if file.read(2) in UTF_16:
            return "utf-16"
        file.seek(0)
        odd = [line for line in file if not _is_utf_8(line)]
    if not odd:
        return "utf-8"
    return "cp1252" if seems_windows(b" ".join(odd)) else None


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
