"""A calibrated model answers alike wherever it is asked: in PyTorch, as a graph, from a server."""

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

import trivium
from tests.support.exports import LABELS, TEXT, untrained
from tests.support.serving import client_of
from tests.support.tables import sentence
from trivium.answering.decide import Decide
from trivium.run.folder.decisions import write_decisions

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
jsonschema = pytest.importorskip("jsonschema")  # which schemathesis brings

TASKS: dict[str, Any] = {
    "one": {**TEXT, **LABELS},
    "cost": {**TEXT, **LABELS},
    "ordered": {**TEXT, "kind": "ordinal", "labels": ["low", "mid", "high"]},
    "several": {**TEXT, "kind": "multilabel", "labels": ["a", "b", "c"]},
    "plain": {**TEXT, **LABELS},
}
NAMES = ("no", "yes", "maybe")
DECISIONS = {
    "one": Decide(temperature=1.7, weights={"no": 0.6, "yes": 2.5, "maybe": 1.0}, abstain=0.4),
    "cost": Decide(costs={true: {n: abs(i - j) for j, n in enumerate(NAMES)}
                          for i, true in enumerate(NAMES)}, prior={"maybe": 3.0}),
    "ordered": Decide(temperature=0.6, prior={"mid": 2.0}, abstain=0.5),
    "several": Decide(temperature=2.0, thresholds={"a": 0.35, "c": 0.6}, abstain=0.145),
}  # fmt: skip
ROWS = [{"text": sentence(13 * number)} for number in range(60)]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("calibrated") / "run", tiny, TASKS)


@pytest.fixture(scope="module")
def before(run: Path) -> list[dict[str, Any]]:
    """What was answered before anything was found."""
    return trivium.load(run).answer(ROWS)


@pytest.fixture(scope="module")
def calibrated(run: Path, before: list[dict[str, Any]]) -> trivium.Predictor:
    assert before
    write_decisions(run / "model", DECISIONS)
    return trivium.load(run)


def test_what_was_found_changes_answers(
    calibrated: trivium.Predictor, before: list[dict[str, Any]]
) -> None:
    after = calibrated.answer(ROWS)
    for task in DECISIONS:
        assert [row[task] for row in before] != [row[task] for row in after], task
    assert [row["plain"] for row in before] == [row["plain"] for row in after]
    for task in ("one", "ordered", "several"):
        assert 0 < sum(row[task] == "" for row in after) < len(ROWS), task


def test_an_exported_graph_answers_as_the_calibrated_model_does(
    calibrated: trivium.Predictor, run: Path, tmp_path: Path
) -> None:
    trivium.export(run, tmp_path / "graph", to="onnx", console=Console(file=StringIO()))
    graph = trivium.load(tmp_path / "graph")
    assert graph.answer(ROWS) == calibrated.answer(ROWS)
    texts = [row["text"] for row in ROWS]
    for task in TASKS:
        ours = calibrated.probabilities(task, texts)
        for one, two in zip(ours, graph.probabilities(task, texts), strict=True):
            assert one == pytest.approx(two, abs=1e-4)


def test_a_server_answers_as_the_calibrated_model_does_and_as_it_describes_itself(
    calibrated: trivium.Predictor,
) -> None:
    async def asked() -> tuple[httpx.Response, httpx.Response, httpx.Response, httpx.Response]:
        async with client_of(calibrated) as client:
            tensor = {"name": "text", "shape": [60], "datatype": "BYTES"}
            tensor["data"] = [row["text"] for row in ROWS]
            return (
                await client.ask("/v1/predict", {"rows": ROWS, "probabilities": True, "top_k": 1}),
                await client.ask("/v2/models/tiny/infer", {"inputs": [tensor]}),
                await client.get("/v1/info"),
                await client.get("/openapi.json"),
            )

    said, inferred, info, document = (each.json() for each in asyncio.run(asked()))
    wanted = calibrated.answer(ROWS)
    texts = [row["text"] for row in ROWS]
    told = {task: calibrated.probabilities(task, texts) for task in TASKS}
    outputs = {each["name"]: each["data"] for each in inferred["outputs"]}
    for number, row in enumerate(said["answers"]):
        for task, of in row.items():
            assert of["prediction"] == wanted[number][task] == outputs[task][number]
            assert of["probabilities"] == pytest.approx(told[task][number], abs=1e-5)
            assert of["top"][0]["score"] == max(of["probabilities"].values())
            abstains = task in ("one", "ordered", "several")
            assert ("answered" in of) == abstains
            if abstains and of["answered"] == "no":
                assert of["prediction"] == ""
                assert of.get("labels", []) == []
    first = outputs["one.probabilities"][:3]
    assert first == pytest.approx([told["one"][0][name] for name in NAMES], abs=1e-5)
    assert info["tasks"]["several"]["decide"]["thresholds"] == {"a": 0.35, "c": 0.6}
    assert "decide" not in info["tasks"]["plain"]
    path = document["paths"]["/v1/predict"]["post"]["responses"]["200"]
    schema = path["content"]["application/json"]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(json.loads(json.dumps(schema))).validate(said)
