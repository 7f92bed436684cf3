"""Text to word pieces, through the `tokenizers` library; special tokens are added when packing."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Pieces
from tokenizers.implementations import BertWordPieceTokenizer  # type: ignore[attr-defined]
from tokenizers.models import WordPiece

from trivium.errors import RecipeError
from trivium.text.told import (
    CONFIG,
    Settings,
    add_tokens,
    normalize_as_told,
    settings_in,
    untold,
)

_FILES = ["tokenizer.json", "vocab.txt", CONFIG]
_WORDPIECE = (
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "TokenizersBackend",  # as transformers 5 calls whatever tokenizer.json says
)
_SPECIAL = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What kind of thing every word piece is."""

    special_V: NDArray[np.bool_]
    """[CLS] and the like, which are no words."""
    continues_V: NDArray[np.bool_]
    """`##ing` and the like, which go on with the word before them."""
    words: NDArray[np.int64]
    """Ids of all pieces that a text can hold as words: neither special nor [unused…]."""


class Tokenizer:
    """WordPiece of one checkpoint.

    Raises RecipeError where the folder holds neither `tokenizer.json` nor `vocab.txt`, or a
    special token is not in the vocabulary.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _refuse_others(folder)
        self._pieces, self._is_whole = _read_pieces(folder)
        # Texts come whole and unpadded; `pack` adds special tokens and cuts.
        self._pieces.no_padding()
        self._pieces.no_truncation()
        names = _special_names(settings_in(folder / CONFIG))
        self.unk = self._special(names, "unk_token")
        self.cls = self._special(names, "cls_token")
        self.sep = self._special(names, "sep_token")
        self.pad = self._special(names, "pad_token")
        self.mask = self._special(names, "mask_token")

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Word-piece ids of each text, without special tokens, uncut."""
        encodings = self._pieces.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def text(self, ids: Sequence[int]) -> str:
        """A text of these word pieces; read again, it need not have the same ones."""
        return str(self._pieces.decode(list(ids)))

    @property
    def size(self) -> int:
        """Number of word pieces, V."""
        return int(self._pieces.get_vocab_size())

    @property
    def largest(self) -> int:
        """The largest id of a word piece; ids may have gaps."""
        return max(self._pieces.get_vocab().values())

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides which word pieces a text has."""
        return hashlib.sha256(self._pieces.to_str().encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        pieces = self._pieces.get_vocab()
        special_V = np.zeros(max(pieces.values()) + 1, dtype=bool)
        special_V[[self.unk, self.cls, self.sep, self.pad, self.mask]] = True
        added = self._pieces.get_added_tokens_decoder()
        special_V[[number for number, token in added.items() if token.special]] = True
        prefix = getattr(self._pieces.model, "continuing_subword_prefix", "##")
        continues_V = np.zeros_like(special_V)
        continues_V[[number for piece, number in pieces.items() if piece.startswith(prefix)]] = True
        is_word_V = np.zeros_like(special_V)  # no id is a word only because no piece has it
        is_word_V[[n for piece, n in pieces.items() if not piece.startswith("[unused")]] = True
        return Vocabulary(special_V, continues_V, np.flatnonzero(is_word_V & ~special_V))

    def save(self, folder: Path) -> None:
        """The same tokenizer in `folder`, in Hugging Face's files."""
        for name in _FILES:
            if (self.folder / name).is_file() and (self._is_whole or name != "tokenizer.json"):
                shutil.copyfile(self.folder / name, folder / name)
        settings = settings_in(folder / CONFIG)
        if _is_berts(self.folder) and (missing := untold(self._pieces, settings)):
            text = json.dumps(settings | missing, indent=2) + "\n"
            (folder / CONFIG).write_text(text, encoding="utf-8")
        if not (folder / "tokenizer.json").is_file():
            # By Python, whose errors say what the system refused.
            (folder / "tokenizer.json").write_bytes(self._pieces.to_str(pretty=True).encode())
        if not (folder / "vocab.txt").is_file():
            vocabulary = sorted(self._pieces.get_vocab().items(), key=lambda item: item[1])
            text = "".join(f"{piece}\n" for piece, _ in vocabulary)
            (folder / "vocab.txt").write_text(text, encoding="utf-8")

    def _special(self, names: dict[str, str], role: str) -> int:
        found = self._pieces.token_to_id(names[role])
        if found is None:
            raise _lacks(self.folder, names, role)
        return int(found)


