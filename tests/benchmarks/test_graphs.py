"""The encoder as a graph in other engines: its vectors are ours, and what is missing is said."""

import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from benchmarks import graphs
from tests.support.tables import sentence
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.predictor.telemetry import without_telemetry
from trivium.run.predictor.torch import TorchPredictor

TEXTS = [" ".join(sentence(place) for place in range(row % 5 + 1)) for row in range(70)]
TASK = {"kind": "regression", "text": "text", "label": "label", "range": [0, 1]}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # of others' libraries
@pytest.mark.skipif(
    bool(graphs.needs("onnxruntime", "openvino")), reason="one of the engines is not installed"
)
def test_vectors_of_graphs_are_ours_in_the_order_of_the_texts(tiny: Path, tmp_path: Path) -> None:
    recipe = parse_recipe({"encoder": str(tiny), "tasks": {"unused": TASK}, "device": "cpu"})
    model, tokenizer = build(recipe)
    ours = TorchPredictor(model, recipe.tasks, tokenizer).pooled(TEXTS)
    path = tmp_path / "encoder.onnx"
    graphs.write_graph(model, path)
    assert torch.allclose(graphs.onnxruntime_fp32(path, tiny, 1)(TEXTS), ours, atol=1e-5)
    found = graphs.openvino_bf16(path, tiny, 1, TEXTS[:40])
    assert set(found.tried) == set(graphs.SETTINGS)
    assert found.tried[found.setting] == max(found.tried.values())
    cosine_B = torch.cosine_similarity(found.embed(TEXTS), ours)
    assert cosine_B.min() > (0.999 if found.precision == "bf16" else 1 - 1e-5)


class Noted(np.ndarray[Any, np.dtype[np.float32]]):
    """An array that knows which threads wrote into it."""

    writers: ClassVar[set[int]] = set()

    def __setitem__(self, place: Any, value: Any) -> None:
        self.writers.add(threading.get_ident())
        super().__setitem__(place, value)


@pytest.mark.skipif(bool(graphs.needs("openvino")), reason="the engine is not installed")
def test_no_thread_of_an_engine_runs_python() -> None:
    """Who drops its model waits for its threads, with Python's lock in hand: theirs want none."""
    with without_telemetry():
        import openvino
    ops = openvino.opset13
    given = ops.parameter([-1, -1], np.float32)
    given.output(0).set_names({"given"})
    sums = ops.reduce_sum(given, np.array([1]), keep_dims=True)
    model = openvino.Model([ops.result(sums)], [given], "sums")
    compiled = openvino.Core().compile_model(model, "CPU", {"NUM_STREAMS": "2"})
    batches = [
        graphs.Batch(np.array([row, row + 1]), {"given": np.full((2, 3), row, np.float32)})
        for row in range(0, 40, 2)
    ]
    found_B1 = np.zeros((40, 1), np.float32).view(Noted)
    graphs.openvino_run(compiled)(iter(batches), found_B1)
    assert found_B1[:, 0].tolist() == [3.0 * (row - row % 2) for row in range(40)]
    assert Noted.writers == {threading.get_ident()}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino is not installed" in graphs.needs("openvino")
    assert "openvino" not in graphs.needs("onnxruntime")
