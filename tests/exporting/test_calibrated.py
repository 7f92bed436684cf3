"""A calibrated model answers alike wherever it is asked: in PyTorch, as a graph, by the graph's own
example, from a server."""

import asyncio
import json
import runpy
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rich.console import Console
from tokenizers import Tokenizer

import trivium
from tests.support.exports import LABELS, PAIR, SCORE, TEXT, untrained
from tests.support.serving import client_of
from tests.support.tables import sentence
from trivium.answering.decide import Decide
from trivium.run.exporting import backends
from trivium.run.folder.decisions import write_decisions

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
jsonschema = pytest.importorskip("jsonschema")  # which schemathesis brings

pytestmark = pytest.mark.xdist_group("exported")  # what writes graphs is loaded once

TASKS: dict[str, Any] = {
    "one": {**TEXT, **LABELS},
    "cost": {**TEXT, **LABELS},
    "ordered": {**TEXT, "kind": "ordinal", "labels": ["low", "mid", "high"]},
    "several": {**TEXT, "kind": "multilabel", "labels": ["a", "b", "c"]},
    "pair": {**PAIR, **LABELS},
    "plain": {**TEXT, **LABELS},
    "score": {**PAIR, **SCORE},
}
NAMES = ("no", "yes", "maybe")
DECISIONS = {
    "one": Decide(temperature=1.7, weights={"no": 0.6, "yes": 2.5, "maybe": 1.0}, abstain=0.37),
    "cost": Decide(costs={true: {n: abs(i - j) for j, n in enumerate(NAMES)}
                          for i, true in enumerate(NAMES)}, prior={"maybe": 3.0}),
    "ordered": Decide(temperature=0.6, prior={"mid": 2.0}, abstain=0.5),
    "several": Decide(temperature=2.0, thresholds={"a": 0.35, "c": 0.6}, abstain=0.145,
                      prior={"b": 1.1}),
    "pair": Decide(temperature=0.05, weights={"no": 0.9, "yes": 1.1}),
}  # fmt: skip
ROWS = [{"text": sentence(13 * number)} for number in range(60)]
PAIRS = [{"first": sentence(7 * number), "second": sentence(5 * number)} for number in range(30)]
QUIET = Console(file=StringIO())


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


@pytest.fixture(scope="module")
def exported(run: Path, calibrated: trivium.Predictor) -> Path:
    assert calibrated
    trivium.export(run, run.parent / "graph", to="onnx", console=QUIET)
    return run.parent / "graph"


