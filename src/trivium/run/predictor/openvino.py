"""A model as OpenVINO's two files; no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.run.folder.sealed import Unsealed
from trivium.run.predictor.graph import (
    HINTS,
    Feeds,
    GraphFacts,
    GraphPredictor,
    read_facts,
    refuse_other_precision,
    threads,
)
from trivium.run.predictor.telemetry import without_telemetry

with without_telemetry():
    import openvino


class OpenvinoPredictor(GraphPredictor):
    """A graph in OpenVINO, on the CPU."""

    def __init__(self, facts: GraphFacts) -> None:
        super().__init__(facts)
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[facts.precision],
            "INFERENCE_NUM_THREADS": threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(str(facts.path), "CPU", settings)
        self._request = compiled.create_infer_request()

    def run(self, feeds: Feeds, names: Sequence[str]) -> list[Floats]:
        said = self._request.infer(dict(feeds), share_inputs=True)
        return [np.array(said[name], dtype=np.float32) for name in names]


def load_openvino(
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    unsealed: Unsealed | None = None,
) -> OpenvinoPredictor:
    """An exported folder, verified and ready to answer. Raises RecipeError."""
    facts = read_facts(folder, unsealed)
    refuse_other_precision(facts, precision)
    if device not in ("auto", "cpu"):
        raise RecipeError(f"device: {device!r}: OpenVINO answers on the CPU; leave --device out.")
    if facts.precision not in HINTS:
        raise RecipeError(
            f"{folder}: was exported in {facts.precision!r}, which is none of {', '.join(HINTS)}."
        )
    return OpenvinoPredictor(facts)
