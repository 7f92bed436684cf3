"""Are the untouched defaults good enough? Small tables, and a small search on each.

    python benchmarks/defaults.py tables --data ../shared/data --out runs/defaults/data
    python benchmarks/defaults.py train --data runs/defaults/data --out runs/defaults/runs
    python benchmarks/defaults.py show --out runs/defaults/runs

`tables` takes rows of training files only: what is judged on is held out of them, but where a set
has dev rows of its own. `train` goes on where it was stopped. VARIANTS are what is tried.
"""

import argparse
import csv
import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import trivium

Rows = list[dict[str, str]]

ONE, PAIR = "sentence", ["sentence1", "sentence2"]
TABLES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    # name -> training file, dev file (None: held out of the training file), task
    "sst5": ("cs224n/ids-sst-train.csv", "cs224n/ids-sst-dev.csv", {"label": "sentiment"}),
    "cfimdb": ("cs224n/ids-cfimdb-train.csv", "cs224n/ids-cfimdb-dev.csv",
               {"label": "sentiment", "max_length": 64}),
    "quora": ("cs224n/quora-train.csv", "cs224n/quora-dev.csv",
              {"label": "is_duplicate", "text": PAIR, "bad_rows": "skip"}),
    "sts": ("cs224n/sts-train.csv", "cs224n/sts-dev.csv",
            {"kind": "regression", "label": "similarity", "text": PAIR, "range": [0, 5]}),
    "cola": ("glue/cola-train.tsv", "glue/cola-dev.tsv", {}),
    "mrpc": ("glue/mrpc-train.tsv", "glue/mrpc-dev.tsv", {"text": PAIR}),
    "sst2": ("glue/sst2-train.tsv", "glue/sst2-dev.tsv", {}),
    "trec6": ("other/trec6-train.tsv", None, {}),
    "agnews": ("other/agnews-train.tsv", None, {}),
}  # fmt: skip
MADE = "made77"


# --- tables -------------------------------------------------------------------------------------


def make_tables(data: Path, out: Path, train_rows: int, dev_rows: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, (train, dev, _) in TABLES.items():
        rows = _shuffled(_read(data / train))
        held = _shuffled(_read(data / dev))[:dev_rows] if dev else rows[-dev_rows:]
        kept = rows[:train_rows] if dev else rows[:-dev_rows][:train_rows]
        _write(out / f"{name}-train.tsv", kept)
        _write(out / f"{name}-dev.tsv", held)
    made = _made(random.Random(0))
    _write(out / f"{MADE}-train.tsv", made[: 6 * 77])
    _write(out / f"{MADE}-dev.tsv", made[6 * 77 :][:dev_rows])


def _read(path: Path) -> Rows:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {k or "row": v for k, v in row.items()} for row in csv.DictReader(file, delimiter="\t")
        ]


