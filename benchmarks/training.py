"""Training speed: real tokens per second of fine-tuning MiniLM on SST-5, against the Trainer."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks import measure, peer
from benchmarks.sst import TASK, Fit, recipe_of
from trivium.model.pretrained import find_checkpoint
from trivium.run.assembly.device import choose_precision
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode, packer_for
from trivium.run.rows.load import load_data
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import plan_stage
from trivium.run.training.state import Counters
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup
from trivium.text.packing import TokenTable
from trivium.types import Example

WARM_UP_BATCHES = 8
VARIANTS = ("ours_fp32", "ours_bf16", "trainer", "trainer_best")
PEERS = ("trainer", "trainer_best")


@dataclass(frozen=True, slots=True)
class Measured:
    tokens: int
    """Trained on, padding not counted."""
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--batches", type=measure.positive, default=40)
    parser.add_argument("--batch-size", type=measure.positive, default=32)
    parser.add_argument("--repetitions", type=measure.positive, default=3)
    parser.add_argument("--one", choices=VARIANTS, help="this variant once, as a JSON line")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    peer.silence()
    fit = Fit(given.data, batch_size=given.batch_size)
    examples = _choose(fit, given.batches)
    batches = -(-len(examples) // fit.batch_size)
    if given.one:
        print(json.dumps(asdict(_measure(given.one, fit, examples))))
        return
    say = measure.teller(given)
    say(f"{len(examples):,} rows of SST-5 in {batches} batches; {given.threads} threads")
    tokens: set[int] = set()
    rates = {name: partial(_rate_in_child, name, given, tokens) for name in VARIANTS}
    found = measure.Rates("tokens_per_s", measure.in_turn(rates, given.repetitions, say))
    assert len(tokens) == 1, f"both sides must train on the same tokens: {tokens}"
    say(found.table(PEERS))
    measure.last_line(
        {
            "ours_fp32_over_trainer": found.ratio("ours_fp32", "trainer"),
            "ours_bf16_over_trainer": found.ratio("ours_bf16", "trainer"),
            "ours_bf16_over_trainer_best": found.ratio("ours_bf16", "trainer_best"),
            **found.values(),
            "batch_size": fit.batch_size,
            "batches": batches,
            "repetitions": given.repetitions,
            **measure.machine(),
        }
    )


def _choose(fit: Fit, batches: int) -> list[Example]:
    """Rows for so many batches, drawn from the training file (all of it, if it has no more)."""
    _, data = load_data(recipe_of(fit, "fp32"))
    examples = data[TASK]["train"].examples
    wanted = min(batches * fit.batch_size, len(examples))
    return random.Random(fit.seed).sample(examples, wanted)


def _rate_in_child(name: str, given: argparse.Namespace, tokens: set[int]) -> float:
    """Tokens per second in a process of its own, so that no side runs in another's settings."""
    options = {"data": given.data, "threads": given.threads, "batches": given.batches}
    options["batch-size"] = given.batch_size
    told = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "benchmarks.training", "--one", name, *told]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    tokens.add(measured.tokens)
    return measured.rate


def _measure(name: str, fit: Fit, examples: Sequence[Example]) -> Measured:
    """Train a fresh model on every row once, after a few batches to warm up; time the steps."""
    folder = find_checkpoint("minilm")

    def run(rows: Sequence[Example]) -> Measured:
        if name.startswith("ours"):
            return _ours(fit, rows, name.removeprefix("ours_"))
        features = peer.tokenize(folder, rows)
        if name == "trainer":
            return _theirs(fit, folder, features, peer.Settings())
        best = peer.grouped(features, fit.batch_size, fit.seed)
        return _theirs(fit, folder, best, peer.Settings(bf16=True, order="sequential"))

    run(examples[: WARM_UP_BATCHES * fit.batch_size])
    return run(examples)


def _ours(fit: Fit, examples: Sequence[Example], precision: str) -> Measured:
    setup = _setup(fit, examples, precision)
    stage = setup.recipe.stages[0]
    plan = plan_stage(stage, setup.recipe, {TASK: len(examples)})
    state = start_stage(setup, stage, plan, Counters())
    began = time.perf_counter()
    while state.counters.step < plan.steps:
        train_step(setup, stage, plan, state)
        state.counters.step += 1
    return Measured(state.counters.tokens, time.perf_counter() - began)


def _setup(fit: Fit, examples: Sequence[Example], precision: str) -> Setup:
    """What `trivium.train` prepares before its first step."""
    keep_memory()
    recipe = recipe_of(fit, precision)
    device = torch.device("cpu")
    model, tokenizer = build(recipe)
    model.encoder.precision = choose_precision(recipe.precision, device)
    task = recipe.tasks[TASK]
    packer = packer_for(task, tokenizer, model.encoder.config.max_position_embeddings)
    encoded = {TASK: encode(task, examples, TokenTable(tokenizer), packer)}
    return Setup(recipe, encoded, model, device)


def _theirs(fit: Fit, folder: Path, features: peer.Features, settings: peer.Settings) -> Measured:
    clock = peer.StepClock(time.perf_counter)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = peer.build_trainer(folder, fit, output_dir, features, settings)
        trainer.add_callback(clock)
        trainer.train()
    batches = -(-len(features) // fit.batch_size)
    assert trainer.state.global_step == batches, "every row is seen once"
    return Measured(sum(len(row["input_ids"]) for row in features), clock.seconds)


if __name__ == "__main__":
    main()
