"""The example beside a graph: `example.py`, in the words of the engine that the graph is for."""

from pathlib import Path
from typing import Literal

from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import EXAMPLE

_IN_OPENVINO = {
    "with onnxruntime,": "with openvino,",
    "import onnxruntime\n": "import openvino\n",
    'session = onnxruntime.InferenceSession(str(folder / facts["model"]))\n'
    'said = session.run([facts["outputs"][name]], inputs)[0][0]\n': (
        'hint = {"INFERENCE_PRECISION_HINT": facts["hint"]}\n'
        'model = openvino.compile_model(str(folder / facts["model"]), "CPU", hint)\n'
        'said = model(inputs)[facts["outputs"][name]][0]\n'
    ),
}
"""What is said otherwise there."""


def write_example(backend: Literal["onnx", "openvino"], folder: Path) -> None:
    text = Path(__file__).with_name(EXAMPLE).read_text(encoding="utf-8")
    for ours, theirs in _IN_OPENVINO.items() if backend == "openvino" else ():
        assert text.count(ours) == 1, "the example and what is said otherwise belong together"
        text = text.replace(ours, theirs)
    write_text(folder / EXAMPLE, text)
