"""The tokenizer against transformers', from every kind of folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from trivium.errors import RecipeError
from trivium.text.tokenizer import Tokenizer

TEXTS = [
    "",
    " ",
    "\n\t\r",
    "Hello, World!",
    "don't   stop\u00a0me\u2028now",
    "naïve café Ünïcödé Ångström",
    "e\u0301 and \u00e9, \ufb01ne",
    "北京大学 and 東京 mixed中文words",
    "👍🏽 👩‍👩‍👧 🇨🇭 text🙂",
    "a" * 99,
    "a" * 100,
    "a" * 101,
    "supercalifragilisticexpialidocious" * 10,
    "control \x00\x01\x07\x7f chars \ufffd \ufeff \u200b \u200d",
    "١٢٣ שלום مرحبا नमस्ते ไทย 한국어 ひらがな",
    "$1,234.56 50% <b>x</b> a_b c--d ...",
    "[CLS] [SEP] [PAD] [MASK] [UNK] [unused1] ##ing",
    "[cls] [SEP[SEP]]",
    "ǅ İstanbul ẞ ß ſ",
    "\U0001d4d7\U0001d4ee \U000e0041",
]


@pytest.fixture(scope="module")
def ours(minilm: Path) -> Tokenizer:
    return Tokenizer(minilm)


@pytest.fixture(scope="module")
def theirs(minilm: Path) -> Any:
    return AutoTokenizer.from_pretrained(minilm)


@pytest.fixture(scope="module")
def from_vocabulary(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of a folder with nothing but vocab.txt."""
    folder = tmp_path_factory.mktemp("vocabulary")
    shutil.copyfile(minilm / "vocab.txt", folder / "vocab.txt")
    return Tokenizer(folder)


def test_ids_of_nasty_texts_are_those_of_transformers(ours: Tokenizer, theirs: Any) -> None:
    assert ours(TEXTS) == theirs(TEXTS, add_special_tokens=False)["input_ids"]


@settings(max_examples=150)
@given(texts=st.lists(st.text(max_size=30), max_size=5))
def test_ids_of_any_texts_are_those_of_transformers(
    ours: Tokenizer, theirs: Any, from_vocabulary: Tokenizer, texts: list[str]
) -> None:
    wanted = theirs(texts, add_special_tokens=False)["input_ids"] if texts else []
    assert ours(texts) == wanted
    assert from_vocabulary(texts) == wanted


def test_long_texts_come_whole(ours: Tokenizer) -> None:
    assert [len(ids) for ids in ours(["a " * 5000, "b"])] == [5000, 1]


def test_special_tokens_and_size_are_those_of_transformers(ours: Tokenizer, theirs: Any) -> None:
    assert (ours.cls, ours.sep, ours.pad, ours.mask) == (
        theirs.cls_token_id, theirs.sep_token_id, theirs.pad_token_id, theirs.mask_token_id,
    )  # fmt: skip
    assert ours.size == len(theirs) == 30522


def test_folder_with_only_a_vocabulary_gives_the_same_ids(
    ours: Tokenizer, from_vocabulary: Tokenizer
) -> None:
    assert from_vocabulary(TEXTS) == ours(TEXTS)
    assert from_vocabulary.size == ours.size


def small_folder(folder: Path, words: list[str], **options: object) -> Path:
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_cased_vocabulary_keeps_case_and_accents(tmp_path: Path) -> None:
    words = [*SPECIAL, "Caf", "##é", "caf", "##e"]
    cased = Tokenizer(small_folder(tmp_path, words, do_lower_case=False))
    assert cased(["Café"]) == [[5, 6]]


def test_lower_case_is_the_default_and_strips_accents(tmp_path: Path) -> None:
    words = [*SPECIAL, "Caf", "##é", "caf", "##e"]
    assert Tokenizer(small_folder(tmp_path, words))(["Café"]) == [[7, 8]]


def test_lower_case_with_accents_kept(tmp_path: Path) -> None:
    words = [*SPECIAL, "Caf", "##é", "caf", "##e"]
    assert Tokenizer(small_folder(tmp_path, words, strip_accents=False))(["Café"]) == [[7, 6]]


def test_special_tokens_may_be_named_in_the_configuration(tmp_path: Path) -> None:
    words = ["<pad>", "[UNK]", "<s>", "[SEP]", "[MASK]"]
    named = {"cls_token": {"content": "<s>", "lstrip": False}, "pad_token": "<pad>"}
    tokenizer = Tokenizer(small_folder(tmp_path, words, **named))
    assert (tokenizer.cls, tokenizer.pad, tokenizer.sep) == (2, 0, 3)


# --- saving ------------------------------------------------------------------------------------


