"""Text to word pieces, through the `tokenizers` library; special tokens are added when packing."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as Pieces
from tokenizers.implementations import (
    BertWordPieceTokenizer,  # type: ignore[attr-defined]
)

from trivium.errors import RecipeError

_FILES = ["tokenizer.json", "vocab.txt", "tokenizer_config.json"]


class Tokenizer:
    """WordPiece of one checkpoint.

    Raises RecipeError where the folder holds neither `tokenizer.json` nor `vocab.txt`, or a
    special token is not in the vocabulary.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pieces = _read_pieces(folder)
        # Texts come whole and unpadded; `pack` adds special tokens and cuts.
        self._pieces.no_padding()
        self._pieces.no_truncation()
        names = _settings(folder)
        self.cls = self._special(names, "cls_token", "[CLS]")
        self.sep = self._special(names, "sep_token", "[SEP]")
        self.pad = self._special(names, "pad_token", "[PAD]")
        self.mask = self._special(names, "mask_token", "[MASK]")

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Word-piece ids of each text, without special tokens, uncut."""
        encodings = self._pieces.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def size(self) -> int:
        """Number of word pieces, V."""
        return int(self._pieces.get_vocab_size())

    def save(self, folder: Path) -> None:
        """The same tokenizer in `folder`, in Hugging Face's files."""
        for name in _FILES:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
        if not (folder / "tokenizer.json").is_file():
            self._pieces.save(str(folder / "tokenizer.json"))
        if not (folder / "vocab.txt").is_file():
            vocabulary = sorted(self._pieces.get_vocab().items(), key=lambda item: item[1])
            text = "".join(f"{piece}\n" for piece, _ in vocabulary)
            (folder / "vocab.txt").write_text(text, encoding="utf-8")

    def _special(self, names: dict[str, object], role: str, usual: str) -> int:
        name = names.get(role, usual)
        if isinstance(name, dict):  # written by old versions as an object with its content
            name = name.get("content", usual)
        found = self._pieces.token_to_id(str(name))
        if found is None:
            raise RecipeError(f"{self.folder}: the vocabulary lacks {name!r}, which is its {role}.")
        return int(found)


def _read_pieces(folder: Path) -> Pieces:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return Pieces.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every kind of bad file
            raise RecipeError(f"{path}: is not a tokenizer: {error}") from error
    path = folder / "vocab.txt"
    if not path.is_file():
        raise RecipeError(f"{folder}: has neither tokenizer.json nor vocab.txt.")
    settings = _settings(folder)
    strip = settings.get("strip_accents")
    wordpiece = BertWordPieceTokenizer(
        str(path),
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=strip if isinstance(strip, bool) else None,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    return Pieces.from_str(wordpiece.to_str())


def _settings(folder: Path) -> dict[str, object]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read as JSON: {error}") from error
    return found if isinstance(found, dict) else {}
