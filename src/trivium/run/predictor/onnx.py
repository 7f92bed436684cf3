"""A model as an ONNX file, answered by ONNX Runtime; no torch."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.run.folder.sealed import Unsealed
from trivium.run.predictor.graph import (
    Feeds,
    GraphFacts,
    GraphPredictor,
    read_facts,
    refuse_other_precision,
    threads,
)

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxPredictor(GraphPredictor):
    """A graph in ONNX Runtime."""

    def __init__(self, facts: GraphFacts, provider: str = PROVIDERS["cpu"]) -> None:
        super().__init__(facts)
        options = onnxruntime.SessionOptions()
        # As many threads as everybody else here: by default it takes all cores of the host, also
        # those that a container may not use.
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(facts.path), options, providers=[provider])

    def run(self, feeds: Feeds, names: Sequence[str]) -> list[Floats]:
        said: list[Floats] = self._session.run(list(names), dict(feeds))
        return said


def load_onnx(
    folder: Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    unsealed: Unsealed | None = None,
) -> OnnxPredictor:
    """An exported folder, verified and ready to answer. Raises RecipeError."""
    facts = read_facts(folder, unsealed)
    refuse_other_precision(facts, precision)
    provider = PROVIDERS.get("cpu" if device == "auto" else device.partition(":")[0], device)
    if provider not in onnxruntime.get_available_providers():
        raise RecipeError(
            f"device: {device!r} is not what this ONNX Runtime can use "
            f"({', '.join(onnxruntime.get_available_providers())}); leave --device out."
        )
    return OnnxPredictor(facts, provider)
