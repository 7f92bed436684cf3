"""Runs of `benchmarks.defaults` as numbers: what every seed's run adds to a score with each row.

Standard errors are those of as many rows: the spread of what each row adds to the score, which of
an accuracy is 0 or 1, and of Pearson's r its influence (z_x z_y - r (z_x^2 + z_y^2) / 2; Hampel
1974). Of a difference they are those of both on the same rows, means over seeds.
"""

import csv
import json
from collections.abc import Mapping
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
    starts: int = 0
    """Runs that kept the model as it was before its first step."""

    def score(self, split: str) -> float:
        return float(self.value_SB[split].mean())

    def row_error(self, split: str) -> float:
        """The standard error by rows, of the mean over seeds."""
        return _error(self.value_SB[split].mean(0))

    def seed_error(self, split: str) -> float:
        """The standard error by seeds, of their mean."""
        return _error(self.value_SB[split].mean(1))

    def seed_spread(self, split: str) -> float:
        """The standard deviation over seeds, of one run's score."""
        return self.seed_error(split) * float(np.sqrt(len(self.value_SB[split])))

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


def chosen(tried: Mapping[str, Tried], split: str = "dev") -> str:
    """The variant with the best mean over seeds."""
    return max(tried, key=lambda variant: tried[variant].score(split))


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
                },
                sum(_kept_step(run) == 0 for run in runs),
            )
            for variant, runs in sorted(of_table.items(), key=lambda item: item[0] != DEFAULT)
        }
    return found, known


def _kept_step(scores: Path) -> int | None:
    step: int | None = (json.loads(scores.read_text()).get("selected") or {}).get("step")
    return step


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
