"""Bodies that are wrong: every place is named, and nothing else happens."""

import json
from typing import Any

import pytest

import trivium
from tests.support.serving import Client, client_of
from trivium.apps.serve import jsons
from trivium.apps.serve.settings import Settings

ROW = {"text": "good cat"}
LIMITS = Settings(name="tiny", max_rows=4, max_body_bytes=300_000)


async def refused(client: Client, path: str, body: Any, status: int = 422) -> dict[str, Any]:
    """The error of a body that is refused."""
    answer = await client.ask(path, body)
    assert answer.status_code == status, answer.text
    if path.startswith("/v2/"):
        error: dict[str, Any] = answer.json()
        error["message"] = error.pop("error")
        assert isinstance(error["message"], str)
    else:
        assert set(answer.json()) == {"error"}
        error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    return error


@pytest.mark.parametrize(
    ("rows", "where", "said"),
    [
        ([{"txt": "x"}], "rows[0].txt", "did you mean 'text'?"),
        ([ROW, {"text": 7}], "rows[1].text", "7"),
        ([{"text": None}], "rows[0].text", "null"),
        ([{"text": ["a"]}], "rows[0].text", "list of 1 elements"),
        ([{"text": 10**30}], "rows[0].text", ""),
        ([{"text": "x" * 100_001}], "rows[0].text", "100,001 characters"),
        ([{"first": "x"}], "rows[0]", "'first'"),
        ([{}], "rows[0]", "no column"),
        (["x"], "rows[0]", "'x'"),
        ([], "rows", "list of 0 elements"),
        ("x", "rows", "'x'"),
        ([{"": "x"}], "rows[0].", "''"),
    ],
)
async def test_a_row_that_is_wrong_is_named(
    model: trivium.Predictor, rows: Any, where: str, said: str
) -> None:
    async with client_of(model, LIMITS) as client:
        error = await refused(client, "/v1/predict", {"rows": rows})
        assert not client.service.calls
    (detail,) = error["details"]
    assert detail["where"] == where
    assert said in f"{detail['found']} {detail['hint']}"
    assert where in error["message"]


async def test_every_bad_row_is_listed_and_the_rest_counted(model: trivium.Predictor) -> None:
    rows = [{"text": 1}, ROW, {"text": 2, "tetx": "x"}, ROW, {"first": "x"}]
    async with client_of(model) as client:
        error = await refused(client, "/v1/predict", {"rows": rows})
        many = await refused(client, "/v1/predict", {"rows": [{"text": 1, "x": 2}] * 300})
    assert [each["where"] for each in error["details"]] == [
        "rows[0].text", "rows[2].text", "rows[2].tetx", "rows[4]",
    ]  # fmt: skip
    assert len(many["details"]) == 100
    assert "599 more" in many["message"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"rows": [ROW], "row": 1}, "row"),
        ({"rows": [ROW], "tasks": ["moood"]}, "tasks[0]"),
        ({"rows": [ROW], "tasks": [["mood"]]}, "tasks[0]"),
        ({"rows": [ROW], "tasks": ["mood", "mood"]}, "tasks[1]"),
        ({"rows": [ROW], "tasks": []}, "tasks"),
        ({"rows": [ROW], "tasks": ["mood"] * 200_000}, "tasks"),
        ({"rows": [ROW], "tasks": ["mood", "same"]}, "rows[0]"),
        ({"rows": [ROW], "probabilities": "yes"}, "probabilities"),
        ({"rows": [ROW], "top_k": 0}, "top_k"),
        ({"rows": [ROW], "top_k": True}, "top_k"),
        ({}, "rows"),
        ([ROW], "body"),
    ],
)
async def test_a_body_that_is_wrong_is_named(
    model: trivium.Predictor, body: Any, where: str
) -> None:
    async with client_of(model) as client:
        error = await refused(client, "/v1/predict", body)
    assert error["details"][0]["where"] == where


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/tasks/mood/predict", {"inputs": [1]}, "inputs[0]"),
        ("/v1/tasks/mood/predict", {"inputs": []}, "inputs"),
        ("/v1/tasks/same/predict", {"inputs": "x"}, "inputs"),
        ("/v1/tasks/same/predict", {"inputs": [["a", "b"], ["a"]]}, "inputs[1]"),
        ("/v1/tasks/same/predict", {"inputs": [["a", None]]}, "inputs[0][1]"),
        ("/v1/tasks/mood/predict", {"inputs": "x", "parameters": {"topk": 1}}, "parameters.topk"),
        ("/v1/embeddings", {"input": [[1, 2]]}, "input[0]"),
        ("/v1/embeddings", {"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ("/v1/embeddings", {"input": "x", "dimensions": 8}, "dimensions"),
        ("/v2/models/tiny/infer", {"inputs": []}, "inputs"),
        (
            "/v2/models/tiny/infer",
            {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["x"]}]},
            "inputs[0].name",
        ),
        (
            "/v2/models/tiny/infer",
            {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["x"]}]},
            "inputs[0].data",
        ),
        (
            "/v2/models/tiny/infer",
            {"inputs": [{"name": "text", "shape": [1], "datatype": "FP32", "data": ["x"]}]},
            "inputs[0].datatype",
        ),
    ],
)
async def test_other_forms_name_their_places_too(
    model: trivium.Predictor, path: str, body: Any, where: str
) -> None:
    async with client_of(model) as client:
        error = await refused(client, path, body)
    assert error["details"][0]["where"] == where


