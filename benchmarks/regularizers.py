"""Regularizers: what a training step with SMART, Bregman or R-Drop costs over a plain one."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import joint, measure
from benchmarks.inputs import existing
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.assembly.machine import keep_memory
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode, packer_for
from trivium.run.rows.load import load_data
from trivium.run.training.work import Setup
from trivium.text.packing import TokenTable

TASKS = ("sentiment", "similarity")
STAGES: dict[str, list[str]] = {
    "plain": [],
    "smart": ["smart"],
    "bregman": ["bregman"],
    "rdrop": ["rdrop"],
}
VARIANTS = {f"{stage}_fp32": (stage, torch.float32) for stage in STAGES}
VARIANTS |= {f"{stage}_bf16": (stage, torch.bfloat16) for stage in ("plain", "smart")}
# One batch of 32 of either task in turn.
COMMON = {"sampler": "round_robin", "batch_size": 32, "lr": 1e-5, "schedule": "constant"}


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--steps", type=measure.positive, default=16, help="per round and variant")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    setup = _setup(given.data)
    courses = {name: joint.Course(setup, *variant) for name, variant in VARIANTS.items()}
    for course in courses.values():  # so that memory is mapped and kernels are chosen
        course.ms(len(TASKS))
    say = measure.teller(given)
    runs = {name: partial(course.ms, given.steps) for name, course in courses.items()}
    found = measure.Rates("ms_per_step", measure.in_turn(runs, given.rounds, say))
    seen = {course.state.counters.tokens for course in courses.values()}
    assert len(seen) == 1, f"all variants must train on the same tokens: {seen}"
    say(found.table(("plain_fp32",)))
    measure.last_line(
        {
            "smart_step_over_plain_step": found.ratio("smart_fp32", "plain_fp32"),
            "bregman_step_over_plain_step": found.ratio("bregman_fp32", "plain_fp32"),
            "rdrop_step_over_plain_step": found.ratio("rdrop_fp32", "plain_fp32"),
            "smart_step_over_plain_step_bf16": found.ratio("smart_bf16", "plain_bf16"),
            **found.values(),
            "rounds": given.rounds,
            "steps": given.steps,
            **measure.machine(),
        }
    )


def _setup(data: Path) -> Setup:
    """What `trivium.train` prepares before its first step, with fewer rows."""
    recipe, found = load_data(_recipe(data))
    model, tokenizer = build(recipe)
    table, limit = TokenTable(tokenizer), model.encoder.config.max_position_embeddings
    encoded = {}
    for name, task in recipe.tasks.items():
        chosen = random.Random(0).sample(found[name]["train"].examples, joint.ROWS)
        encoded[name] = encode(task, chosen, table, packer_for(task, tokenizer, limit))
    return Setup(recipe, encoded, model, joint.CPU)


def _recipe(data: Path) -> Recipe:
    """SST and STS as in the recipe of three tasks, with a stage for each regularizer."""
    values = read_yaml(joint.RECIPE)
    tasks = {name: values["tasks"][name] for name in TASKS}
    for task in tasks.values():
        for split in ("train", "dev"):
            existing(data, task[split])
    stages: list[dict[str, Any]] = [
        COMMON | {"name": name, "steps": 10**6, "regularizers": kinds}
        for name, kinds in STAGES.items()
    ]
    changes = {"data": str(data), "device": "cpu", "tasks": tasks, "stages": stages}
    return parse_recipe(values | changes)


if __name__ == "__main__":
    main()
