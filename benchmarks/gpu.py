"""On a GPU: tokens per second of fine-tuning, and texts per second of prediction, against others.

Everything runs in this one process, in turns: each side trains some batches, then the next one
does. The peer is `transformers.Trainer` in bf16 with rows grouped by length and its batches made by
other processes, with PyTorch's fused attention; where it is asked for, compiled as well.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import measure, peer
from benchmarks.fitting import CFIMDB, QUORA, SST, Fit, recipe_of
from benchmarks.kernels import kernels
from benchmarks.limit import products
from benchmarks.training import choose
from trivium.model.encoder import EncoderConfig
from trivium.model.graphs import SWITCH
from trivium.model.pretrained import find_checkpoint, read_config
from trivium.run.assembly.model import build
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.encoded import encode, packer_for
from trivium.run.training.ahead import Later
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import plan_stage
from trivium.run.training.state import Counters
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup
from trivium.text.packing import TokenTable
from trivium.types import Example

CUDA = torch.device("cuda")
CASES = {
    "sst-32": (SST, 32), "sst-256": (SST, 256), "cfimdb-16": (CFIMDB, 16), "quora-32": (QUORA, 32),
}  # fmt: skip
OURS = {"ours": "all", "ours_layers": "layers", "ours_without_graphs": "0"}
"""What TRIVIUM_GRAPHS says."""
BASE = EncoderConfig()
"""BERT-base, whose weights may be any."""
SQUARE = 8192


@dataclass(frozen=True, slots=True)
class Trained:
    """Batches of one side in one turn."""

    tokens: int
    seconds: float
    steps: int
    cpu_s: float = 0.0
    """Spent in steps themselves, and not in waiting for their numbers; of ours alone."""


def main() -> None:
    given = _parser().parse_args()
    peer.silence()
    say = partial(print, flush=True)
    peak = _square_rate()
    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {SQUARE} x {SQUARE} products "
        f"in bf16 at {peak / 1e12:,.0f} TFLOP/s")  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        for name in given.cases:
            for encoder in given.encoders:
                folder = _checkpoint(encoder, Path(home))
                found = _training(name, folder, given, say)
                print(json.dumps({"case": name, "encoder": encoder, **found}), flush=True)
    if given.predict:
        print(json.dumps({"case": "prediction", **_prediction(given, say)}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = measure.options(__doc__)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=[*CASES])
    parser.add_argument("--encoders", nargs="+", choices=("minilm", "base"), default=["minilm"])
    parser.add_argument("--batches", type=measure.positive, default=40, help="of a turn")
    parser.add_argument("--repetitions", type=measure.positive, default=3)
    parser.add_argument("--compiled", action="store_true", help="the peer also compiled")
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--profile", action="store_true", help="also what the GPU does in a step")
    parser.add_argument("--predict", type=measure.positive, metavar="TEXTS")
    return parser


def now() -> float:
    """Seconds, when the GPU has done what it was told."""
    torch.cuda.synchronize()
    return time.perf_counter()


# --- training ----------------------------------------------------------------------------------


def _training(
    name: str, folder: Path, given: argparse.Namespace, say: measure.Tell
) -> dict[str, Any]:
    data_set, batch_size = CASES[name]
    fit = Fit(given.data, data_set, epochs=1000, batch_size=batch_size)
    rows = choose(fit, given.batches)
    sides: dict[str, Callable[[], Trained]] = {
        one: _ours(fit, folder, rows, given.batches, switch) for one, switch in OURS.items()
    }
    if not given.alone and not data_set.is_pairs:
        sides["trainer_best"] = _theirs(fit, folder, rows, compiled=False)
        if given.compiled:
            sides["trainer_compiled"] = _theirs(fit, folder, rows, compiled=True)
    for side in [*sides.values(), *sides.values()]:
        side()  # kernels, memory, graphs
    turns: dict[str, list[Trained]] = {one: [] for one in sides}
    rates = {one: partial(_rate, side, turns[one]) for one, side in sides.items()}
    found = measure.Rates("tokens_per_s", measure.in_turn(rates, given.repetitions, say))
    say(found.table([side for side in sides if side.startswith("trainer")]))
    steps = {one: _step_ms(each) for one, each in turns.items()}
    for one, (step_ms, cpu_ms) in steps.items():
        say(f"{one:<20}{step_ms:8.3f} ms a step" + (f", {cpu_ms:.3f} of Python" if cpu_ms else ""))
    if given.profile:
        say(f"{name}, ours:\n{kernels(sides['ours'], given.batches)}")
    tokens = round(sum(len(ids) for ids in _ids(folder, rows)) / given.batches)
    limit = _limit(read_config(folder), tokens)
    config = read_config(folder)
    flops = sum(p.flops for p in products(config, tokens)) * config.num_hidden_layers / tokens
    return {
        **found.values(),
        "ours_over": {o: found.ratio("ours", o) for o in sides if o != "ours"},
        "step_ms_cpu_ms": steps,
        "tokens_per_batch": tokens,
        "limit_tokens_per_s": round(limit),
        "share_of_limit": {n: round(median(r) / limit, 3) for n, r in found.each.items()},
        "tflops": {n: round(median(r) * flops / 1e12, 1) for n, r in found.each.items()},
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }


def _rate(side: Callable[[], Trained], turns: list[Trained]) -> float:
    done = side()
    turns.append(done)
    return done.tokens / done.seconds


def _step_ms(turns: Sequence[Trained]) -> tuple[float, float]:
    """Milliseconds of a step, and of the processor in it: medians over turns."""
    return (
        round(median(1000 * turn.seconds / turn.steps for turn in turns), 3),
        round(median(1000 * turn.cpu_s / turn.steps for turn in turns), 3),
    )


def _ids(folder: Path, rows: Sequence[Example]) -> list[list[int]]:
    single = [replace(row, texts=(text,)) for row in rows for text in row.texts]
    return [each["input_ids"] for each in peer.tokenize(folder, single)]


def _ours(
    fit: Fit, folder: Path, rows: Sequence[Example], batches: int, switch: str
) -> Callable[[], Trained]:
    recipe = recipe_of(fit, "bf16", device="cuda", encoder=str(folder))
    model, tokenizer = build(recipe)
    model.to(CUDA).encoder.precision = torch.bfloat16
    task = recipe.tasks[fit.data_set.task]
    packer = packer_for(task, tokenizer, model.encoder.config.max_position_embeddings)
    encoded = {task.name: encode(task, rows, TokenTable(tokenizer), packer)}
    setup = Setup(recipe, encoded, model, CUDA)
    stage = recipe.stages[0]
    plan = plan_stage(stage, recipe, {task.name: len(rows)})
    state = start_stage(setup, stage, plan, Counters())

    def turn() -> Trained:
        os.environ[SWITCH] = switch
        before, began, cpu_s = state.counters.tokens, now(), 0.0
        done: Any = None
        for _ in range(batches):
            cpu = time.process_time()
            last, done = done, train_step(setup, stage, plan, state)
            cpu_s += time.process_time() - cpu
            if isinstance(last, Later):
                last.facts()  # as the loop does, a step late
            state.counters.step += 1
        return Trained(state.counters.tokens - before, now() - began, batches, cpu_s)

    return turn


def _theirs(
    fit: Fit, folder: Path, rows: Sequence[Example], *, compiled: bool
) -> Callable[[], Trained]:
    fit = replace(fit, epochs=1)
    features = peer.grouped(peer.tokenize(folder, rows), fit.batch_size, fit.seed)
    settings = peer.Settings(
        bf16=True, order="sequential", device="cuda", compiled=compiled, workers=4
    )
    home = tempfile.mkdtemp()
    trainer = peer.build_trainer(folder, fit, home, features, settings)
    tokens = sum(len(row["input_ids"]) for row in features)
    steps = -(-len(rows) // fit.batch_size)
    return lambda: Trained(tokens, peer.seconds_of(trainer, steps, now), steps)


# --- limits ------------------------------------------------------------------------------------


def _square_rate() -> float:
    """Operations per second of a large product."""
    left, right = (torch.randn(SQUARE, SQUARE, device=CUDA, dtype=torch.bfloat16) for _ in "ab")
    return 2 * SQUARE**3 / _seconds(lambda: left @ right)


def _limit(config: EncoderConfig, tokens: int) -> float:
    """Tokens per second, if a step were nothing but its layers' products, in these very shapes."""
    total = 0.0
    for product in products(config, tokens):
        left, right = (part.to(CUDA) for part in product.operands(torch.bfloat16))
        total += _seconds(partial(torch.mm, left, right))
    return tokens / (total * config.num_hidden_layers)


