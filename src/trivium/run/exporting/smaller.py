"""Weights in 8 bits: dynamic quantisation of ONNX Runtime, and NNCF's for OpenVINO.

Never ranges of activations from minimum and maximum alone: a few tokens reach far beyond all
others in a few places, and everything else would be left a handful of steps.
"""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from trivium.run.exporting import extras
from trivium.run.exporting.openvino_file import save_openvino
from trivium.run.predictor.graph import Feeds

Smaller = Callable[[Path, Path], None]
"""From one graph's file to another's."""


def onnx_dynamic(source: Path, target: Path) -> None:
    """Weights in 8 bits, with a scale for each output; activations as they come, call by call.

    The embedding stays as it is: in 8 bits it saves half the file, but answers change more.
    """
    quantization = extras.quantization()
    with _quiet():
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )


def openvino_weights(source: Path, target: Path) -> None:
    """Weights only, with a scale and a zero for each output."""
    openvino, nncf = extras.openvino(), extras.nncf()
    with _quiet():
        model = nncf.compress_weights(
            openvino.Core().read_model(source), mode=nncf.CompressWeightsMode.INT8_ASYM
        )
    save_openvino(model, target)


def openvino_smooth(texts: Sequence[Feeds]) -> Smaller:
    """Weights and activations, after what reaches too far in activations has been moved into the
    weights (SmoothQuant, Xiao et al. 2023). texts: training rows, from which it sees how far."""

    def smaller(source: Path, target: Path) -> None:
        openvino, nncf = extras.openvino(), extras.nncf()
        with _quiet():
            model = nncf.quantize(
                openvino.Core().read_model(source),
                nncf.Dataset(texts),
                subset_size=len(texts),
                model_type=nncf.ModelType.TRANSFORMER,
            )
        save_openvino(model, target)

    return smaller


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' own bars and advice."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
