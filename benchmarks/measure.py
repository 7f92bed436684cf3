"""Timing in turn, and what is said of it: medians, ranges, tables, one line of JSON."""

import argparse
import gc
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from statistics import median
from typing import Any

import torch

from benchmarks.inputs import DATA
from trivium.run.assembly.device import choose_precision, precision_name

Tell = Callable[[str], None]
"""Says a line to whoever watches."""

LOW = precision_name(choose_precision("auto", torch.device("cpu")))
"""The lowest precision that is of use here: fp32 where the processor does not multiply in bf16."""

_PACKAGES = ("trivium", "torch", "transformers", "sentence-transformers", "accelerate")
_OTHERS = ("datasets", "openvino", "onnxruntime")
"""Told of where they are there."""


def options(purpose: str) -> argparse.ArgumentParser:
    """The options that all programs share."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the CS224N files")
    parser.add_argument("--threads", type=positive, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json-only", action="store_true", help="print the last line only")
    return parser


def positive(text: str) -> int:
    """An option's whole number, at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {number}")
    return number


def teller(given: argparse.Namespace) -> Tell:
    """Prints a line at once, or nothing under `--json-only`."""
    return (lambda _: None) if given.json_only else partial(print, flush=True)


def in_turn(
    rates: Mapping[str, Callable[[], float]], repetitions: int, tell: Tell
) -> dict[str, list[float]]:
    """Each variant's rates; all variants are run once before any is run again.

    A machine that slows down for a minute then slows all of them.
    """
    found: dict[str, list[float]] = {name: [] for name in rates}
    for repetition in range(1, repetitions + 1):
        for name, rate in rates.items():
            gc.collect()
            found[name].append(rate())
            tell(f"{repetition}/{repetitions} {name}: {found[name][-1]:,.0f}")
    return found


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of each variant, one per repetition."""

    unit: str
    each: Mapping[str, Sequence[float]]

    def ratio(self, of: str, over: str) -> float:
        """Median over median."""
        return round(median(self.each[of]) / median(self.each[over]), 3)

    def values(self) -> dict[str, Any]:
        """Medians, and the lowest and highest, for the line of JSON."""
        medians = {f"{n}_{self.unit}": round(median(r), 1) for n, r in self.each.items()}
        ranges = {n: [round(min(r), 1), round(max(r), 1)] for n, r in self.each.items()}
        return medians | {"min_max": ranges}

    def table(self, peers: Sequence[str]) -> str:
        """One line per variant, with its ratio to each peer."""
        title = f"{self.unit.replace('_per_', '/'):<16}{'median':>10}{'min':>10}{'max':>10}"
        lines = [title + "".join(f"  x {peer}" for peer in peers)]
        for name, rates in self.each.items():
            figures = (median(rates), min(rates), max(rates))
            line = f"{name:<16}" + "".join(f"{figure:>10,.0f}" for figure in figures)
            for peer in peers:
                line += f"{self.ratio(name, peer):>{len(peer) + 4}.2f}"
            lines.append(line)
        return "\n".join(lines)


def machine() -> dict[str, Any]:
    """On what it was measured, and with which versions."""
    versions = {"python": python_version()} | {name: version(name) for name in _PACKAGES}
    for name in _OTHERS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {"threads": torch.get_num_threads(), "versions": versions}


def last_line(values: Mapping[str, Any]) -> None:
    """For programs that read the output's last line."""
    print(json.dumps(values), flush=True)
