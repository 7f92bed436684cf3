"""What runs of `benchmarks.defaults` say: the untouched defaults beside the best of a search.

A search chooses the variant with the best mean on dev, and is judged on test rows, which had no say
in that nor in which step of a run was kept. Standard errors are those of as many rows: the spread
of what each row adds to the score, which of an accuracy is 0 or 1, and of Pearson's r its influence
(z_x z_y - r (z_x^2 + z_y^2) / 2; Hampel 1974). Of a difference they are those of both on the same
rows, means over seeds.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

DEFAULT = "default"
BETWEEN = "--"
"""In the name of a recipe: TABLE--VARIANT."""
SPLITS = ("dev", "test")


@dataclass(frozen=True)
class Tried:
    """A variant on a table: what its seeds' runs score."""

    value_SB: Mapping[str, Numbers]
    """By split, of each seed and row what the row adds to the score, which is their mean."""

    def score(self, split: str) -> float:
        return float(self.value_SB[split].mean())

    def row_error(self, split: str) -> float:
        """The standard error by rows, of the mean over seeds."""
        return _error(self.value_SB[split].mean(0))

    def seed_error(self, split: str) -> float:
        """The standard error by seeds, of their mean."""
        return _error(self.value_SB[split].mean(1))

    def beyond(self, other: "Tried", split: str) -> tuple[float, float]:
        """How much better than another, and the standard error of that by rows."""
        difference_B = self.value_SB[split].mean(0) - other.value_SB[split].mean(0)
        return float(difference_B.mean()), _error(difference_B)


@dataclass(frozen=True)
class Known:
    """What is known of a table before any variant: of its default's first run."""

    metric: str
    probe: Mapping[str, float]
    usual: Mapping[str, float]
    train_rows: int


def show(folder: Path) -> str:
    """Three tables in Markdown, of all runs below a folder: FOLDER/TABLE--VARIANT/seed-K."""
    found, known = read(folder)
    lines = [
        "| table | train | test | usual | probe | default | chosen on dev | of them | difference | "
        "best on test | seeds ± |",
        "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|",
        *(_line(name, tried, known[name]) for name, tried in found.items()),
        "",
        *_judgement(found, known),
    ]
    for split in SPLITS:
        lines += ["", *_all_of(found, split)]
    return "\n".join(lines)


def chosen(tried: Mapping[str, Tried], split: str = "dev") -> str:
    """The variant with the best mean over seeds."""
    return max(tried, key=lambda variant: tried[variant].score(split))


# --- read ---------------------------------------------------------------------------------------


def read(folder: Path) -> tuple[dict[str, dict[str, Tried]], dict[str, Known]]:
    """By table and variant; tables without a run of the default are left out."""
    paths: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.glob(f"*{BETWEEN}*/seed-*/scores.json")):
        table, _, variant = path.parent.parent.name.partition(BETWEEN)
        paths.setdefault(table, {}).setdefault(variant, []).append(path)
    found, known = {}, {}
    for table, of_table in paths.items():
        if DEFAULT not in of_table:
            continue
        known[table] = _known(table, json.loads(of_table[DEFAULT][0].read_text()))
        found[table] = {
            variant: Tried(
                {
                    split: np.stack([_values(run.parent, table, split) for run in runs])
                    for split in SPLITS
                }
            )
            for variant, runs in sorted(of_table.items(), key=lambda item: item[0] != DEFAULT)
        }
    return found, known


def _known(table: str, scores: Mapping[str, Any]) -> Known:
    baselines = scores["baselines"][table]
    metric, probe = baselines["metric"], baselines["probe"]
    return Known(
        metric,
        {split: probe["scores"][split][metric] for split in SPLITS},
        {split: baselines["majority"][split][metric] for split in SPLITS},
        probe["of_rows"],
    )


def _values(run: Path, table: str, split: str) -> Numbers:
    """What each row adds to the score."""
    with open(run / "predictions" / f"{table}-{split}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if any(column.startswith("probability_") for column in rows[0]):
        return np.array([row["label"] == row["prediction"] for row in rows], dtype=np.float64)
    true_B, said_B = (
        np.array([float(row[column]) for row in rows])
        for column in ("label", "raw" if "raw" in rows[0] else "prediction")
    )
    true_B, said_B = ((part - part.mean()) / part.std() for part in (true_B, said_B))
    r = float((true_B * said_B).mean())
    # The mean of the influence is 0, so that the mean of this is r.
    influence_B: Numbers = true_B * said_B - r * (true_B**2 + said_B**2) / 2
    return r + influence_B


def _error(values: Numbers) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


# --- told ---------------------------------------------------------------------------------------


def _line(name: str, tried: Mapping[str, Tried], known: Known) -> str:
    default, dev_best, best = tried[DEFAULT], chosen(tried), chosen(tried, "test")
    beyond, error = tried[dev_best].beyond(default, "test")
    rows = default.value_SB["test"].shape[1]
    cells = [
        name,
        f"{known.train_rows:,}",
        f"{rows:,}",
        f"{known.usual['test']:.4f}",
        f"{known.probe['test']:.4f}",
        f"{default.score('test'):.4f} ±{default.row_error('test'):.3f}",
        dev_best,
        f"{tried[dev_best].score('test'):.4f}",
        f"{beyond:+.4f} ±{error:.3f}",
        f"{best} {tried[best].score('test'):.4f}",
        f"{default.seed_error('test'):.4f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _judgement(
    found: Mapping[str, Mapping[str, Tried]], known: Mapping[str, Known]
) -> Iterator[str]:
    """How often the defaults are good enough."""
    for split in ("test", "dev"):
        below, behind, behind_best = [], [], []
        for name, tried in found.items():
            default = tried[DEFAULT]
            ours, error = default.score(split), default.row_error(split)
            below += [name] if ours < known[name].probe[split] else []
            behind += [name] if ours < tried[chosen(tried)].score(split) - error else []
            behind_best += [name] if ours < tried[chosen(tried, split)].score(split) - error else []
        for words, names in (
            ("below the probe", below),
            ("more than a standard error below what is chosen on dev", behind),
            (f"more than a standard error below the best on {split} (flattered)", behind_best),
        ):
            yield f"{split}: {words}: {len(names)} of {len(found)}: {', '.join(names) or 'none'}"


def _all_of(found: Mapping[str, Mapping[str, Tried]], split: str) -> Iterator[str]:
    """A row per table, a column per variant; at the end the mean difference to the default."""
    variants = list(dict.fromkeys(variant for tried in found.values() for variant in tried))
    yield f"| {split} | " + " | ".join(variants) + " |"
    yield "|---" + "|--:" * len(variants) + "|"
    for name, tried in found.items():
        cells = (f"{tried[v].score(split):.4f}" if v in tried else "–" for v in variants)
        yield f"| {name} | " + " | ".join(cells) + " |"
    means = []
    for variant in variants:
        beyond = [t[variant].beyond(t[DEFAULT], split)[0] for t in found.values() if variant in t]
        means.append(f"{np.mean(beyond):+.4f} ({len(beyond)})")
    yield "| mean over the default | " + " | ".join(means) + " |"
