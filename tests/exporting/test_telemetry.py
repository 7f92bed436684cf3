"""Whoever exports to OpenVINO, or answers with it, tells nobody of it and forks no process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("openvino") is None, reason="one of the engines is not installed"
)

LOADED = {
    "to export": "from trivium.run.exporting import extras; extras.openvino()",
    "to answer": "import trivium.run.predictor.openvino",
}
CI = ("CI", "TF_BUILD", "JENKINS_URL")
"""Variables by which the package knows machines that test, and keeps quiet there."""


@pytest.mark.parametrize("why", LOADED)
def test_openvino_is_loaded_and_nobody_hears_of_it(why: str, tmp_path: Path) -> None:
    # Its first sender leaves a thread, and whoever tells, a folder in the user's home.
    code = (
        f"{LOADED[why]}\n"
        "import sys, threading\n"
        "assert threading.enumerate() == [threading.main_thread()], threading.enumerate()\n"
        "assert 'multiprocessing.process' not in sys.modules\n"
        "assert 'openvino' in sys.modules\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in CI}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
