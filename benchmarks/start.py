"""Start: milliseconds from the start of a Python process to its first answer."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import IO

from rich.console import Console

import trivium
from benchmarks import measure
from trivium.model.pretrained import find_checkpoint
from trivium.run.assembly.machine import cpu_name

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.yaml"
TASK = "topic"
TEXT = "Where is my parcel?"
CHANGES = (
    "stages.*.steps=30",  # enough to be sure of this text, whatever it is computed in
    "tasks.topic.head={kind: linear, pooling: pooler}",  # which stock BERT has, too
)
PEERS = ("st", "pipeline")

OURS = """
import sys, trivium
model = trivium.load(sys.argv[1])
print(model.predict(sys.argv[2], [sys.argv[3]])[0], flush=True)
"""
ONNX = OURS + "assert 'torch' not in sys.modules, 'torch was imported'\n"
ST = """
import sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
print(len(model.encode([sys.argv[3]], show_progress_bar=False)[0]), flush=True)
"""
PIPELINE = """
import sys
from transformers import pipeline
model = pipeline("text-classification", sys.argv[1], device="cpu")
print(model([sys.argv[3]])[0]["label"], flush=True)
"""


@dataclass(frozen=True, slots=True)
class Program:
    """What a process runs: its code, and the folder of its model."""

    code: str
    folder: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code, str(self.folder), TASK, TEXT]


@dataclass(frozen=True, slots=True)
class Answered:
    ms: float
    answer: str


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--run", type=Path, help=f"a run with the task {TASK!r}; else one is made")
    parser.add_argument("--processes", type=measure.positive, default=5, help="of each program")
    given = parser.parse_args()
    say = measure.teller(given)
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as home:
        asked = programs(given.run or _made(Path(home), say), Path(home), skipped)
        for name, reason in skipped.items():
            say(f"{name} is left out: {reason}")
        with tempfile.TemporaryFile("w+") as log:
            start = partial(_start, threads=given.threads, log=log)
            first = {name: start(program) for name, program in asked.items()}
            refuse_different({name: one.answer for name, one in first.items() if name != "st"})
            runs = {name: partial(_ms, start, program) for name, program in asked.items()}
            found = measure.Rates("ms", measure.in_turn(runs, given.processes, say))
    ours = [name for name in asked if name not in PEERS]
    peers = [name for name in PEERS if name in asked]
    say(found.table(peers))
    measure.last_line(
        {
            **{f"{peer}_over_{name}": found.ratio(peer, name) for name in ours for peer in peers},
            **found.values(),
            "skipped": skipped,
            "processes": given.processes,
            "cpu": cpu_name(),
            **measure.machine(),
            "threads": given.threads,
        }
    )


def _made(home: Path, say: measure.Tell) -> Path:
    """The quickstart, cut short: it costs as much to load and to ask as one trained to its end."""
    say(f"training {RECIPE.name} for a few steps")
    trivium.train(RECIPE, home / "run", changes=CHANGES, console=Console(quiet=True))
    return home / "run"


def programs(run: Path, home: Path, skipped: dict[str, str]) -> dict[str, Program]:
    """The same model for all but sentence-transformers, which embeds with the packaged MiniLM.

    skipped: what is left out, and why; added to.
    """
    found = {"ours": Program(OURS, run)}
    exported = {
        "ours_onnx": ("onnx", Program(ONNX, home / "onnx")),
        "pipeline": ("transformers", Program(PIPELINE, home / "transformers" / TASK)),
    }
    for name, (to, program) in exported.items():
        try:
            trivium.export(run, home / to, to=to, console=Console(file=StringIO()))
        except trivium.RecipeError as error:  # a package is missing, or stock BERT has no such head
            skipped[name] = str(error)
        if program.folder.is_dir():
            found[name] = program
        else:
            skipped.setdefault(name, f"{run}: its task {TASK!r} cannot be written for {to}")
    return found | {"st": Program(ST, find_checkpoint("minilm"))}


def refuse_different(answers: Mapping[str, str]) -> None:
    if len(set(answers.values())) > 1:
        raise SystemExit(f"they do not answer the same, so nothing is compared: {answers}")


def _ms(start: Callable[[Program], Answered], program: Program) -> float:
    return start(program).ms


def _start(program: Program, threads: int, log: IO[str]) -> Answered:
    """From before the process is there until its first line is read; then it may end in peace."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    with subprocess.Popen(
        program.command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        ms = 1000 * (time.perf_counter() - began)
        process.stdout.read()
    if process.returncode or not answer:
        log.seek(0)
        raise SystemExit(f"{program.folder}: no answer ({process.returncode}):\n{log.read()}")
    return Answered(ms, answer)


if __name__ == "__main__":
    main()