def _refuse_others(folder: Path) -> None:
    """Refuse a tokenizer that cuts words in a way of its own, whatever its vocabulary is called."""
    found = _class_of(folder)
    # A fast class is what tokenizer.json says, and nothing else.
    is_whole = (folder / "tokenizer.json").is_file() and str(found).endswith("Fast")
    if found is not None and found not in _WORDPIECE and not is_whole:
        raise RecipeError(
            f"{folder}: its tokenizer is a {found}, which is not supported; word pieces of BERT "
            f"are ({', '.join(_WORDPIECE[:2])}). Take another encoder."
        )


def _class_of(folder: Path) -> object:
    """What the folder calls its tokenizer's class; None where it says nothing."""
    told = settings_in(folder / CONFIG), settings_in(folder / "config.json")
    return next((name for each in told if (name := each.get("tokenizer_class"))), None)


def _is_berts(folder: Path) -> bool:
    """Whether its class is one that heeds `tokenizer_config.json` beside `tokenizer.json`."""
    return _class_of(folder) in (None, *_WORDPIECE[:-1])


def _read_pieces(folder: Path) -> tuple[Pieces, bool]:
    """All that the folder's files say together, and whether `tokenizer.json` alone says it."""
    settings = settings_in(folder / CONFIG)
    path = folder / "tokenizer.json"
    if not path.is_file():
        pieces = _from_vocabulary(folder, settings)
        add_tokens(pieces, folder, settings)
        return pieces, False
    try:
        pieces = Pieces.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for every kind of bad file
        raise RecipeError(f"{path}: is not a tokenizer: {error}") from error
    changed = normalize_as_told(pieces, settings) if _is_berts(folder) else False
    return pieces, not (add_tokens(pieces, folder, settings) or changed)


def _from_vocabulary(folder: Path, settings: Settings) -> Pieces:
    path = folder / "vocab.txt"
    if not path.is_file():
        raise RecipeError(f"{folder}: has neither tokenizer.json nor vocab.txt.")
    strip, names = settings.get("strip_accents"), _special_names(settings)
    try:
        wordpiece = BertWordPieceTokenizer(
            # Read here: given the path, tokenizers before 0.23 warns that it is the old way.
            WordPiece.read_file(str(path)),
            unk_token=names["unk_token"],
            sep_token=names["sep_token"],
            cls_token=names["cls_token"],
            pad_token=names["pad_token"],
            mask_token=names["mask_token"],
            lowercase=bool(settings.get("do_lower_case", True)),
            strip_accents=strip if isinstance(strip, bool) else None,
            handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        )
    except TypeError as error:  # "cls_token not found in the vocabulary", or sep_token
        raise _lacks(folder, names, str(error).split()[0]) from error
    except Exception as error:  # bare, from the library: not UTF-8, or not readable
        raise RecipeError(f"{path}: is not a vocabulary: {error}") from error
    return Pieces.from_str(wordpiece.to_str())


def _special_names(settings: Settings) -> dict[str, str]:
    """What the checkpoint calls each special token."""
    names = {}
    for role, usual in _SPECIAL.items():
        name = settings.get(role, usual)
        if isinstance(name, dict):  # written by old versions as an object with its content
            name = name.get("content", usual)
        names[role] = str(name)
    return names


def _lacks(folder: Path, names: dict[str, str], role: str) -> RecipeError:
    name = names.get(role, role)
    return RecipeError(f"{folder}: the vocabulary lacks {name!r}, which is its {role}.")
