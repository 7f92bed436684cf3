"""The small tables on which `benchmarks.defaults` looks at the defaults.

All are rows of public *training* files, and of dev files where a set has its own; test files are
not read. `test` is held out of the training file: neither what is kept of a run nor what a search
chooses has seen it. No text of one split stands in another one.
"""

import csv
import hashlib
import random
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

Rows = list[dict[str, str]]
Splits = dict[str, Rows]

PAIR = ("sentence1", "sentence2")


class Table(NamedTuple):
    """Where a table's rows are from, and which of its columns are used."""

    train: str
    dev: str | None
    """None: held out of the training file."""
    text: tuple[str, ...] = ("sentence",)
    label: str = "label"
    rows: int = 1000
    """Training rows: 2,000 of sets with more than 10,000."""


TABLES = {
    "sst5": Table("cs224n/ids-sst-train.csv", "cs224n/ids-sst-dev.csv", label="sentiment"),
    "cfimdb": Table("cs224n/ids-cfimdb-train.csv", "cs224n/ids-cfimdb-dev.csv", label="sentiment"),
    "cola": Table("glue/cola-train.tsv", "glue/cola-dev.tsv"),
    "sst2": Table("glue/sst2-train.tsv", "glue/sst2-dev.tsv", rows=2000),
    "trec6": Table("other/trec6-train.tsv", None),
    "agnews": Table("other/agnews-train.tsv", None, rows=2000),
    "quora": Table("cs224n/quora-train.csv", "cs224n/quora-dev.csv", PAIR, "is_duplicate", 2000),
    "twitter": Table("other/twitter-url-train.tsv", None, PAIR, rows=2000),
    "mrpc": Table("glue/mrpc-train.tsv", "glue/mrpc-dev.tsv", PAIR),
    "qnli": Table("glue/qnli-train.tsv", "glue/qnli-dev.tsv", PAIR),
    "rte": Table("glue/rte-train.tsv", "glue/rte-dev.tsv", PAIR),
    "nli": Table("nli/train.tsv", "nli/dev.tsv", PAIR, rows=2000),
    "sts": Table("cs224n/sts-train.csv", "cs224n/sts-dev.csv", PAIR, "similarity"),
}
MADE = Table("", None, rows=462)
"""77 labels, of templates."""
JUDGED_ROWS = 1000
"""At most, of dev and of test each."""


def tables(data: Path, folder: Path) -> dict[str, Table]:
    """Write NAME-train.tsv, NAME-dev.tsv and NAME-test.tsv of every table. data: the public sets'
    folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in TABLES.items():
        dev = _shuffled(_read(data / table.dev, table)) if table.dev else []
        _write(folder, name, dealt(_shuffled(_read(data / table.train, table)), dev, table))
    made = _made(random.Random(0))
    ends = (0, MADE.rows, MADE.rows + 400, len(made))
    parts = (made[start:end] for start, end in pairwise(ends))
    _write(folder, "made77", dict(zip(("train", "dev", "test"), parts, strict=True)))
    return TABLES | {"made77": MADE}


def dealt(rows: Rows, dev: Rows, table: Table) -> Splits:
    """What is trained on, and judged on: test rows are the first of `rows`; so are dev rows, where
    a set has none of its own. Small sets give less to test."""
    dev, rows = (dev, rows) if dev else (rows[:JUDGED_ROWS], rows[JUDGED_ROWS:])
    dev = dev[:JUDGED_ROWS]
    rows = _apart(rows, dev, table)
    test = rows[: min(JUDGED_ROWS, len(rows) - table.rows)]
    return {"train": _apart(rows, test, table)[: table.rows], "dev": dev, "test": test}


def _apart(rows: Rows, others: Rows, table: Table) -> Rows:
    """The rows none of whose texts stands in the others."""
    texts = {row[column] for row in others for column in table.text}
    return [row for row in rows if texts.isdisjoint(row[column] for column in table.text)]


def _read(path: Path, table: Table) -> Rows:
    """Rows with an answer, whose texts are there; 0.0 as a label is 0."""
    columns = (*table.text, table.label)
    with open(path, encoding="utf-8", newline="") as file:
        rows = [
            {k: row[k].strip() for k in columns} for row in csv.DictReader(file, delimiter="\t")
        ]
    for row in rows:
        if table.label == "is_duplicate":
            row[table.label] = row[table.label].removesuffix(".0")
    return [row for row in rows if all(row.values())]


def _shuffled(rows: Rows) -> Rows:
    """In an order that depends on the rows alone."""
    return sorted(rows, key=lambda row: hashlib.sha256(repr(sorted(row.items())).encode()).digest())


def _write(folder: Path, name: str, splits: Splits) -> None:
    for split, rows in splits.items():
        with open(folder / f"{name}-{split}.tsv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)


# --- many labels --------------------------------------------------------------------------------

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
