"""What a server answers is what the model says, in every form."""

import base64
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

import trivium
from tests.support.serving import ThreadService, client_of, served
from tests.support.shell import spoken
from tests.support.tables import make_recipe
from trivium.apps.serve.app import create_app
from trivium.apps.serve.logs import Log
from trivium.apps.serve.settings import Settings

TEXTS = ["good cat runs", "bad dog", "fine fish eats very red day"]
PAIR = {"first": "good cat", "second": "bad cat"}


async def test_rows_are_answered_as_the_model_answers_them(model: trivium.Predictor) -> None:
    rows = [{"text": TEXTS[0]}, PAIR, {"text": TEXTS[1], **PAIR}, {"text": TEXTS[2]}]
    async with client_of(model) as client:
        body = (await client.ask("/v1/predict", {"rows": rows})).json()
    assert body["model"] == "tiny"
    assert body["tokens"] > 0
    assert set(body["timing"]) == {"queue_ms", "compute_ms"}
    for found, wanted in zip(body["answers"], model.answer(rows), strict=True):
        assert list(found) == list(wanted)
        for task, said in wanted.items():
            tolerance = pytest.approx(said, abs=1e-5) if task == "near" else said
            assert found[task]["prediction"] == tolerance


async def test_an_ensemble_is_served_as_one_model_and_has_no_vectors(
    run: Path, tiny: Path, tmp_path: Path
) -> None:
    values = make_recipe(tiny, tmp_path)
    quiet = spoken()[0]
    trivium.train(values, tmp_path / "b", changes=["stages.0.steps=3", "seed=1"], console=quiet)
    trivium.ensemble([run, tmp_path / "b"], tmp_path / "both", "vote", console=quiet)
    both = trivium.load(tmp_path / "both")
    rows = [{"text": TEXTS[0]}, PAIR, {"text": TEXTS[1], **PAIR}]
    async with client_of(both) as client:
        found = (await client.ask("/v1/predict", {"rows": rows})).json()["answers"]
        vectors = await client.ask("/v1/embeddings", {"input": "good", "model": "tiny"})
    assert vectors.status_code == 404
    for said, wanted in zip(found, both.answer(rows), strict=True):
        predictions = {task: one["prediction"] for task, one in said.items()}
        assert predictions == {task: pytest.approx(one) for task, one in wanted.items()}


async def test_probabilities_and_the_best_labels_come_when_they_are_asked_for(
    model: trivium.Predictor,
) -> None:
    asked = {"rows": {"text": TEXTS[0]}, "tasks": ["mood"], "probabilities": True, "top_k": 1}
    async with client_of(model) as client:
        (found,) = (await client.ask("/v1/predict", asked)).json()["answers"]
    (wanted,) = model.probabilities("mood", [TEXTS[0]])
    assert list(found) == ["mood"]
    assert found["mood"]["probabilities"] == pytest.approx(wanted, abs=2e-6)
    assert found["mood"]["confidence"] == pytest.approx(max(wanted.values()), abs=2e-6)
    (best,) = found["mood"]["top"]
    assert best["label"] == found["mood"]["prediction"]


