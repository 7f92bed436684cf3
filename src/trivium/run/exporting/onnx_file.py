"""The graph as one ONNX file: dynamic batch and length, outputs called as the tasks."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.run.exporting import extras
from trivium.run.exporting.graph import Graph, Names

OPSET = 18
"""The newest that the exporter writes without a conversion, which could go wrong."""
ONE_FILE = 2**31 - 2**20
"""Bytes of weights up to which they stand in the file itself: protobuf's limit is 2 GiB."""
_EVERYTHING = 2**62


def write_onnx(graph: Graph, names: Names, limit: int, path: Path) -> None:
    """limit: the encoder's longest sequence. Raises RecipeError where a package is missing."""
    ir = extras.onnx()[0]
    program = _exported(graph, names, limit)
    model = program.model
    _simplify(model)
    _rename(model, names)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    ir.save(model, path, external_data=f"{path.name}.data" if weights > ONE_FILE else None)


def _simplify(model: Any) -> None:
    """Weights that one product reads together are joined once, not in every call; what is computed
    twice, once; what nobody reads, not at all.

    The exporter's own way has a hundred patterns to look for in every place, which takes as long as
    all else, and finds nothing more.
    """
    _, optimizer, passes = extras.onnx()
    for _ in range(2):
        optimizer.fold_constants(model, input_size_limit=_EVERYTHING, output_size_limit=_EVERYTHING)
        passes.IdentityEliminationPass()(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        passes.DeduplicateInitializersPass()(model)
        passes.CommonSubexpressionEliminationPass()(model)
        optimizer.remove_unused_nodes(model)


def _exported(graph: Graph, names: Names, limit: int) -> Any:
    batch, pairs = torch.export.Dim("batch"), torch.export.Dim("pairs")
    length = torch.export.Dim("length", max=limit)
    # Sizes of 1 would be taken for constants.
    ids_RL = torch.ones(3, min(7, limit), dtype=torch.int64)
    example: list[Tensor] = [ids_RL, torch.ones_like(ids_RL), torch.zeros_like(ids_RL)]
    shapes: list[dict[int, Any]] = [{0: batch, 1: length} for _ in example]
    if len(names.inputs) > len(example):
        example.append(torch.tensor([[0, 1], [1, 2], [2, 0], [0, 0]]))
        shapes.append({0: pairs})
    with _quiet(), torch.no_grad():
        return torch.onnx.export(
            graph.eval(),
            tuple(example),
            dynamo=True,
            input_names=list(names.inputs),
            # Given their own names only when nothing inside can be called like them.
            output_names=[f"output_{place}" for place in range(len(names.in_order))],
            dynamic_shapes=tuple(shapes),
            opset_version=OPSET,
            optimize=False,  # see _simplify
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself and of packages that it can do without."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in (r"`isinstance\(treespec, LeafSpec\)`", "_check_is_size will be removed"):
            warnings.filterwarnings("ignore", message, FutureWarning)
        # Told of every axis after the first that is called so.
        warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)
        try:
            yield
        finally:
            registry.setLevel(level)


def _rename(model: Any, names: Names) -> None:
    """Outputs as they shall be called, all else so that no task can be called alike; nothing that
    tells of the machine on which it was made."""
    graph = model.graph
    graph.name = "trivium"
    for name, value in list(graph.initializers.items()):
        value.name = f"/weights/{name}"
    for place, node in enumerate(graph):
        node.name, node.doc_string = f"/nodes/{place}", None
        node.metadata_props.clear()
        for number, value in enumerate(node.outputs):
            value.name = f"/values/{place}.{number}"
            value.metadata_props.clear()
    for value, name in zip(graph.outputs, names.in_order, strict=True):
        value.name = name
    for one in (model, graph, *graph.inputs, *graph.outputs, *graph.initializers.values()):
        one.metadata_props.clear()
