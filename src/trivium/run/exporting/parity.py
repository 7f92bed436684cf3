"""Whether an exported graph says what the model says: on rows, and on batches of every shape."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.multitask import pool
from trivium.parts.tasks import Labelled, Task
from trivium.run.exporting.answers import Exported, inputs_of
from trivium.run.exporting.graph import PAIRS
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.screen.grid import Grid, print_grid
from trivium.run.screen.progress import OnProgress
from trivium.text.tokenizer import Tokenizer
from trivium.types import Tokens

TOLERANCE = 1e-5
"""Of a probability, or of a score in parts of its range."""
OF_VECTORS = 1e-4
"""Of a number of the embedding, in parts of the largest one: it has a dozen layers' rounding, and
no softmax that evens it out."""
TEXTS = (1, 2, 5)
LENGTHS = (2, 3, 17, 64, 255, 512)
"""Tokens of the longest text of a batch, as far as the encoder reads."""
MADE_UP = 32
"""Texts made up for a task whose dev rows are not there."""

_EMBEDDING = ""
"""Its place among the tasks, none of which is called so."""

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a graph is from the model in what it says of some rows."""

    task: str
    """Or the embedding."""
    on: str
    rows: int
    largest: float
    """Of all numbers, in parts of the answer's scale."""
    tolerance: float
    flips: int | None = None
    """Rows with another answer; None where answers are no labels."""

    @property
    def passes(self) -> bool:
        return self.largest <= self.tolerance  # which NaN is not


def on_rows(
    graph: Exported,
    rows: Mapping[str, Rows],
    ours: Mapping[str, Tensor],
    told: Mapping[str, str],
    on_progress: OnProgress,
) -> list[Difference]:
    """By task. ours: what the model says of them, readout_BK; told: what they are, in words."""
    found = []
    for name in rows:
        theirs_BK = graph.readout(name, rows[name])
        found.append(compared(graph.tasks[name], told[name], ours[name], theirs_BK))
        on_progress(len(rows[name]))
    return found


def on_shapes(model: TorchPredictor, graph: Exported) -> list[Difference]:
    """By task, and for the embedding: batches of few and many texts, short and long ones."""
    names = graph.names
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {}
    longest = 0
    for tokens in packs(model.tokenizer, model.limit):
        inputs = inputs_of(tokens, model.tokenizer.pad, names)
        pair_P2 = torch.from_numpy(inputs[PAIRS]) if PAIRS in inputs else None
        ours, theirs = _said(model, graph.tasks, tokens, pair_P2), graph.run(inputs)
        for name, output in {**names.outputs, _EMBEDDING: names.embedding}.items():
            kept.setdefault(name, []).append((ours[name], torch.from_numpy(theirs[output])))
        longest = tokens.longest
    on = f"batches of {', '.join(map(str, TEXTS))} texts of 2 to {longest} tokens"
    found = []
    for name, both in kept.items():
        ours_RK, theirs_RK = (torch.cat(each) for each in zip(*both, strict=True))
        if name in graph.tasks:
            found.append(compared(graph.tasks[name], on, ours_RK, theirs_RK))
        else:
            far = float((ours_RK - theirs_RK).abs().max() / ours_RK.abs().max())
            found.append(Difference(names.embedding, on, len(ours_RK), far, OF_VECTORS))
    return found


def compared(task: Task, on: str, ours_BK: Tensor, theirs_BK: Tensor) -> Difference:
    """How far two readouts of a task are apart. on: which rows they are of, in words."""
    far = apart(task, ours_BK, theirs_BK)
    return Difference(task.name, on, len(ours_BK), far, TOLERANCE, flips(task, ours_BK, theirs_BK))


def apart(task: Task, ours_BK: Tensor, theirs_BK: Tensor) -> float:
    """The largest difference, in parts of the answer's scale."""
    low, high = task.scale
    return float((ours_BK - theirs_BK).abs().max()) / (high - low)


def flips(task: Task, ours_BK: Tensor, theirs_BK: Tensor) -> int | None:
    """Rows with another label; None where answers are no labels."""
    if not isinstance(task, Labelled):
        return None
    answers = zip(task.answers(ours_BK), task.answers(theirs_BK), strict=True)
    return sum(one != other for one, other in answers)


def refuse_different(found: Sequence[Difference]) -> None:
    """RecipeError for the first that is too far off."""
    for one in found:
        if not one.passes:
            raise RecipeError(
                f"export: {one.task}: on {one.on} the graph differs from the model by "
                f"{one.largest:.1e} of its scale, more than {one.tolerance:.0e}. Nothing was "
                "written. Please report it, with the recipe."
            )


def print_differences(found: Sequence[Difference], console: Console) -> None:
    grid = Grid("The graph beside the model")
    for title in ("task", "on", "rows", "max |Δ|", "flips"):
        grid.add_column(title, justify="left" if title in ("task", "on") else "right")
    for one in found:
        flipped = "–" if one.flips is None else f"{one.flips:,}"
        grid.add_row(one.task, one.on, f"{one.rows:,}", f"{one.largest:.1e}", flipped)
    print_grid(grid, console)


def as_facts(found: Sequence[Difference]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


# --- what is asked -----------------------------------------------------------------------------


def made_up(task: Task, tokenizer: Tokenizer, limit: int) -> list[tuple[str, ...]]:
    """Rows of a task out of the vocabulary, the same in every call; some empty, some too long."""
    rng = random.Random(task.name)
    words = tokenizer.vocabulary.words.tolist()

    def text(number: int) -> str:
        length = (0, 1, 2 * limit)[number] if number < 3 else rng.randrange(1, limit // 2)
        return tokenizer.text(rng.choices(words, k=length))

    return [tuple(text(number) for _ in task.text_columns) for number in range(MADE_UP)]


def packs(tokenizer: Tokenizer, limit: int) -> Iterator[Tokens]:
    """Packs of random word pieces: the first text as long as is said, the others up to that; the
    second half of every second text is another segment."""
    draw = np.random.default_rng(0)
    words = tokenizer.vocabulary.words
    for longest in sorted({min(length, limit) for length in LENGTHS}):
        for texts in TEXTS:
            lengths = [longest, *draw.integers(2, longest, texts - 1, endpoint=True).tolist()]
            ids, segments = [], []
            for text, length in enumerate(lengths):
                inner = draw.choice(words, length - 2).tolist()
                ids += [tokenizer.cls, *inner, tokenizer.sep]
                second = length // 2 if text % 2 else 0
                segments += [0] * (length - second) + [1] * second
            positions = [place for length in lengths for place in range(length)]
            yield Tokens(
                torch.tensor(ids), torch.tensor(positions), torch.tensor(segments),
                torch.tensor(lengths), longest,
            )  # fmt: skip


@torch.inference_mode()
def _said(
    model: TorchPredictor, tasks: Mapping[str, Task], tokens: Tokens, pair_P2: Tensor | None
) -> dict[str, Tensor]:
    """What the model itself says of a pack: readout_RK by task, and the embedding's vectors."""
    encoder = model.model.encoder
    found = {}
    for name, task in tasks.items():
        vector_RC = model.model.head(name).represent(encoder(tokens, name), tokens, encoder)
        vector_BSC = vector_RC[:, None]
        if task.sequences == 2:
            assert pair_P2 is not None, "such a task's graph has pairs"
            vector_BSC = vector_RC[pair_P2]
        found[name] = task.readout(model.model.decide(name, vector_BSC))
    return found | {_EMBEDDING: pool(encoder(tokens), tokens, encoder, "mean")}