def test_saved_tokenizer_is_the_same_for_us_and_for_transformers(
    ours: Tokenizer, tmp_path: Path
) -> None:
    ours.save(tmp_path)
    assert Tokenizer(tmp_path)(TEXTS) == ours(TEXTS)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(TEXTS, add_special_tokens=False)["input_ids"] == ours(TEXTS)


def test_tokenizer_of_a_bare_vocabulary_is_saved_with_the_same_ids(
    from_vocabulary: Tokenizer, tmp_path: Path
) -> None:
    from_vocabulary.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "vocab.txt"]
    assert Tokenizer(tmp_path)(TEXTS) == from_vocabulary(TEXTS)
    (tmp_path / "tokenizer.json").unlink()
    assert Tokenizer(tmp_path)(TEXTS) == from_vocabulary(TEXTS)


@pytest.mark.parametrize(
    "kept",
    [{"lowercase": False}, {"strip_accents": False}, {"handle_chinese_chars": False}],
    ids=lambda kept: next(iter(kept)),
)
def test_what_only_the_tokenizers_own_file_says_is_saved_where_transformers_looks_for_it(
    minilm: Path, tmp_path: Path, kept: dict[str, bool]
) -> None:
    told, saved = tmp_path / "told", tmp_path / "saved"
    told.mkdir()
    saved.mkdir()
    whole = json.loads((minilm / "tokenizer.json").read_text())
    whole["normalizer"] |= kept
    (told / "tokenizer.json").write_text(json.dumps(whole))
    ours = Tokenizer(told)
    ours.save(saved)
    (saved / "config.json").write_text('{"model_type": "bert"}')
    theirs = AutoTokenizer.from_pretrained(saved)
    assert theirs(TEXTS, add_special_tokens=False)["input_ids"] == ours(TEXTS)
    assert Tokenizer(saved)(TEXTS) == ours(TEXTS) != Tokenizer(minilm)(TEXTS)


def test_tokenizer_without_vocabulary_file_is_saved_with_one(minilm: Path, tmp_path: Path) -> None:
    bare, saved = tmp_path / "bare", tmp_path / "saved"
    bare.mkdir()
    saved.mkdir()
    shutil.copyfile(minilm / "tokenizer.json", bare / "tokenizer.json")
    Tokenizer(bare).save(saved)
    assert (saved / "vocab.txt").read_text() == (minilm / "vocab.txt").read_text()


# --- refusals ----------------------------------------------------------------------------------


def refusal(folder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        Tokenizer(folder)
    return str(caught.value)


def test_folder_without_tokenizer_files_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert str(tmp_path) in message
    assert "neither tokenizer.json nor vocab.txt" in message


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}'])
def test_damaged_tokenizer_file_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    assert str(tmp_path / "tokenizer.json") in refusal(tmp_path)


@pytest.mark.parametrize("missing", ["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
def test_vocabulary_without_a_special_token_is_refused(missing: str, tmp_path: Path) -> None:
    words = [word for word in [*SPECIAL, "a"] if word != missing]
    message = refusal(small_folder(tmp_path, words))
    assert str(tmp_path) in message
    assert missing in message


def test_damaged_configuration_is_refused_by_name(minilm: Path, tmp_path: Path) -> None:
    shutil.copyfile(minilm / "vocab.txt", tmp_path / "vocab.txt")
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert "tokenizer_config.json" in refusal(tmp_path)


# --- tokenizers that are not ours --------------------------------------------------------------


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("BertTokenizer", False),
        ("BertTokenizerFast", False),
        ("TokenizersBackend", False),
        ("BertJapaneseTokenizer", True),
        ("RobertaTokenizer", True),
        (["BertTokenizer"], True),
    ],
)
def test_a_class_that_cuts_words_otherwise_is_refused(
    tiny: Path, tmp_path: Path, file: str, name: object, refused: bool
) -> None:
    shutil.copyfile(tiny / "vocab.txt", tmp_path / "vocab.txt")
    (tmp_path / file).write_text(json.dumps({"tokenizer_class": name}))
    if refused:
        with pytest.raises(RecipeError, match="which is not supported"):
            Tokenizer(tmp_path)
    else:
        assert Tokenizer(tmp_path)(["good"]) == Tokenizer(tiny)(["good"])


def test_a_fast_class_is_what_its_own_file_says(tiny: Path, tmp_path: Path) -> None:
    Tokenizer(tiny).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizerFast"}')
    assert Tokenizer(tmp_path)(["good"]) == Tokenizer(tiny)(["good"])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(RecipeError, match="its tokenizer is a MPNetTokenizerFast"):
        Tokenizer(tmp_path)
