"""Packages of the extra `export`, loaded when an export needs them."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trivium.errors import RecipeError
from trivium.run.predictor.telemetry import without_telemetry


def onnx() -> tuple[Any, Any, Any]:
    """What writes ONNX files: onnx_ir, onnxscript's optimizer, and passes over a graph.

    Raises RecipeError where one is not installed.
    """
    try:
        import onnx_ir
        import onnx_ir.passes.common
        import onnxscript.optimizer
    except ImportError as error:
        raise _missing(error) from error
    return onnx_ir, onnxscript.optimizer, onnx_ir.passes.common


def onnxruntime() -> Any:
    """Raises RecipeError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(error) from error
    return onnxruntime


def quantization() -> Any:
    """ONNX Runtime's own. Raises RecipeError where it is not installed."""
    try:
        import onnxruntime.quantization
    except ImportError as error:
        raise _missing(error) from error
    return onnxruntime.quantization


def openvino() -> Any:
    """Raises RecipeError where it is not installed."""
    try:
        with without_telemetry():
            import openvino
    except ImportError as error:
        raise _missing(error) from error
    return openvino


def nncf() -> Any:
    """Raises RecipeError where it is not installed."""
    try:
        with without_telemetry():
            import nncf
    except ImportError as error:
        raise _missing(error) from error
    return nncf


def versions() -> dict[str, str]:
    """Of those that are installed, and of torch."""
    found = {}
    for name in ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _missing(error: ImportError) -> RecipeError:
    return RecipeError(
        f"trivium export needs {error.name}, which is not installed: pip install 'trivium[export]'"
    )
