"""Answers of an exported graph, so that it can be compared and scored as the model is."""

from collections.abc import Mapping, Sequence
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium.answering.reading import Texts
from trivium.parts.tasks import Task
from trivium.run.exporting import extras
from trivium.run.exporting.graph import PAIRS, TEXTS, Names
from trivium.run.predictor.graph import Feeds, GraphFacts, GraphPredictor
from trivium.types import Tokens


class Exported:
    """A graph with the tasks that it answers."""

    def __init__(self, graph: GraphPredictor, tasks: Mapping[str, Task], names: Names) -> None:
        self.graph, self.tasks, self.names = graph, tasks, names

    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        """What it says of B rows, on the answer's own scale: readout_BK."""
        return torch.from_numpy(self.graph.arrays({task: rows})[task])

    def run(self, inputs: Feeds) -> dict[str, NDArray[np.float32]]:
        """All its outputs by name."""
        names = self.names.in_order
        return dict(zip(names, self.graph.run(inputs, names), strict=True))


def opened_graph(backend: str, facts: GraphFacts) -> GraphPredictor:
    """What `trivium.load` makes of an exported folder. Raises RecipeError where a package is
    missing."""
    if backend == "onnx":
        extras.onnxruntime()
        made = import_module("trivium.run.predictor.onnx").OnnxPredictor(facts)
    else:
        extras.openvino()
        made = import_module("trivium.run.predictor.openvino").OpenvinoPredictor(facts)
    assert isinstance(made, GraphPredictor)
    return made


def computes_bf16() -> bool:
    """Whether OpenVINO has bf16 on this CPU. Raises RecipeError where OpenVINO is missing."""
    core = extras.openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def inputs_of(tokens: Tokens, pad: int, names: Names) -> Feeds:
    """A pack on a padded grid, under the names of a graph's inputs; of its texts, each two in a
    row are a pair."""
    lengths_R = tokens.lengths_R.numpy()
    mask_RL = np.arange(tokens.longest) < lengths_R[:, None]
    grids = {}
    for name, values_N, padding in (
        (TEXTS[0], tokens.ids_N, pad),
        (TEXTS[1], torch.ones_like(tokens.ids_N), 0),
        (TEXTS[2], tokens.segments_N, 0),
    ):
        grids[name] = np.full(mask_RL.shape, padding, dtype=np.int64)
        grids[name][mask_RL] = values_N.numpy()
    if PAIRS in names.inputs:
        texts = len(lengths_R)
        pair_P2 = np.arange(texts // 2 * 2, dtype=np.int64).reshape(-1, 2)
        grids[PAIRS] = pair_P2 if texts > 1 else np.zeros((1, 2), dtype=np.int64)
    return grids