def _seconds(work: Callable[[], Tensor], times: int = 20) -> float:
    """Median of a kernel's seconds, launched from a graph, so that launching costs nothing."""
    for _ in range(3):
        work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            work()
    found = []
    for _ in range(7):
        began = now()
        graph.replay()
        found.append((now() - began) / times)
    return median(found)


# --- prediction --------------------------------------------------------------------------------


def _prediction(given: argparse.Namespace, say: measure.Tell) -> Mapping[str, Any]:
    from sentence_transformers import SentenceTransformer

    rows = choose(Fit(given.data, QUORA, batch_size=1), given.predict // 2)
    texts = [text for row in rows for text in row.texts]
    folder = find_checkpoint("minilm")
    recipe = recipe_of(Fit(given.data, SST), "bf16", device="cuda", encoder=str(folder))
    model, tokenizer = build(recipe)
    model.to(CUDA).encoder.precision = torch.bfloat16
    predictor = TorchPredictor(model, recipe.tasks, tokenizer)
    low = {"dtype": torch.bfloat16}
    theirs = SentenceTransformer(str(folder), device="cuda", model_kwargs=low)
    embeds: dict[str, Callable[[], Tensor]] = {
        "ours": partial(_pooled, predictor, texts),
        "st_bf16": lambda: torch.from_numpy(
            theirs.encode(texts, show_progress_bar=False, batch_size=256)
        ),
    }
    vectors = {name: embed() for name, embed in embeds.items()}
    cosine = torch.cosine_similarity(vectors["ours"].double(), vectors["st_bf16"].double())

    def rate(embed: Callable[[], Tensor]) -> float:
        began = now()
        embed()
        return len(texts) / (now() - began)

    rates = {name: partial(rate, embed) for name, embed in embeds.items()}
    found = measure.Rates("texts_per_s", measure.in_turn(rates, given.repetitions, say))
    say(found.table(["st_bf16"]))
    apart = float((1 - cosine).mean())
    return {**found.values(), "ratio": found.ratio("ours", "st_bf16"), "apart_mean": apart}


def _pooled(predictor: TorchPredictor, texts: Sequence[str]) -> Tensor:
    return predictor.pooled(texts).cpu()


def _checkpoint(encoder: str, home: Path) -> Path:
    """A folder with weights and tokenizer."""
    if encoder == "minilm":
        return find_checkpoint("minilm")
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = home / encoder
    if not folder.exists():
        BertModel(BertConfig(vocab_size=BASE.vocab_size)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(find_checkpoint("minilm")).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
