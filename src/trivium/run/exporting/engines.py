"""Who computes an exported graph: ONNX Runtime or OpenVINO, asked in the same way."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.run.exporting import extras

Inputs = Mapping[str, NDArray[np.int64]]
Engine = Callable[[Inputs], dict[str, NDArray[np.float32]]]
"""Inputs by name to outputs by name."""
Hint = Literal["f32", "bf16"]
"""What OpenVINO computes in. It has to be told: left alone, it takes bf16 where a CPU has it."""


def onnx_engine(path: Path) -> Engine:
    """With as many threads as torch has. Raises RecipeError where ONNX Runtime is missing."""
    onnxruntime = extras.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def openvino_engine(path: Path, hint: Hint, names: Sequence[str]) -> Engine:
    """With as many threads as torch has. names: the outputs'; compiled, they may have others
    beside. Raises RecipeError where OpenVINO is missing."""
    openvino = extras.openvino()
    threads = torch.get_num_threads()
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    compiled: Any = openvino.compile_model(path, "CPU", settings)

    def run(inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        found = compiled(dict(inputs))
        return {name: np.array(found[name]) for name in names}

    return run


def computes_bf16() -> bool:
    """Whether OpenVINO has bf16 on this CPU. Raises RecipeError where OpenVINO is missing."""
    core = extras.openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
