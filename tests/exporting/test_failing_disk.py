"""Exports on a disk that has no room: one message, and nothing is left."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import trivium
from tests.support.exports import PAIR, SCORE, untrained
from tests.support.limits import files_up_to
from trivium.run.exporting.openvino_file import save_openvino

QUIET = Console(file=StringIO())


def test_an_openvino_graph_that_cannot_be_written_is_told_as_any_file_is(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset13
    given = ops.parameter([1, 64], np.float32)
    weight = ops.constant(np.ones((64, 512), np.float32))
    result = ops.matmul(given, weight, transpose_a=False, transpose_b=False)
    model = openvino.Model([ops.result(result)], [given], "small")
    with files_up_to(4096), pytest.raises(OSError, match="OpenVINO could not write its graph, wi"):
        save_openvino(model, tmp_path / "model.xml")
    save_openvino(model, tmp_path / "model.xml")
    assert (tmp_path / "model.bin").stat().st_size == 64 * 512 * 4


@pytest.mark.thorough
@pytest.mark.parametrize("replaces", [False, True])
def test_an_export_that_cannot_be_written_leaves_what_was_there(
    replaces: bool, tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    run, out = untrained(tmp_path / "run", tiny, {"near": PAIR | SCORE}), tmp_path / "made"
    to = "sentence-transformers" if replaces else "onnx"
    if replaces:
        trivium.export(run, out, to=to, console=QUIET)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with files_up_to(4096), pytest.raises(trivium.NotWrittenError) as told:
        trivium.export(run, out, to=to, overwrite=replaces, console=QUIET)
    assert "File too large" in str(told.value)
    assert ("What was there is as it was" if replaces else "Nothing was kept") in str(told.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"run"} | ({"made"} if replaces else set())
