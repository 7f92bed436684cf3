"""What a checkpoint says of its tokenizer in other files than `tokenizer.json`, as transformers
heeds it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from trivium.errors import RecipeError
from trivium.text.tokenizer import Tokenizer

CONFIG, ADDED, SPECIAL = "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"
TEXTS = [
    "<user> good <Url> dog", "x<user>y", "red <a><b> cat", "<USER> Dog dogs", "Très 好的 Good <sp>",
]  # fmt: skip


@pytest.fixture(scope="module")
def first(tiny: Path) -> int:
    """The number of the first token that is added."""
    return Tokenizer(tiny).size


def token(content: str, **flags: bool) -> dict[str, Any]:
    return {"content": content, "normalized": False, "special": False} | flags


def folder_of(
    folder: Path, tiny: Path, files: dict[str, dict[str, Any]], has_json: bool = False
) -> Path:
    """A checkpoint's tokenizer with these files beside its vocabulary."""
    folder.mkdir()
    if has_json:
        Tokenizer(tiny).save(folder)
    else:
        shutil.copyfile(tiny / "vocab.txt", folder / "vocab.txt")
    config = {"tokenizer_class": "BertTokenizer"} | files.get(CONFIG, {})
    for name, told in (files | {CONFIG: config, "config.json": {"model_type": "bert"}}).items():
        (folder / name).write_text(json.dumps(told))
    return folder


def theirs(folder: Path) -> list[list[int]]:
    found: list[list[int]] = AutoTokenizer.from_pretrained(folder)(TEXTS, add_special_tokens=False)[
        "input_ids"
    ]
    return found


def numbered(first: int, *tokens: dict[str, Any]) -> dict[str, Any]:
    return {"added_tokens_decoder": {str(first + n): each for n, each in enumerate(tokens)}}


def added(first: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Files that tell of tokens, by what is special about them."""
    user, url = token("<user>"), token("<Url>", normalized=True)
    flags = [token("<user>", lstrip=True, rstrip=True), token("Dog", single_word=True)]
    return {
        "numbers of their own": {ADDED: {"<user>": first, "<Url>": first + 1}},
        "in the configuration": {CONFIG: numbered(first, user, url)},
        "not in order": {ADDED: {"<Url>": first + 1, "<user>": first}},
        "flags": {CONFIG: numbered(first, *flags, token("<sp>", special=True))},
        "special": {CONFIG: {"additional_special_tokens": ["<a>", "<b>"]}},
        "special since 5": {CONFIG: {"extra_special_tokens": ["<a>"]}},
        "special by name": {CONFIG: {"extra_special_tokens": {"image_token": "<a>"}}},
        "special in a file of their own": {SPECIAL: {"additional_special_tokens": ["<a>", "<b>"]}},
        "told twice": {
            CONFIG: numbered(first, user) | {"additional_special_tokens": ["<user>", "<b>"]}
        },
        "special and numbered": {
            CONFIG: {"additional_special_tokens": ["<user>"]},
            ADDED: {"<user>": first},
        },
        "in the vocabulary": {CONFIG: {"additional_special_tokens": ["dog"]}},
    }


@pytest.mark.parametrize("has_json", [False, True])
@pytest.mark.parametrize("case", added(0))
def test_added_tokens_have_the_ids_that_transformers_gives_them_before_and_after_saving(
    case: str, has_json: bool, first: int, tiny: Path, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "given", tiny, added(first)[case], has_json)
    ours = Tokenizer(folder)
    assert ours(TEXTS) == theirs(folder)
    (saved := tmp_path / "saved").mkdir()
    ours.save(saved)
    again = Tokenizer(saved)
    assert again(TEXTS) == ours(TEXTS)
    assert theirs(saved) == ours(TEXTS)
    assert again.digest == ours.digest


@pytest.mark.parametrize("before", [{}, {"lowercase": False}, {"handle_chinese_chars": False}])
@pytest.mark.parametrize(
    "told",
    [
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": False},
    ],
)
def test_what_the_configuration_names_stands_above_the_tokenizers_own_file(
    before: dict[str, bool], told: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    told = {"tokenize_chinese_chars": True} | told
    folder = folder_of(tmp_path / "given", tiny, {CONFIG: told}, has_json=True)
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["normalizer"] |= before
    path.write_text(json.dumps(whole))
    ours = Tokenizer(folder)
    assert ours(TEXTS) == theirs(folder)
    (saved := tmp_path / "saved").mkdir()
    ours.save(saved)
    assert Tokenizer(saved)(TEXTS) == theirs(saved) == ours(TEXTS)


def test_a_class_of_the_file_alone_heeds_no_other(tiny: Path, tmp_path: Path) -> None:
    told = {"tokenizer_class": "TokenizersBackend", "do_lower_case": False}
    folder = folder_of(tmp_path / "given", tiny, {CONFIG: told}, has_json=True)
    assert Tokenizer(folder)(TEXTS) == theirs(folder) == Tokenizer(tiny)(TEXTS)


def test_a_folder_whose_file_says_it_all_is_copied_byte_for_byte(
    tiny: Path, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "given", tiny, {CONFIG: {"do_lower_case": True}}, has_json=True)
    text = json.dumps(json.loads((folder / "tokenizer.json").read_text()), indent=7)
    (folder / "tokenizer.json").write_text(text)
    (saved := tmp_path / "saved").mkdir()
    Tokenizer(folder).save(saved)
    assert (saved / "tokenizer.json").read_text() == text


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({ADDED: {"<user>": 7_000}}, r"'<user>' has the number 7,000, but after the others it is"),
        ({ADDED: {"<user>": "x"}}, "the number of an added token is 'x'; give a whole number"),
        ({CONFIG: {"added_tokens_decoder": {"7": {"id": 3}}}}, "it must have a `content`, a text"),
        ({SPECIAL: {"additional_special_tokens": [3]}}, "an added token is 3; it must have"),
    ],
)
def test_added_tokens_that_cannot_be_are_refused_by_their_file(
    files: dict[str, Any], said: str, tiny: Path, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "given", tiny, files)
    with pytest.raises(RecipeError, match=said) as caught:
        Tokenizer(folder)
    assert str(folder / next(iter(files))) in str(caught.value)
