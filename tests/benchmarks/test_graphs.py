"""The encoder as a graph in other engines: its vectors are ours, and what is missing is said."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import graphs
from tests.support.tables import sentence
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.predictor.torch import TorchPredictor

TEXTS = [" ".join(sentence(place) for place in range(row % 5 + 1)) for row in range(70)]
TASK = {"kind": "regression", "text": "text", "label": "label", "range": [0, 1]}


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


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino is not installed" in graphs.needs("openvino")
    assert "openvino" not in graphs.needs("onnxruntime")
