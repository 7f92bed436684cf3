"""Training speed: real tokens per second of fine-tuning MiniLM, against others' trainers."""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import measure, peer
from benchmarks.fitting import CFIMDB, QUORA, SST, DataSet, Fit, recipe_of
from benchmarks.limit import limit
from trivium.model.pretrained import find_checkpoint, read_config
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

DATA_SETS = {"sst": SST, "cfimdb": CFIMDB}
WARM_UP_BATCHES = 8
OURS = {f"ours_{precision}": precision for precision in sorted({"fp32", measure.LOW}, reverse=True)}
VARIANTS = OURS | {"trainer": "fp32", "trainer_best": measure.LOW}
"""Each with what it computes in."""
PEERS = ("trainer", "trainer_best")


@dataclass(frozen=True, slots=True)
class Measured:
    tokens: int
    """Trained on, padding not counted."""
    seconds: float
    preparing: float = 0.0
    """Seconds of these in which texts became padded numbers, where that is known."""

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main() -> None:
    given = _parser().parse_args()
    torch.set_num_threads(given.threads)
    peer.silence()
    data_set = _data_set(given)
    fit = Fit(given.data, data_set, batch_size=given.batch_size or data_set.batch_size)
    examples = choose(fit, given.batches)
    batches = -(-len(examples) // fit.batch_size)
    if given.one:
        print(json.dumps(asdict(_measure(given.one, fit, examples))))
        return
    say = measure.teller(given)
    rows = f"{len(examples):,} rows of {data_set.name} in {batches} batches"
    say(f"{rows}; {given.threads} threads")
    done: dict[str, list[Measured]] = {name: [] for name in VARIANTS}
    rates = {name: partial(_rate_in_child, name, given, done[name]) for name in VARIANTS}
    found = measure.Rates("tokens_per_s", measure.in_turn(rates, given.repetitions, say))
    tokens = {one.tokens for measured in done.values() for one in measured}
    assert len(tokens) == 1, f"both sides must train on the same tokens: {tokens}"
    say(found.table(PEERS))
    preparing = {name: median(m.preparing / m.seconds for m in done[name]) for name in PEERS}
    measure.last_line(
        {
            **{f"{of}_over_{over}": found.ratio(of, over) for of in OURS for over in PEERS},
            **found.values(),
            **_shares(found, round(tokens.pop() / batches), say),
            "data_set": data_set.name,
            "peer": "SentenceTransformerTrainer" if data_set.is_pairs else "Trainer",
            "peer_preparing_share": {n: round(s, 4) for n, s in preparing.items() if s},
            "batch_size": fit.batch_size,
            "batches": batches,
            "repetitions": given.repetitions,
            **measure.machine(),
        }
    )


def _parser() -> argparse.ArgumentParser:
    parser = measure.options(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--data-set", choices=DATA_SETS, default="sst", help="of single texts")
    which.add_argument("--pairs", action="store_true", help="Quora's, encoded apart")
    parser.add_argument("--batches", type=measure.positive, default=40)
    usual = ", ".join(f"{one.name}: {one.batch_size}" for one in (*DATA_SETS.values(), QUORA))
    parser.add_argument("--batch-size", type=measure.positive, help=f"rows; by default {usual}")
    parser.add_argument("--repetitions", type=measure.positive, default=3)
    parser.add_argument("--one", choices=VARIANTS, help="this variant once, as a JSON line")
    return parser


def _data_set(given: argparse.Namespace) -> DataSet:
    if not given.pairs:
        return DATA_SETS[given.data_set]
    if find_spec("datasets") is None:
        raise SystemExit(
            "--pairs: sentence-transformers trains only where `datasets` is installed: "
            "pip install datasets"
        )
    return QUORA


def choose(fit: Fit, batches: int) -> list[Example]:
    """Rows for so many batches, drawn from the training file (all of it, if it has no more)."""
    _, data = load_data(recipe_of(fit, "fp32"))
    examples = data[fit.data_set.task]["train"].examples
    wanted = min(batches * fit.batch_size, len(examples))
    return random.Random(fit.seed).sample(examples, wanted)


def _rate_in_child(name: str, given: argparse.Namespace, done: list[Measured]) -> float:
    """Tokens per second in a process of its own, so that no side runs in another's settings."""
    options = {"data": given.data, "threads": given.threads, "batches": given.batches}
    if given.batch_size:
        options["batch-size"] = given.batch_size
    told = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    told += ["--pairs"] if given.pairs else ["--data-set", given.data_set]
    command = [sys.executable, "-m", "benchmarks.training", "--one", name, *told]
    quiet = os.environ | {"TQDM_DISABLE": "1"}  # sentence-transformers shows a bar in any case
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    done.append(Measured(**json.loads(child.stdout.splitlines()[-1])))
    return done[-1].rate


def _shares(found: measure.Rates, tokens: int, say: measure.Tell) -> dict[str, Any]:
    """What share of its precision's limit each variant reaches. tokens: of a batch, on average."""
    config = read_config(find_checkpoint("minilm"))
    limits = {precision: limit(config, tokens, precision) for precision in OURS.values()}
    shares = {
        name: round(median(found.each[name]) / limits[precision].tokens_per_s, 3)
        for name, precision in VARIANTS.items()
    }
    for precision, one in limits.items():
        reached = [f"{n} {shares[n]:.0%}" for n, own in VARIANTS.items() if own == precision]
        products = f"{one.tokens_per_s:,.0f} tokens/s ({one.gflops:,.0f} GFLOP/s)"
        say(f"matrix products alone, {precision}: {products}; of it {', '.join(reached)}")
    return {
        "share_of_limit": shares,
        "limit_tokens_per_s": {name: round(one.tokens_per_s, 1) for name, one in limits.items()},
        "limit_gflops": {name: round(one.gflops, 1) for name, one in limits.items()},
        "limit_packed_products": {name: one.packed for name, one in limits.items()},
        "tokens_per_batch": tokens,
    }


# --- a variant ---------------------------------------------------------------------------------


def _measure(name: str, fit: Fit, examples: Sequence[Example]) -> Measured:
    """Train a fresh model on every row once, after a few batches to warm up; time the steps."""
    folder = find_checkpoint("minilm")

    def run(rows: Sequence[Example]) -> Measured:
        if name.startswith("ours"):
            return _ours(fit, rows, VARIANTS[name])
        train = _theirs_on_pairs if fit.data_set.is_pairs else _theirs
        return train(fit, folder, rows, name == "trainer_best")

    run(examples[: WARM_UP_BATCHES * fit.batch_size])
    return run(examples)


def _ours(fit: Fit, examples: Sequence[Example], precision: str) -> Measured:
    setup = _setup(fit, examples, precision)
    stage = setup.recipe.stages[0]
    plan = plan_stage(stage, setup.recipe, {fit.data_set.task: len(examples)})
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
    task = recipe.tasks[fit.data_set.task]
    packer = packer_for(task, tokenizer, model.encoder.config.max_position_embeddings)
    encoded = {task.name: encode(task, examples, TokenTable(tokenizer), packer)}
    return Setup(recipe, encoded, model, device)


def _theirs(fit: Fit, folder: Path, rows: Sequence[Example], best: bool) -> Measured:
    """Of `transformers`, which is given tokenised rows."""
    features, settings = peer.tokenize(folder, rows), peer.Settings()
    if best:
        features = peer.grouped(features, fit.batch_size, fit.seed)
        settings = peer.Settings(bf16=measure.LOW == "bf16", order="sequential")
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = peer.build_trainer(folder, fit, output_dir, features, settings)
        seconds = peer.seconds_of(trainer, -(-len(rows) // fit.batch_size))
    return Measured(sum(len(row["input_ids"]) for row in features), seconds)


def _theirs_on_pairs(fit: Fit, folder: Path, rows: Sequence[Example], best: bool) -> Measured:
    """Of sentence-transformers, which is given texts."""
    pairs = import_module("benchmarks.pairs")  # asks for a package that may be missing
    lengths, settings = pairs.lengths(folder, rows), peer.Settings()
    if best:
        rows = [rows[row] for row in pairs.grouped(lengths, fit.batch_size, fit.seed)]
        settings = peer.Settings(bf16=measure.LOW == "bf16", order="sequential")
    with tempfile.TemporaryDirectory() as output_dir:
        trainer, preparing = pairs.build_trainer(folder, fit, output_dir, rows, settings)
        seconds = peer.seconds_of(trainer, -(-len(rows) // fit.batch_size))
    return Measured(sum(map(sum, lengths)), seconds, preparing.seconds)


if __name__ == "__main__":
    main()
