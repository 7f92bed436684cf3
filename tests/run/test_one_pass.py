"""Several tasks' answers from one pass of the encoder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.run.predictor.base import Texts
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_single, load_trained

TEXTS = ["good cat runs", "bad dog", "not very blue day", "night", "fish eats red fish"]
PAIRS = [(a, b) for a in TEXTS for b in TEXTS[:3]]
ASKS: Mapping[str, Sequence[Texts]] = {"mood": TEXTS, "near": PAIRS, "same": PAIRS}


def train(values: dict[str, Any], folder: Path, *changes: str) -> Path:
    short = ["stages.0.steps=2", *changes]
    trivium.train(values, folder, changes=short, console=Console(file=StringIO()))
    return folder


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path_factory.mktemp("one-pass"))


@pytest.fixture(scope="module")
def run(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(values, tmp_path_factory.mktemp("runs") / "run")


@contextmanager
def counted(predictor: TorchPredictor) -> Iterator[list[int]]:
    """The number of sequences of each pack that goes through the encoder."""
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        forward = predictor.model.encoder.forward

        def count(tokens: Any, task: str = "", **how: Any) -> Any:
            seen.append(len(tokens.lengths_R))
            return forward(tokens, task, **how)

        patch.setattr(predictor.model.encoder, "forward", count)
        yield seen


def assert_alike(predictor: Any, asks: Mapping[str, Sequence[Texts]]) -> None:
    """Tasks that are asked together answer as each by itself, up to rounding."""
    together = predictor.readouts(asks)
    assert list(together) == list(asks)
    for task, rows in asks.items():
        torch.testing.assert_close(
            together[task], predictor.readout(task, rows), atol=1e-5, rtol=0, msg=task
        )


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("adapters=pals",),
        ("adapters=houlsby",),
        ("adapters=lhuc",),
        ("adapters=lora",),
        ("tasks.mood.head=bilstm", "tasks.same.head={kind: mlp, pooling: max}"),
        ("tasks.near.cut=tail", "tasks.near.max_length=6", "tasks.mood.max_length=5"),
    ],
)
def test_tasks_asked_together_answer_as_each_by_itself(
    values: dict[str, Any], tmp_path: Path, changes: tuple[str, ...]
) -> None:
    folder = train(values, tmp_path / "run", *changes)
    assert_alike(load_trained(folder, precision="fp32"), ASKS)


def test_a_task_may_ask_for_some_of_what_another_asks(run: Path) -> None:
    predictor = load_trained(run, precision="fp32")
    assert_alike(predictor, {"mood": ["night", "a new text", "night"], "near": PAIRS})
    assert_alike(predictor, {"near": PAIRS[:2], "mood": TEXTS})


def test_a_text_goes_through_the_encoder_once_whoever_asks(run: Path) -> None:
    predictor = load_single(run)
    with counted(predictor) as seen:
        predictor.readouts({"mood": TEXTS, "near": PAIRS})  # whose texts are those
    assert sum(seen) == len(TEXTS)
    with counted(predictor) as seen:
        predictor.readouts(ASKS)
    assert sum(seen) == len(TEXTS) + len(PAIRS)  # `same` reads its pairs jointly


@pytest.mark.thorough
def test_tasks_with_sides_or_another_length_go_through_by_themselves(
    values: dict[str, Any], tmp_path: Path
) -> None:
    asks: dict[str, Sequence[Texts]] = {"mood": TEXTS, "near": PAIRS}
    for name, changes, times in (
        ("sides", ["adapters=pals"], 2),
        ("one-side", ["adapters=[{kind: houlsby, tasks: [near]}]"], 2),
        ("length", ["tasks.near.max_length=4"], 2),
        ("lora", ["adapters=lora"], 1),
    ):
        predictor = load_single(train(values, tmp_path / name, *changes))
        with counted(predictor) as seen:
            predictor.readouts(asks)
        assert sum(seen) == times * len(TEXTS), name


def test_masked_words_are_asked_beside_others(values: dict[str, Any], tmp_path: Path) -> None:
    words = {"kind": "mlm", "of": ["mood"], "mask": {"share": 0.5}}
    folder = train(values | {"tasks": values["tasks"] | {"words": words}}, tmp_path / "run")
    assert_alike(load_trained(folder, precision="fp32"), {**ASKS, "words": TEXTS})


def test_an_ensemble_asks_each_member_once_for_all_its_tasks(
    values: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    tasks = {name: values["tasks"][name] for name in ("mood", "near")}
    other = train(values | {"tasks": tasks, "seed": 1}, tmp_path / "other")
    trivium.ensemble([run, other], tmp_path / "both", "vote", console=Console(file=StringIO()))
    predictor = load_trained(tmp_path / "both", precision="fp32")
    assert_alike(predictor, ASKS)


def test_no_rows_are_no_answers_and_a_wrong_row_is_named(run: Path) -> None:
    predictor = load_trained(run)
    readouts = predictor.readouts({"mood": [], "near": PAIRS})
    assert readouts["mood"].shape == (0, 2)
    assert len(readouts["near"]) == len(PAIRS)
    assert predictor.readouts({}) == {}
    asks: dict[str, Sequence[Texts]] = {"mood": TEXTS, "near": [PAIRS[0], "alone"]}
    with pytest.raises(RecipeError, match="'near': row 1 must be a pair of texts"):
        predictor.readouts(asks)