Ask = Callable[[Path, str, Any], tuple[str, list[float]]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What the example prints, and the probabilities that it found."""

    def asked(folder: Path, task: str, row: Any) -> tuple[str, list[float]]:
        texts = [row] if isinstance(row, str) else row
        monkeypatch.setattr("sys.argv", ["example.py", task, *texts])
        names = runpy.run_path(str(folder / "example.py"))
        said = capsys.readouterr()
        abstain = names["decide"].get("abstain") or 0
        assert ("not answered" in said.err) == (names["confidence"] < abstain)
        return said.out.removesuffix("\n"), np.asarray(names["told"], dtype=np.float64).tolist()

    return asked


def rows_of(task: str) -> list[Any]:
    if "first" in TASKS[task]["text"]:
        return [(row["first"], row["second"]) for row in PAIRS]
    return [row["text"] for row in ROWS]


def test_what_was_found_changes_answers(
    calibrated: trivium.Predictor, before: list[dict[str, Any]]
) -> None:
    after = calibrated.answer(ROWS)
    for task in DECISIONS.keys() - {"pair"}:
        assert [row[task] for row in before] != [row[task] for row in after], task
    assert [row["plain"] for row in before] == [row["plain"] for row in after]
    for task in ("one", "ordered", "several"):
        assert 0 < sum(row[task] == "" for row in after) < len(ROWS), task


@pytest.mark.thorough
def test_an_exported_graph_answers_as_the_calibrated_model_does(
    calibrated: trivium.Predictor, exported: Path
) -> None:
    graph = trivium.load(exported)
    assert graph.answer(ROWS) == calibrated.answer(ROWS)
    for task in TASKS:
        ours = calibrated.probabilities(task, rows_of(task))
        for one, two in zip(ours, graph.probabilities(task, rows_of(task)), strict=True):
            assert one == pytest.approx(two, abs=1e-4)


def test_the_example_beside_a_graph_answers_as_the_calibrated_model_does(
    calibrated: trivium.Predictor, exported: Path, ask: Ask
) -> None:
    for task in TASKS:
        rows = rows_of(task)
        wanted, told = calibrated.predict(task, rows), calibrated.probabilities(task, rows)
        most = [max(each, key=lambda name: each[name]) for each in told]
        # Some of every answer, also where another label is more probable, and where none is given.
        kinds = list(zip(wanted, most, strict=True))
        places = [kinds.index(kind) for kind in dict.fromkeys(kinds)][:8]
        assert task not in ("one", "ordered", "several") or "" in [wanted[p] for p in places]
        assert task not in ("one", "cost") or any(a not in ("", b) for a, b in kinds)
        for place, probability in ((place, told[place]) for place in places):
            answer, found = ask(exported, task, rows[place])
            if task == "score":
                assert float(answer) == pytest.approx(wanted[place], abs=1e-4)
            else:
                assert answer == wanted[place], task
                assert found == pytest.approx(list(probability.values()), abs=1e-4)


def test_the_example_pads_nothing_where_the_tokenizer_s_file_asks_for_it(
    calibrated: trivium.Predictor, exported: Path, ask: Ask, tmp_path: Path
) -> None:
    """As that of MiniLM does, to 128 tokens."""
    folder = Path(shutil.copytree(exported, tmp_path / "padding"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(folder / "tokenizer.json"))
    _, found = ask(folder, "plain", ROWS[0]["text"])
    (wanted,) = calibrated.probabilities("plain", [ROWS[0]["text"]])
    assert found == pytest.approx(list(wanted.values()), abs=1e-4)


@pytest.mark.thorough
def test_openvino_and_its_example_answer_as_the_calibrated_model_does(
    calibrated: trivium.Predictor,
    run: Path,
    exported: Path,
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")

    def write(_graph: Any, _names: Any, _limit: int, path: Path) -> None:
        shutil.copyfile(exported / "model.onnx", path)

    monkeypatch.setattr(backends, "write_onnx", write)
    trivium.export(run, tmp_path / "graph", to="openvino", console=QUIET)
    graph = trivium.load(tmp_path / "graph")
    assert graph.answer(ROWS) == calibrated.answer(ROWS)
    for task in ("several", "pair", "score"):
        row = rows_of(task)[0]
        answer, found = ask(tmp_path / "graph", task, row)
        if task == "score":
            assert float(answer) == pytest.approx(graph.predict(task, [row])[0], abs=1e-4)
            continue
        assert answer == graph.predict(task, [row])[0]
        (told,) = graph.probabilities(task, [row])
        assert found == pytest.approx(list(told.values()), abs=1e-5)
    assert "onnxruntime" not in (tmp_path / "graph" / "example.py").read_text()


def test_a_server_answers_as_the_calibrated_model_does_and_as_it_describes_itself(
    calibrated: trivium.Predictor,
) -> None:
    async def asked() -> tuple[httpx.Response, ...]:
        async with client_of(calibrated) as client:
            tensor = {"name": "text", "shape": [60], "datatype": "BYTES"}
            tensor["data"] = [row["text"] for row in ROWS]
            return (
                await client.ask("/v1/predict", {"rows": ROWS, "probabilities": True, "top_k": 1}),
                await client.ask("/v2/models/tiny/infer", {"inputs": [tensor]}),
                await client.get("/v1/info"),
                await client.get("/openapi.json"),
                await client.ask("/v1/explain", {"rows": ROWS[:1]}),
            )

    said, inferred, info, document, explained = (each.json() for each in asyncio.run(asked()))
    wanted = calibrated.answer(ROWS)
    texts = [row["text"] for row in ROWS]
    told = {task: calibrated.probabilities(task, texts) for task in wanted[0]}
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
    for task, of in explained["answers"][0].items():
        wanted_of = calibrated.explain(task, texts[0])
        assert (of["prediction"], of["about"]) == (wanted_of.answer, wanted_of.about)
        assert of["value"] == pytest.approx(wanted_of.value, abs=1e-5)
        effects = [word.effect for word in wanted_of.words]
        assert [word["effect"] for word in of["words"]] == pytest.approx(effects, abs=1e-5)
    path = document["paths"]["/v1/predict"]["post"]["responses"]["200"]
    schema = path["content"]["application/json"]["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(json.loads(json.dumps(schema))).validate(said)
