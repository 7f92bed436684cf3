"""OpenVINO, and NNCF beside it, without what they tell their makers.

Where the package `openvino_telemetry` is installed, which they bring along, `import openvino` sends
an event to Google Analytics: from a thread that forks this process, whatever its other threads hold
at that moment. Without a network the child may wait.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGE = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """What is imported within the block finds no such package, and leaves telling be, for good.
    A process that has it already has decided so itself."""
    if PACKAGE in sys.modules:
        yield
        return
    sys.modules[PACKAGE] = None  # type: ignore[assignment]  # as Python's import system documents
    try:
        yield
    finally:
        del sys.modules[PACKAGE]