async def test_what_was_cut_is_told_of_the_task_that_cut_it(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        long, short = {"text": "cat " * 200}, {"text": "cat"}
        found = (await client.ask("/v1/predict", {"rows": [long, short]})).json()["answers"]
    assert found[0]["mood"]["cut"]["kept"] == 64
    assert found[0]["mood"]["cut"]["tokens"] > 64
    assert "cut" not in found[1]["mood"]


@pytest.mark.parametrize(
    ("task", "inputs", "rows"),
    [
        ("mood", "good cat", ["good cat"]),
        ("mood", ["good cat", "bad"], ["good cat", "bad"]),
        ("mood", [["good cat"], {"text": "bad"}], ["good cat", "bad"]),
        ("same", ["good", "bad"], [("good", "bad")]),
        ("same", [["good", "bad"], ["a", "b"]], [("good", "bad"), ("a", "b")]),
        ("same", {"text": "good", "text_pair": "bad"}, [("good", "bad")]),
        ("near", [{"text": "good", "text_pair": "bad"}], [("good", "bad")]),
    ],
)
async def test_a_task_is_asked_in_the_hubs_form(
    model: trivium.Predictor, task: str, inputs: Any, rows: Any
) -> None:
    async with client_of(model) as client:
        found = (await client.ask(f"/v1/tasks/{task}/predict", {"inputs": inputs})).json()
    wanted = model.probabilities(task, rows)
    assert len(found) == len(wanted)
    for labels, said in zip(found, wanted, strict=True):
        expected = {"score": said["prediction"]} if task == "near" else said
        told = {each["label"]: each["score"] for each in labels}
        assert told == pytest.approx(expected, abs=1e-5)
        scores = [each["score"] for each in labels]
        assert scores == sorted(scores, reverse=True)


async def test_the_hubs_form_gives_as_many_labels_as_are_wanted(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        asked = {"inputs": "good", "parameters": {"top_k": 1}}
        ((best,),) = (await client.ask("/v1/tasks/mood/predict", asked)).json()
    assert [best["label"]] == model.predict("mood", ["good"])


async def test_vectors_come_in_openais_form_as_numbers_or_as_bytes(
    model: trivium.Predictor,
) -> None:
    vector_BD = model.vectors(TEXTS)
    unit_BD = vector_BD / np.linalg.norm(vector_BD, axis=1, keepdims=True)
    async with client_of(model) as client:
        plain = (await client.ask("/v1/embeddings", {"input": TEXTS, "model": "tiny"})).json()
        asked = {"input": TEXTS, "encoding_format": "base64"}
        packed = (await client.ask("/v1/embeddings", asked)).json()
        one = (await client.ask("/v1/embeddings", {"input": TEXTS[0]})).json()
    found_BD = np.array([each["embedding"] for each in plain["data"]])
    np.testing.assert_allclose(found_BD, unit_BD, atol=1e-5)
    assert [each["index"] for each in plain["data"]] == [0, 1, 2]
    for each, said_D in zip(packed["data"], found_BD, strict=True):
        bytes_D = np.frombuffer(base64.b64decode(each["embedding"]), dtype="<f4")
        np.testing.assert_allclose(bytes_D, said_D, atol=1e-6)
    np.testing.assert_allclose(one["data"][0]["embedding"], found_BD[0], atol=1e-5)
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] > 0


async def test_columns_go_in_and_tasks_come_out_by_the_open_inference_protocol(
    model: trivium.Predictor,
) -> None:
    def tensor(name: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
        return {"name": name, "datatype": "BYTES", "shape": shape, "data": data}

    first, second = ["good", "bad"], ["cat", "dog"]
    inputs = [tensor("first", [2], first), tensor("second", [2, 1], [["cat"], ["dog"]])]
    async with client_of(model) as client:
        told = (await client.get("/v2/models/tiny")).json()
        body = {"id": "7", "inputs": inputs, "parameters": {"anything": 1}}
        found = (await client.ask("/v2/models/tiny/infer", body)).json()
        only = (
            await client.ask(
                "/v2/models/tiny/infer", {"inputs": inputs, "outputs": [{"name": "near"}]}
            )
        ).json()
    outputs = {each["name"]: each for each in found["outputs"]}
    assert list(outputs) == ["same", "same.probabilities", "near"]
    assert {each["name"] for each in told["outputs"]} == {"mood", "mood.probabilities", *outputs}
    assert found["id"] == "7"
    rows = list(zip(first, second, strict=True))
    assert outputs["same"]["data"] == model.predict("same", rows)
    wanted = [p for each in model.probabilities("same", rows) for p in each.values()]
    assert outputs["same.probabilities"]["shape"] == [2, 2]
    assert outputs["same.probabilities"]["data"] == pytest.approx(wanted, abs=1e-5)
    assert only["outputs"] == [outputs["near"]]


@pytest.mark.parametrize("name", ["acme/desk", "acme/ready/desk", "Größe 2.0", "infer"])
def test_a_model_is_found_by_whatever_name_it_may_have(model: trivium.Predictor, name: str) -> None:
    inputs = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good cat"]}]
    with served(create_app(ThreadService(model), Settings(name=name), Log(StringIO()))) as url:
        for written in (quote(name), quote(name, safe="")):
            path = f"{url}/v2/models/{written}"
            assert httpx.get(path).json()["name"] == name
            assert httpx.get(f"{path}/ready").json() == {"name": name, "ready": True}
            found = httpx.post(f"{path}/infer", json={"inputs": inputs}).json()
            assert found["outputs"][0]["data"] == model.predict("mood", ["good cat"])
            assert httpx.get(f"{path}/infer").status_code == 405
            other = httpx.get(f"{path}er").json()
            assert other["code"] == "unknown_model"
        counted = httpx.get(f"{url}/metrics").text
        document = httpx.get(f"{url}/openapi.json").json()
    assert 'trivium_requests_total{route="/v2/models/{name}/infer",status="200"} 2.0' in counted
    (asked,) = document["paths"]["/v2/models/{name}/infer"]["post"]["parameters"][:1]
    assert asked["schema"]["enum"] == [name]


async def test_a_large_body_is_answered_as_its_rows_are_one_by_one(
    model: trivium.Predictor,
) -> None:
    rows = [{"text": f"{TEXTS[n % 3]} {'very ' * n}"} for n in range(200)]
    async with client_of(model) as client:
        found = (await client.ask("/v1/predict", {"rows": rows})).json()["answers"]
    assert [each["mood"]["prediction"] for each in found] == [
        each["mood"] for each in model.answer(rows)
    ]


async def test_a_row_that_cannot_be_computed_has_its_own_error_and_harms_no_other(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        client.service.poison = model.readers[0].tokenizer(["fish"])[0][0]
        rows = [{"text": "cat"}, {"text": "fish"}, {"text": "dog"}]
        some = await client.ask("/v1/predict", {"rows": rows})
        hub = await client.ask("/v1/tasks/mood/predict", {"inputs": ["cat", "fish"]})
        all_ = await client.ask("/v1/predict", {"rows": [rows[1]]})
        vectors = await client.ask("/v1/embeddings", {"input": ["cat", "fish"]})
    assert some.status_code == hub.status_code == 200
    assert ["error" in each for each in some.json()["answers"]] == [False, True, False]
    assert some.json()["answers"][1]["error"]["details"][0]["where"] == "rows[1]"
    assert hub.json()[1]["error"]["code"] == "row_failed"
    assert all_.status_code == vectors.status_code == 500
    assert vectors.json()["error"]["details"][0]["where"] == "input[1]"


async def test_info_tells_what_a_client_needs(model: trivium.Predictor) -> None:
    async with client_of(model, Settings(name="tiny", sha256="ab", max_rows=5)) as client:
        told = (await client.get("/v1/info")).json()
    assert told["model"] == {"name": "tiny", "sha256": "ab"}
    assert told["tasks"]["mood"]["labels"] == list(model.probabilities("mood", ["x"])[0])
    assert told["tasks"]["near"]["range"] == [0, 3]
    assert told["tasks"]["same"]["columns"] == ["first", "second"]
    assert told["limits"]["rows"] == 5
    assert told["precision"] == "fp32"


async def test_the_page_at_the_root_names_the_tasks(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert all(name in page.text for name in model.forms)
