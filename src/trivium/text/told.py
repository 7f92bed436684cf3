"""What a checkpoint's other files say about its tokenizer, as `transformers` heeds it."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken
from tokenizers import Tokenizer as Pieces
from tokenizers.normalizers import BertNormalizer

from trivium.errors import RecipeError
from trivium.jsons import read_json

Settings = dict[str, object]
CONFIG = "tokenizer_config.json"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_ASSUMED: Settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
"""What `transformers` takes for BERT's tokenizer where nobody says it, whatever `tokenizer.json`
has."""
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def settings_in(path: Path) -> Settings:
    """A file's object; none where there is no such file. Raises RecipeError."""
    if not path.is_file():
        return {}
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def normalize_as_told(pieces: Pieces, settings: Settings) -> bool:
    """Case, accents and Chinese characters as `tokenizer_config.json` has them, where it names
    them; whether that changed anything."""
    now = pieces.normalizer
    if not isinstance(now, BertNormalizer):
        return False
    told = {ours: settings[theirs] for theirs, ours in _NORMALIZER.items() if theirs in settings}
    told = {name: value for name, value in told.items() if value != getattr(now, name)}
    for name, value in told.items():
        setattr(now, name, value if name == "strip_accents" else bool(value))
    return bool(told)


def untold(pieces: Pieces, settings: Settings) -> Settings:
    """What `tokenizer_config.json` must say besides, so that `transformers` reads texts so too."""
    now = pieces.normalizer
    if not isinstance(now, BertNormalizer):
        return {}
    found = {theirs: getattr(now, ours) for theirs, ours in _NORMALIZER.items()}
    return {
        name: value
        for name, value in found.items()
        if name not in settings and value != _ASSUMED[name]
    }


def add_tokens(pieces: Pieces, folder: Path, settings: Settings) -> bool:
    """Tokens that were added to the vocabulary, where the tokenizer does not know them yet;
    whether there were any. Raises RecipeError where one cannot have the number that it is told."""
    known = {token.content for token in pieces.get_added_tokens_decoder().values()}
    missing = [(n, where, t) for n, where, t in _told(folder, settings) if t.content not in known]
    missing.sort(key=lambda one: (one[0] is None, one[0] or 0))  # without a number: behind all
    added: set[str] = set()
    for number, where, token in missing:
        if token.content in added:
            continue
        added.add(token.content)
        (pieces.add_special_tokens if token.special else pieces.add_tokens)([token])
        found = pieces.token_to_id(token.content)
        if number is not None and found != number:
            raise RecipeError(
                f"{folder / where}: its token {token.content!r} has the number {number:,}, but "
                f"after the others it is {found:,}. Do the files belong together?"
            )
    return bool(missing)


def _told(folder: Path, settings: Settings) -> Iterator[tuple[int | None, str, AddedToken]]:
    """Each token's number, if it is told, the file that tells it, and the token."""
    special_map = "special_tokens_map.json"
    sources = ((CONFIG, settings), (special_map, settings_in(folder / special_map)))
    special = {
        token.content: (name, token)
        for name, source in sources
        for key in ("additional_special_tokens", "extra_special_tokens")  # before 5, and since
        for told in _several(source.get(key))
        if (token := _token(folder / name, told, special=True))
    }
    decoder = settings.get("added_tokens_decoder")
    for number, told in decoder.items() if isinstance(decoder, dict) else ():
        yield _number(folder / CONFIG, number), CONFIG, _token(folder / CONFIG, told)
    name = "added_tokens.json"
    for content, number in settings_in(folder / name).items():
        token = _token(folder / name, content, special=content in special)
        yield _number(folder / name, number), name, token
    for name, token in special.values():
        yield None, name, token


def _several(told: object) -> list[object]:
    """Tokens in a list, or under names of their own."""
    if isinstance(told, dict):
        return list(told.values())
    return told if isinstance(told, list) else []


def _number(path: Path, told: object) -> int:
    text = str(told)
    if not text.isdecimal():
        raise RecipeError(f"{path}: the number of an added token is {told!r}; give a whole number.")
    return int(text)


def _token(path: Path, told: object, special: bool = False) -> AddedToken:
    """Of a text alone, or with its flags."""
    if isinstance(told, str):
        return AddedToken(told, normalized=not special, special=special)
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(content, str):
        raise RecipeError(f"{path}: an added token is {told!r}; it must have a `content`, a text.")
    flags = {flag: bool(told[flag]) for flag in _FLAGS if flag in told}
    return AddedToken(content, **{"special": special} | flags)
