"""Cost by rows: seconds and peak memory of `check`, `train` (fixed steps) and `predict` for made
tables of 10^4 to 10^7 rows; and the figure of `docs/big-tables.md`."""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.growth_figure import figure
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.pretrained import find_checkpoint, save_encoder
from trivium.text.tokenizer import Tokenizer

LABELS = ("praise", "complaint", "question", "other")
WORDS, FEWEST, MOST = 4000, 4, 16
"""Different words, and how many a text has."""
DEV_ROWS = 2000
LOOK_EVERY_S = 0.2


def main() -> None:
    given = _given()
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    if given.results.is_file():
        found = json.loads(given.results.read_text(encoding="utf-8"))
    encoder = made_encoder(given.out / "encoder")
    for rows in given.rows:
        home = given.out / str(rows)
        recipe = made_recipe(home, rows, encoder, given.steps)
        for name, seconds, memory in _measured(home, recipe, given.verbs):
            told = seconds | memory | (_first_step(home) if name in ("train", "again") else {})
            found.setdefault(given.name, {}).setdefault(name, {})[str(rows)] = told
            print(f"{given.name} {name} {rows:,} rows: {told}", flush=True)
            given.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if not given.keep:
            shutil.rmtree(home)
    if given.figure:
        given.figure.write_text(figure(found), encoding="utf-8")


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10**4, 10**5, 10**6])
    parser.add_argument("--verbs", nargs="*", default=["check", "train", "again", "predict"])
    parser.add_argument("--steps", type=int, default=20, help="of training")
    parser.add_argument("--name", default="now", help="of this series in the results")
    parser.add_argument("--out", type=Path, required=True, help="folder of tables and runs")
    parser.add_argument("--results", type=Path, required=True, help="JSON, added to")
    parser.add_argument("--figure", type=Path, help="SVG of all results")
    parser.add_argument("--keep", action="store_true", help="leave tables and runs there")
    return parser.parse_args()


# --- what is read --------------------------------------------------------------------------------


def made_encoder(folder: Path) -> Path:
    """Two narrow layers, drawn, behind the packaged MiniLM's tokenizer: here reading counts."""
    source = find_checkpoint("minilm")
    tokenizer = Tokenizer(source)
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=tokenizer.size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    folder.mkdir(exist_ok=True)
    save_encoder(Encoder(config), folder)
    tokenizer.save(folder)
    return folder


def made_recipe(home: Path, rows: int, encoder: Path, steps: int) -> Path:
    """A table of so many rows, the same for the same number, with dev rows and a recipe."""
    home.mkdir(parents=True, exist_ok=True)
    write_table(home / "train.csv", rows, seed=1)
    write_table(home / "dev.csv", DEV_ROWS, seed=2)
    values = {
        "encoder": str(encoder.resolve()),
        "data": ".",
        "precision": "fp32",
        "device": "cpu",
        "tasks": {
            "kind": {
                "kind": "classification",
                "text": "text",
                "label": "label",
                "train": "train.csv",
                "dev": "dev.csv",
            }
        },
        "stages": [{"steps": steps, "batch_size": 32, "evaluate_every": steps}],
    }
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def write_table(path: Path, rows: int, seed: int) -> None:
    """CSV: a number, a text of words of many lengths, some quoted for a comma, and a label."""
    draw = random.Random(seed)
    syllables = [*"aeiou", "ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "pra", "tre", "lin"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(WORDS)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("id,text,label\n")
        for number in range(rows):
            text = " ".join(draw.choices(words, k=draw.randint(FEWEST, MOST)))
            if number % 5 == 0:
                text = f'"{text}, {words[number % WORDS]}"'
            file.write(f"{number},{text},{LABELS[draw.randrange(4)]}\n")


# --- what is measured ----------------------------------------------------------------------------


def _measured(
    home: Path, recipe: Path, verbs: Sequence[str]
) -> Iterator[tuple[str, dict[str, float], dict[str, int]]]:
    """Each verb in a process of its own: its name, seconds by the clock and of all cores, and
    memory in MiB."""
    commands = {
        "check": ["check", str(recipe)],
        "train": ["train", str(recipe), "--out", str(home / "run"), "--overwrite"],
        "again": ["train", str(recipe), "--out", str(home / "run"), "--overwrite"],
        "predict": [
            "predict", str(home / "run"), "--all", "--file", str(home / "train.csv"),
            "--out", str(home / "answers.csv"), "--overwrite",
        ],
    }  # fmt: skip
    cache = home / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    for verb in verbs:
        if verb == "train":  # as it is the first time
            shutil.rmtree(cache, ignore_errors=True)
        log = home / f"{verb}.log"
        yield verb, *timed(["-m", "trivium", *commands[verb]], {"TRIVIUM_CACHE": str(cache)}, log)


def timed(
    arguments: Sequence[str], more: Mapping[str, str], log: Path
) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds of a Python process, and the most memory that it and its children held at once:
    `rss_mib` with the pages of files that are mapped, `anon_mib` without them."""
    begun, before = time.monotonic(), os.times()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=os.environ | more, stdout=file, stderr=file
        )
        most = {"rss_mib": 0, "anon_mib": 0}
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, most, over))
        watch.start()
        code = process.wait()
    after = os.times()
    seconds = {
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_s": round(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system,
            1,
        ),
    }
    over.set()
    watch.join()
    if code:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{log.read_text(encoding='utf-8')}")
    return seconds, most


def _watch(root: int, most: dict[str, int], over: threading.Event) -> None:
    while not over.wait(LOOK_EVERY_S):
        held = [_memory(process) for process in [root, *_children(root)]]
        for name in most:
            most[name] = max(most[name], sum(each.get(name, 0) for each in held) // 1024)


def _children(root: int) -> list[int]:
    try:
        text = Path(f"/proc/{root}/task/{root}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [one for child in text.split() for one in (int(child), *_children(int(child)))]


def _memory(process: int) -> dict[str, int]:
    """KiB."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return {}
    held = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return {"rss_mib": held.get("VmRSS", 0), "anon_mib": held.get("RssAnon", 0)}


def _first_step(home: Path) -> dict[str, float]:
    path = home / "run" / "scores.json"
    cost = json.loads(path.read_text(encoding="utf-8"))["cost"] if path.is_file() else {}
    return {"first_step_s": cost["first_step_s"]} if "first_step_s" in cost else {}


if __name__ == "__main__":
    main()
