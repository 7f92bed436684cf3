"""Readers fed with bytes that libFuzzer changes by what code they reach (`make fuzz-bytes`).

    python -m tests.fuzz.by_bytes READER FOLDER [options of libFuzzer]

READER is one of those below; FOLDER holds inputs, at first a sound one, and what is found goes
there. It ends at the first input that is neither read nor refused by a RecipeError; that is in a
file called crash-….
"""

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trivium"]):
    from trivium.errors import RecipeError
    from trivium.jsons import read_json
    from trivium.recipe import load_recipe
    from trivium.text.tables import open_table
    from trivium.text.tokenizer import Tokenizer

from tests.support.recipes import GOOD

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##s"]
TOKENIZER = {
    "version": "1.0", "added_tokens": [],
    "normalizer": {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
        "strip_accents": None, "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: place for place, piece in enumerate(PIECES)},
    },
}  # fmt: skip


def rows(path: Path) -> None:
    for _ in open_table(path):
        pass


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", None], "label": [0.5, float("nan")]}), stream)
    return stream.getvalue()


def tokenizer(path: Path) -> None:
    Tokenizer(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], object], Callable[[], bytes]]] = {
    "csv": ("table.csv", rows, lambda: b'text,label\n"a ""b""\n",1\n'),
    "tsv": ("table.tsv", rows, lambda: b"text\tlabel\nab\t1\n"),
    "jsonl": ("table.jsonl", rows, lambda: b'{"text": "a", "label": 1}\n'),
    "parquet": ("table.parquet", rows, parquet),
    "recipe": ("recipe.yaml", load_recipe, GOOD.encode),
    "json": ("config.json", read_json, lambda: b'{"a": [1, 2.5, null, "x"]}'),
    "vocabulary": ("vocab.txt", tokenizer, "\n".join(PIECES).encode),
    "tokenizer": ("tokenizer.json", tokenizer, lambda: json.dumps(TOKENIZER).encode()),
}
"""Name -> what its file is called, who reads it, and a sound one."""


def main() -> None:
    reader, folder, *options = sys.argv[1:]
    name, read, sound = READERS[reader]
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "sound").write_bytes(sound())
    # In memory, where there is such a place: every input is a file for the reader.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(dir=shared)) / name

    path.write_bytes(sound())
    read(path)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path)
        except RecipeError as error:
            if not str(error).strip():
                raise AssertionError("it was refused without a word") from error

    atheris.Setup([sys.argv[0], folder, f"-artifact_prefix={folder}/", *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
