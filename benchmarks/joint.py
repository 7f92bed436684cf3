"""Joint steps, each with a batch of sentiment, of paraphrases and of similarity."""

import random
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.inputs import existing
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.pretrained import find_checkpoint
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.assembly.assembled import assemble
from trivium.run.assembly.model import build
from trivium.run.rows.encoded import encode, packer_for
from trivium.run.rows.load import load_data
from trivium.run.training.parameters import start_stage
from trivium.run.training.plan import plan_stage
from trivium.run.training.state import Counters
from trivium.run.training.step import train_step
from trivium.run.training.work import Setup
from trivium.text.packing import Packer, TokenTable
from trivium.text.tokenizer import Tokenizer
from trivium.types import Example

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "three-tasks.yaml"
CPU = torch.device("cpu")
COMBINERS = ("sum", "pcgrad")
"""Each with a stage of its name."""
BATCH, BASE_BATCH = 32, 16
ROWS = 2048
"""Of each task; steps draw from them in a new order each time round."""


def recipe_of(data: Path) -> Recipe:
    """The three tasks, with a stage per combiner, and `base` for bert-base."""
    values = read_yaml(RECIPE)
    for task in values["tasks"].values():
        for split in ("train", "dev"):
            existing(data, task[split])
    common = {"sampler": "joint", "steps": 10**6, "schedule": "constant", "lr": 1e-5}
    stages: list[dict[str, Any]] = [
        common | {"name": name, "combiner": name, "batch_size": BATCH} for name in COMBINERS
    ]
    stages.append(common | {"name": "base", "combiner": "pcgrad", "batch_size": BASE_BATCH})
    return parse_recipe(values | {"data": str(data), "device": "cpu", "stages": stages})


def setup(data: Path) -> Setup:
    """MiniLM: what `trivium.train` prepares before its first step, with fewer rows."""
    recipe, found = load_data(recipe_of(data))
    model, tokenizer = build(recipe)
    table, limit = TokenTable(tokenizer), model.encoder.config.max_position_embeddings
    encoded = {}
    for name, task in recipe.tasks.items():
        examples = found[name]["train"].examples
        chosen = random.Random(0).sample(examples, min(ROWS, len(examples)))
        encoded[name] = encode(task, chosen, table, packer_for(task, tokenizer, limit))
    return Setup(recipe, encoded, model, CPU)


def base_setup(data: Path, length: int) -> Setup:
    """bert-base's shape with random weights, and made-up texts that all fill `length` tokens."""
    recipe = recipe_of(data)
    torch.manual_seed(0)
    model = assemble(Encoder(EncoderConfig()), recipe.tasks)
    tokenizer = Tokenizer(find_checkpoint("minilm"))
    table, packer = TokenTable(tokenizer), Packer(tokenizer, length)
    draw = random.Random(0)
    encoded = {}
    for name, task in recipe.tasks.items():
        rows = []
        for line in range(4 * BASE_BATCH):
            texts = tuple(_long_text(draw, length) for _ in task.text_columns)
            rows.append(Example(texts, float(draw.randrange(2)), line))
        encoded[name] = encode(task, rows, table, packer)
        assert encoded[name].lengths().min() >= length, "the packer cuts them to it"
    return Setup(recipe, encoded, model, CPU)


def _long_text(draw: random.Random, length: int) -> str:
    """A number is one word piece or more."""
    return " ".join(str(draw.randrange(1000)) for _ in range(length))


class Course:
    """Steps of one stage, which go on from call to call.

    Courses of one setup train the same model in turn: what a step costs does not depend on what
    the weights have come to be. They draw the same batches.
    """

    def __init__(self, setup: Setup, stage: str, precision: torch.dtype) -> None:
        self.setup, self.precision = setup, precision
        self.stage = next(s for s in setup.recipe.stages if s.name == stage)
        rows = {name: len(encoded) for name, encoded in setup.encoded.items()}
        self.plan = plan_stage(self.stage, setup.recipe, rows)
        self.state = start_stage(setup, self.stage, self.plan, Counters())

    def ms(self, steps: int) -> float:
        """Mean time of the next steps, in milliseconds."""
        self.setup.model.encoder.precision = self.precision
        began = time.perf_counter()
        for _ in range(steps):
            train_step(self.setup, self.stage, self.plan, self.state)
            self.state.counters.step += 1
        return 1000 * (time.perf_counter() - began) / steps
