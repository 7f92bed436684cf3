"""The module for Ray Serve that docs/serve.md shows, in Ray Serve."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import trivium
from tests.support.markdown import ROOT, blocks
from tests.support.processes import PATIENCE_S

TEXTS = ["good", "bad dog", "Grüße 😀"]
ASKING = """
import json, sys
import httpx, psutil, ray
from ray import serve
from triage import app

def computing():
    pids = []
    for each in psutil.process_iter(["cmdline", "environ"]):
        is_worker = "trivium.apps.serve.worker" in (each.info["cmdline"] or ())
        if is_worker and (each.info["environ"] or {}).get("OF_TEST") == sys.argv[1]:
            pids.append(each.pid)
    return pids

ray.init(num_cpus=2, include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(app)
told = {"begun": len(computing())}
with httpx.Client(base_url=f"http://127.0.0.1:{sys.argv[1]}", timeout=60) as client:
    body = {"rows": [{"text": text} for text in json.loads(sys.argv[2])]}
    asked = [client.post("/v1/predict", json=body) for _ in range(4)]
    told["answers"] = [each.json()["answers"] for each in asked]
    told["ready"] = client.get("/health/ready").status_code
    told["metrics"] = "trivium_rows_total" in client.get("/metrics").text
    told["wrong"] = client.get("/v2/models/other").json()["code"]
serve.shutdown()
told["left"] = len(computing())
ray.shutdown()
print(json.dumps(told))
"""


@pytest.mark.thorough
@pytest.mark.whole_run
def test_replicas_of_ray_serve_answer_as_the_model_and_leave_no_process_behind(
    model: trivium.Predictor, run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed", exc_type=ImportError)
    (module,) = (b.text for b in blocks("docs/serve.md") if "serve.ingress" in b.text)
    assert "runs/quickstart" in module
    (tmp_path / "triage.py").write_text(module.replace("runs/quickstart", run.as_posix()))
    (tmp_path / "asking.py").write_text(ASKING)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    paths = os.pathsep.join(map(os.path.abspath, [str(ROOT / "src"), *filter(None, sys.path)]))
    done = subprocess.run(
        [sys.executable, "asking.py", port, json.dumps(TEXTS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "OF_TEST": port, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    answers = told.pop("answers")
    assert told == {
        "begun": 2, "ready": 200, "metrics": True, "wrong": "unknown_model", "left": 0,
    }  # fmt: skip
    for each in answers:
        assert [row["mood"]["prediction"] for row in each] == model.predict("mood", TEXTS)