@pytest.mark.skipif(jsons.orjson is None, reason="Python's own JSON reads less deep brackets")
@pytest.mark.parametrize("where", ["inputs[0].name", "inputs[0].shape", "outputs[0].name"])
async def test_what_is_too_deep_to_be_written_is_told_all_the_same(
    model: trivium.Predictor, where: str
) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    body: dict[str, Any] = {"inputs": [tensor], "outputs": [{"name": "mood"}]}
    place, key = where.split("[0].")
    body[place][0][key] = "DEEP"
    sent = json.dumps(body).replace('"DEEP"', "[" * 1000 + "]" * 1000)
    async with client_of(model) as client:
        answer = await client.post("/v2/models/tiny/infer", content=sent)
    assert answer.status_code == 422, answer.text
    (detail,) = answer.json()["details"]
    assert (detail["where"], detail["found"]) == (where, "list of 1 elements")


@pytest.mark.parametrize("parser", ["installed", "python"])
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "nothing"),
        (b"{", 400, "line 1, column 2"),
        (b'{"rows": NaN}', 400, "NaN"),
        (b'{"rows": "\xff"}', 400, "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", 400, "not UTF-8"),
        (b'{1: "x"}', 400, "line 1, column 2"),
        (b"[" * 20_000, 422, "nested too deeply"),
        (b'{"rows": {"text": "\\ud800"}}', 422, "surrogate pair at character 0"),
        (b'{"rows": {"text": "x\\udc00y"}}', 422, "surrogate pair at character 1"),
        (b'{"rows": {"\\ud800": "x"}}', 422, "ud800"),
        (b'{"rows": 1' + b"0" * 5000 + b"}", (400, 422), "body"),
        (b'{"rows": {"text": "a"}, "top_k": 1e999}', (400, 422), "top_k"),
    ],
)
async def test_what_no_client_should_send_is_refused_with_its_place(
    model: trivium.Predictor,
    monkeypatch: pytest.MonkeyPatch,
    parser: str,
    body: bytes,
    status: Any,
    said: str,
) -> None:
    if parser == "python":
        monkeypatch.setattr(jsons, "orjson", None)
    async with client_of(model) as client:
        answer = await client.post("/v1/predict", content=body)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    if isinstance(status, int):
        assert said in answer.text
    json.loads(answer.content.decode("utf-8"))


async def test_a_text_may_hold_any_character_but_halves_of_one(model: trivium.Predictor) -> None:
    rows = [{"text": "\x00"}, {"text": "\U0001f600\u202e\ufeff"}, {"text": ""}, {"text": "x" * 9}]
    async with client_of(model) as client:
        found = await client.ask("/v1/predict", {"rows": rows})
        twice = await client.post("/v1/predict", content=b'{"rows": 1, "rows": {"text": "a"}}')
    assert found.status_code == twice.status_code == 200
    assert len(found.json()["answers"]) == 4


async def test_limits_are_told_and_kept(model: trivium.Predictor) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65_536

    async with client_of(model, LIMITS) as client:
        rows = await refused(client, "/v1/predict", {"rows": [ROW] * 5}, 413)
        inputs = await refused(client, "/v1/tasks/mood/predict", {"inputs": ["a"] * 5}, 413)
        large = await client.post("/v1/predict", content=b" " * 300_001)
        unannounced = await client.post("/v1/predict", content=endless())
    assert rows["code"] == inputs["code"] == "too_many_rows"
    for answer in (large, unannounced):
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
        assert "300,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/x-www-form-urlencoded"}, 200),
        ({"content-type": "application/cloudevents+json"}, 200),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "text/xml"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"inference-header-content-length": "12"}, 415),
    ],
)
async def test_only_a_type_that_clearly_is_another_is_refused(
    model: trivium.Predictor, headers: dict[str, str], status: int
) -> None:
    async with client_of(model) as client:
        body = json.dumps({"rows": ROW}).encode()
        answer = await client.post("/v1/predict", content=body, headers=headers)
    assert answer.status_code == status


async def test_routes_tasks_and_models_that_are_not_there_are_told(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        nowhere = await client.get("/v1/nowhere")
        wrong = await client.get("/v1/predict")
        slash = await client.get("/v1/info/")
        task = await refused(client, "/v1/tasks/moood/predict", {"inputs": "x"}, 404)
        other = await refused(client, "/v2/models/other/infer", {"inputs": []}, 404)
        openai = await refused(client, "/v1/embeddings", {"input": "x", "model": "gpt"}, 404)
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert slash.status_code == 404
    assert "did you mean 'mood'" in task["message"]
    assert other["code"] == openai["code"] == "unknown_model"
