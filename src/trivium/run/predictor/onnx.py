"""A model as an ONNX file, answered by ONNX Runtime; no torch."""

import re
from collections.abc import Mapping, Sequence
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
    """A graph in ONNX Runtime.

    provider: what computes, as ONNX Runtime calls it, with its options. Raises RecipeError where it
    is of no use here.
    """

    def __init__(
        self,
        facts: GraphFacts,
        provider: str = PROVIDERS["cpu"],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(facts)
        options = onnxruntime.SessionOptions()
        # As many threads as everybody else here: by default it takes all cores of the host, also
        # those that a container may not use.
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(facts.path), options, providers=[(provider, dict(settings or {}))]
        )
        # Without its libraries, say, it would compute on the CPU, and nobody would know.
        if provider not in self._session.get_providers():
            raise RecipeError(
                f"device: ONNX Runtime has {provider}, but cannot use it here; leave --device out, "
                "or mend what it needs (for a GPU: CUDA and cuDNN in the versions that it wants)."
            )

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
    number = re.fullmatch(r"cuda:(\d+)", device)
    name = "cpu" if device == "auto" else "cuda" if number else device
    provider = PROVIDERS.get(name, name)
    if provider not in onnxruntime.get_available_providers():
        raise RecipeError(
            f"device: {device!r} is not what this ONNX Runtime can use "
            f"({', '.join(onnxruntime.get_available_providers())}); leave --device out."
        )
    return OnnxPredictor(facts, provider, {"device_id": number[1]} if number else {})
