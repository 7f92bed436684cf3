"""Quality: accuracy on SST-5 dev after the same fine-tuning by us and by the Trainer."""

import json
import os
import tempfile
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console

import trivium
from benchmarks import measure, peer
from benchmarks.fitting import SST, Fit, recipe_of
from trivium.model.native import library
from trivium.model.pretrained import find_checkpoint
from trivium.run.folder.journal import read_journal
from trivium.run.rows.load import load_data


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning."""

    variant: str
    fit: Fit

    @property
    def key(self) -> dict[str, Any]:
        """What a run is known by in the file of results."""
        return {
            "variant": self.variant,
            "seed": self.fit.seed,
            "epochs": self.fit.epochs,
            "steps": self.fit.steps,
        }


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--seeds", type=measure.positive, default=3, help="from 0 on")
    parser.add_argument("--epochs", type=measure.positive, default=3)
    parser.add_argument("--steps", type=measure.positive, help="stop earlier: a try")
    parser.add_argument("--only", type=_variants, default=list(VARIANTS), metavar="A,B")
    parser.add_argument("--out", type=Path, help="file of results: a JSON object per run and line")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    peer.silence()
    say = measure.teller(given)
    fits = [
        Fit(given.data, epochs=given.epochs, steps=given.steps, seed=seed)
        for seed in range(given.seeds)
    ]
    done = _read(given.out)
    results = []
    # Seed by seed, so that what an interrupted program has done compares all variants.
    for run in [Run(variant, fit) for fit in fits for variant in given.only]:
        result = next((r for r in done if run.key.items() <= r.items()), None)
        if result is None:
            result = _result(run)
            _append(given.out, result)
        results.append(result)
        say(json.dumps(result))
    told = {name: _summary([r for r in results if r["variant"] == name]) for name in given.only}
    for name, summary in told.items():
        say(f"{name:<10} last {_spread(summary['last'])}, best {_spread(summary['best'])}")
    settings = {"seeds": given.seeds, "epochs": given.epochs, "steps": given.steps}
    names = {name.replace("-", "_"): summary for name, summary in told.items()}
    measure.last_line(names | settings | measure.machine())


def _variants(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in VARIANTS:
            raise ArgumentTypeError(f"{name!r} is none of {', '.join(VARIANTS)}")
    return names


# --- one run -----------------------------------------------------------------------------------


def _result(run: Run) -> dict[str, Any]:
    began = time.perf_counter()
    accuracies = [round(accuracy, 5) for accuracy in VARIANTS[run.variant](run.fit)]
    return run.key | {
        "accuracy": accuracies,
        "last": accuracies[-1],
        "best": max(accuracies),
        "seconds": round(time.perf_counter() - began, 1),
    }


def _ours(precision: str, fit: Fit, *, kernels: bool = True) -> list[float]:
    """Dev accuracy after each epoch, from the journal of a run."""
    os.environ[library.SWITCH] = "1" if kernels else "0"
    if kernels and precision == "bf16":  # else PyTorch would compute what is told as theirs
        found = library.library()
        assert found is not None, "there are no kernels here"
        assert found.form.numbers == torch.bfloat16, "the kernels here compute in fp32"
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        trivium.train(recipe_of(fit, precision), run_dir, console=Console(quiet=True))
        return [
            float(event["scores"][SST.task]["dev"]["accuracy"])
            for event in read_journal(run_dir)
            if event["event"] == "evaluation"
        ]


def _theirs(settings: peer.Settings, fit: Fit) -> list[float]:
    _, data = load_data(recipe_of(fit, "fp32"))
    folder = find_checkpoint("minilm")
    train, dev = (
        peer.tokenize(folder, data[SST.task][split].examples) for split in ("train", "dev")
    )
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = peer.build_trainer(folder, fit, output_dir, train, settings)
        judge = peer.EpochJudge(trainer, dev)
        trainer.add_callback(judge)
        trainer.train()
    return judge.accuracies


# --- results -----------------------------------------------------------------------------------


def _read(out: Path | None) -> list[dict[str, Any]]:
    """Runs that are done; a last line cut short by a crash is left out."""
    if out is None or not out.is_file():
        return []
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _append(out: Path | None, result: dict[str, Any]) -> None:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def _summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds (n - 1), of the last epoch and of the best one."""
    told: dict[str, Any] = {}
    for which in ("last", "best"):
        values = [float(result[which]) for result in results]
        deviation = round(stdev(values), 5) if len(values) > 1 else None
        told[which] = {"mean": round(mean(values), 5), "std": deviation, "each": values}
    return told


def _spread(values: dict[str, Any]) -> str:
    deviation = "" if values["std"] is None else f" ± {values['std']:.4f}"
    return f"{values['mean']:.4f}{deviation}"


VARIANTS: dict[str, Callable[[Fit], list[float]]] = {
    "ours-fp32": partial(_ours, "fp32"),
    "ours-bf16": partial(_ours, "bf16"),
    "ours-bf16-plain": partial(_ours, "bf16", kernels=False),
    "trainer": partial(_theirs, peer.Settings()),
    "trainer-best": partial(_theirs, peer.Settings(bf16=True, order="group_by_length")),
}

if __name__ == "__main__":
    main()
