"""Do two versions of Trivium make the same bytes? For a change that is to change no behaviour.

    python -m benchmarks.same_bytes OUT                    # this version
    python -m benchmarks.same_bytes OUT --source OTHER/src # another checkout's

Run both with the same OUT, since folders name where they are; the first moves away by itself (to
OUT.1, OUT.2, …). Each leaves OUT/manifest.txt, a sha256 for every file; `diff` shows what differs.
Made are: quickstart, every recipe of recipes/reports for 5 steps a stage, an ensemble by each of
its ways, a soup, a study, a search of 3 trials, a verdict, a report, and predictions. Seconds,
memory and the machine are taken out, since they differ between two runs of one version.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COSTS = {"seconds": 1.0, "first_step_s": 1.0, "tokens_per_s": 1.0, "peak_memory_bytes": 2**30}
UNSTEADY = {"environment.json", "state.json", "study.json"}
"""Files that tell of the machine or of the moment only."""
BINARY = {".safetensors", ".png", ".sqlite", ".db"}
SECONDS = re.compile(rb'("seconds": )[0-9.e+-]+')
MOMENTS = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?")
TRIALS = {
    # In a search's files the costs of its trials stand in place of the runs' own.
    "trials.csv": re.compile(rb",[\d.]+,(\d+),\d+,(\w+:)"),
    "table.md": re.compile(rb"(?<=\| )(\*\*)?[\d.,]+(\*\*)? \|$", re.MULTILINE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, default=ROOT / "src")
    parser.add_argument("--only", default="", help="Only recipes of reports that begin so.")
    given = parser.parse_args()
    out: Path = given.out.resolve()
    if out.exists():
        number = next(n for n in range(1, 100) if not out.with_name(f"{out.name}.{n}").exists())
        out.rename(out.with_name(f"{out.name}.{number}"))
    out.mkdir(parents=True)
    make(out, given.source.resolve(), given.only)
    lines = [f"{digest(path)}  {path.relative_to(out)}" for path in sorted(files(out))]
    (out / "manifest.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} files: {out / 'manifest.txt'}")


def make(out: Path, source: Path, only: str) -> None:  # noqa: PLR0915
    def trivium(*words: object, stdout: str = "") -> None:
        command = [sys.executable, "-m", "trivium", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "160"}
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
        if stdout:
            (out / stdout).write_text(done.stdout, encoding="utf-8")
            told = re.sub(r"[\d.,]+ (s of|tokens/s|GiB)", r"N \1", done.stderr)
            (out / f"{stdout}.stderr").write_text(told, encoding="utf-8")
        steady(out)

    quickstart = "recipes/quickstart.yaml"
    short = ["--set", "stages.*.steps=5"]
    trivium("check", quickstart, stdout="check.txt")
    for seed in (0, 1):
        trivium("train", quickstart, "--out", out / f"quick-{seed}", "--set", f"seed={seed}")
    first, second = out / "quick-0", out / "quick-1"
    trivium("evaluate", first, "--json", stdout="evaluate.txt")
    messages = ROOT / "recipes/data/support-desk/messages-dev.csv"
    for ending in ("csv", "jsonl"):
        answers = out / f"topic.{ending}"
        trivium(
            "predict", first, "--task", "topic", "--file", messages, "--out", answers,
            "--probabilities",
        )  # fmt: skip
    for how in ("vote", "mean", "weights"):
        trivium("ensemble", first, second, "--how", how, "--out", out / how, stdout=f"{how}.txt")
    trivium("soup", first, second, "--out", out / "soup", stdout="soup.txt")
    rows = ["recipes/study/sum.yaml", "recipes/study/pcgrad.yaml", "recipes/study/lora-2.yaml"]
    study = [
        "study", *rows, "--seeds", "2", "--out", out / "study", *short,
        "--set", "tasks.*.train.rows=300", "--set", "tasks.*.dev.rows=100",
    ]  # fmt: skip
    trivium(*study)
    trivium(*study, stdout="study.txt")  # once more, now that its costs are steady
    trivium("lora", out / "study/lora-2/seed-0", "--peft", out / "peft", "--merged", out / "merged")
    trivium(
        "compare", out / "study", "--resamples", "500", "--no-time", "--out", out / "verdict.md",
        stdout="compare.txt",
    )  # fmt: skip
    search = "recipes/search/quickstart.yaml"
    trivium("check", search, stdout="check-search.txt")
    trivium("tune", search, "--trials", "3", "--out", out / "search", "--set", "stages.0.steps=8")
    trivium("report", first, second, out / "vote", "--out", out / "report.html")
    for recipe in sorted((ROOT / "recipes/reports").glob(f"{only}*.yaml")):
        if "ensemble" not in recipe.name:
            trivium(
                "train", recipe, "--budget", "quick", "--out", out / "reports" / recipe.stem, *short
            )  # fmt: skip
            print(recipe.stem, flush=True)


def steady(out: Path) -> None:
    """Put the same costs into every run's files, so that pages made of them can be compared."""
    for path in out.rglob("scores.json"):
        values = json.loads(path.read_text(encoding="utf-8"))
        cost: dict[str, Any] = values.get("cost", {})
        cost |= {name: value for name, value in COSTS.items() if name in cost}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    for path in out.rglob("journal.jsonl"):
        path.write_bytes(SECONDS.sub(rb"\g<1>1.0", path.read_bytes()))


def files(out: Path) -> Iterator[Path]:
    for path in out.rglob("*"):
        if path.is_file() and path.suffix not in (".log", ".lock"):
            yield path


def digest(path: Path) -> str:
    """sha256 of a file's content; `-` for what tells of the moment."""
    if path.name in UNSTEADY or (path.suffix in BINARY and path.suffix != ".safetensors"):
        return "-" * 64
    content = MOMENTS.sub(b"TIME", path.read_bytes())
    if path.parent.name == "search" and path.name in TRIALS:
        content = TRIALS[path.name].sub(b"COST", content)
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