def _shuffled(rows: Rows) -> Rows:
    """In an order that depends on the rows alone."""
    return sorted(rows, key=lambda row: hashlib.sha256(repr(sorted(row.items())).encode()).digest())


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    rows = list(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


THINGS = ["card", "parcel", "invoice", "password", "account", "refund", "subscription", "phone",
          "booking", "router", "voucher"]  # fmt: skip
WISHES = {
    "lost": ["my {} is gone", "I cannot find my {}", "someone took my {}", "the {} has vanished"],
    "order": ["I would like a new {}", "how do I get another {}", "send me one more {}",
              "where do I apply for a {}"],
    "cancel": ["please cancel my {}", "I do not want the {} any longer", "stop my {}",
               "how can I get rid of the {}"],
    "when": ["when will my {} come", "how long does the {} take", "is there news of my {}",
             "I still wait for the {}"],
    "change": ["I want to change my {}", "my {} has a wrong detail", "can you correct the {}",
               "update my {} please"],
    "broken": ["the {} does not work", "there is an error with my {}", "my {} is faulty",
               "nothing happens with the {}"],
    "price": ["what does the {} cost", "I paid too much for my {}", "is the {} free",
              "how much is a {}"],
}  # fmt: skip
BEFORE = ["", "hello, ", "hi there, ", "sorry to bother you: ", "good morning. ", "quick one, "]
AFTER = ["", ", thanks", ". I asked about my {} last week", ". my {} is fine by the way",
         ", it is urgent", ". your colleague spoke of a {}"]  # fmt: skip


def _made(draw: random.Random) -> Rows:
    """77 labels (11 things x 7 wishes), 20 rows each, no text twice."""
    rows: dict[str, str] = {}
    for thing in THINGS:
        for wish, ways in WISHES.items():
            texts: set[str] = set()
            while len(texts) < 20:
                after = draw.choice(AFTER).format(draw.choice(THINGS))
                texts.add(draw.choice(BEFORE) + draw.choice(ways).format(thing) + after)
            rows |= dict.fromkeys(sorted(texts), f"{thing}_{wish}")
    made = [{"sentence": text, "label": label} for text, label in rows.items()]
    draw.shuffle(made)
    return made


# --- runs ---------------------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "untouched": {},
    **{
        f"heads {heads:g}, {epochs} epochs": {"lr": {"heads": heads}, "epochs": epochs}
        for heads in (1e-3, 3e-3, 1e-2)
        for epochs in (3, 6)
    },
    "start probe, heads 0.001": {"lr": {"heads": 1e-3}, "head": {"start": "probe"}},
    "start probe, heads 0.01": {"lr": {"heads": 1e-2}, "head": {"start": "probe"}},
    "heads 0.01, encoder 1e-4": {"lr": {"heads": 1e-2, "encoder": 1e-4}},
    "heads 0.01, encoder 2e-5": {"lr": {"heads": 1e-2, "encoder": 2e-5}},
}


def train(data: Path, out: Path, names: Sequence[str], variants: Sequence[str], seed: int) -> None:
    for name in names:
        for variant in variants:
            folder = out / name / f"{variant.replace(' ', '_')}-{seed}"
            if (folder / "scores.json").is_file():
                continue
            trivium.train(_recipe(data, name, variant, seed), folder, overwrite=folder.exists())


def _recipe(data: Path, name: str, variant: str, seed: int) -> dict[str, Any]:
    task = {"kind": "classification", "text": ONE, "label": "label"}
    task |= TABLES[name][2] if name in TABLES else {}
    task |= {split: f"{name}-{split}.tsv" for split in ("train", "dev")}
    stage = dict(VARIANTS[variant])
    if head := stage.pop("head", None):
        is_pair = name in TABLES and TABLES[name][2].get("text") == PAIR
        task["head"] = head | {"kind": "concat" if is_pair else "linear"}
    return {"data": str(data), "tasks": {name: task}, "stages": [stage], "seed": seed}


def show(out: Path) -> None:
    """A line per table: the mean over seeds of the main metric, by variant, and the probe's."""
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        found: dict[str, list[float]] = {}
        for path in sorted(folder.glob("*/scores.json")):
            content = json.loads(path.read_text())
            variant = path.parent.name.rpartition("-")[0].replace("_", " ")
            known = content["baselines"][folder.name]
            dev, probe = content["tasks"][folder.name]["dev"], known["probe"]["scores"]["dev"]
            found.setdefault(variant, []).append(dev[known["metric"]])
            found["probe"] = [probe[known["metric"]]]
        shown = ", ".join(f"{k}: {sum(v) / len(v):.4f} ({len(v)})" for k, v in found.items())
        print(f"{folder.name}: {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["tables", "train", "show"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables", nargs="*", default=[*TABLES, MADE])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--rows", type=int, nargs=2, default=(1000, 800), help="train, dev")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    given = parser.parse_args()
    if given.what == "tables":
        make_tables(given.data, given.out, *given.rows)
    elif given.what == "show":
        show(given.out)
    for seed in given.seeds if given.what == "train" else []:
        train(given.data, given.out, given.tables, given.variants, seed)


if __name__ == "__main__":
    main()
