"""Tensors as bytes behind the JSON, and errors as clients of the Open Inference Protocol read them.

The frames are written by hand; where Triton's own client is installed, it is asked, too.
"""

import json
import struct
from typing import Any

import numpy as np
import pytest

import trivium
from tests.support.serving import Client, ThreadService, client_of, served
from trivium.apps.serve.app import create_app
from trivium.apps.serve.settings import Settings
from trivium.apps.serve.tensors import parse_tensors

INFER = "/v2/models/tiny/infer"
HEADER = "inference-header-content-length"
TEXTS = ["cat", "", "Grüße, čaj 😀"]
# Four bytes of length, the least first, then UTF-8: ü is two bytes long.
CAT, NOTHING, GREETING = b"\x03\0\0\0cat", b"\0\0\0\0", b"\x06\0\0\0gr\xc3\xbcn!"


def tensor(name: str, rows: int, size: int) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": "BYTES", "shape": [rows], "parameters": parameters}


async def asked(client: Client, body: Any, *data: bytes, header: str | None = None) -> Any:
    head = json.dumps(body).encode()
    headers = {HEADER: str(len(head)) if header is None else header}
    return await client.post(INFER, content=head + b"".join(data), headers=headers)


async def test_texts_that_come_as_bytes_are_answered_as_those_in_json(
    model: trivium.Predictor,
) -> None:
    data = CAT + NOTHING + GREETING
    plain = {"name": "text", "datatype": "BYTES", "shape": [3], "data": ["cat", "", "grün!"]}
    async with client_of(model) as client:
        found = await asked(client, {"inputs": [tensor("text", 3, len(data))]}, data)
        wanted = await client.ask(INFER, {"inputs": [plain]})
    assert found.status_code == 200, found.text
    assert found.json() == wanted.json()


async def test_several_tensors_lie_in_their_order_and_some_may_stay_in_json(
    model: trivium.Predictor,
) -> None:
    first = {"name": "first", "datatype": "BYTES", "shape": [1], "data": ["grün!"]}
    async with client_of(model) as client:
        pair = [tensor("first", 1, len(GREETING)), tensor("second", 1, len(CAT))]
        both = await asked(client, {"inputs": pair}, GREETING, CAT)
        one = await asked(client, {"inputs": [first, pair[1]]}, CAT)
    assert both.status_code == 200, both.text
    assert both.json() == one.json()
    assert both.json()["outputs"][0]["data"] == model.predict("same", [("grün!", "cat")])


@pytest.mark.parametrize(
    ("parameters", "outputs", "binary"),
    [
        ({"binary_data_output": True}, None, ["mood", "mood.probabilities"]),
        ({}, {"mood": True, "mood.probabilities": False}, ["mood"]),
        ({"binary_data_output": True}, {"mood": None, "mood.probabilities": False}, ["mood"]),
        ({"binary_data_output": False}, {"mood": None}, []),
    ],
)
async def test_answers_come_as_bytes_where_they_are_asked_for(
    model: trivium.Predictor, parameters: Any, outputs: dict[str, bool | None] | None, binary: Any
) -> None:
    body: dict[str, Any] = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["cat", "dog"]}]
    }
    if outputs:
        body["outputs"] = [
            {"name": name, "parameters": {} if said is None else {"binary_data": said}}
            for name, said in outputs.items()
        ]
    async with client_of(model) as client:
        plain = (await client.ask(INFER, body)).json() if not outputs else None
        found = await client.ask(INFER, {**body, "parameters": parameters})
    length = int(found.headers.get(HEADER, len(found.content)))
    told, rest = json.loads(found.content[:length]), found.content[length:]
    for each in told["outputs"]:
        assert ("data" not in each) == (each["name"] in binary)
        if "data" not in each:
            size = each["parameters"]["binary_data_size"]
            each["data"], rest = unpacked(each["datatype"], rest[:size]), rest[size:]
    assert rest == b""
    labels = {each["name"]: each["data"] for each in told["outputs"]}
    assert labels["mood"] == model.predict("mood", ["cat", "dog"])
    if plain:
        wanted = [each["data"] for each in plain["outputs"]]
        np.testing.assert_allclose(labels["mood.probabilities"], wanted[1], atol=1e-7)


def unpacked(datatype: str, data: bytes) -> list[Any]:
    """By the letter of the extension."""
    if datatype == "FP32":
        return [*struct.unpack(f"<{len(data) // 4}f", data)]
    found = []
    while data:
        (size,) = struct.unpack("<I", data[:4])
        found.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return found


@pytest.mark.parametrize(
    ("sizes", "data", "said"),
    [
        ([8], CAT, "parameters.binary_data_size"),
        ([0], b"", "parameters.binary_data_size"),
        (["7"], CAT, "parameters.binary_data_size"),
        ([7], CAT + b"!", "1 bytes behind the last tensor"),
        ([6], CAT[:6], "data[0]: found an element that the bytes end in"),
        ([9], CAT + b"\1\0", "data[1]: found an element that the bytes end in"),
        ([6], b"\2\0\0\0\xff\xfe", "data[0]: found bytes that are no UTF-8"),
        ([11], CAT + NOTHING, "data: found 2 elements"),
    ],
)
async def test_bytes_that_are_not_what_the_json_says_are_refused(
    model: trivium.Predictor, sizes: list[Any], data: bytes, said: str
) -> None:
    async with client_of(model) as client:
        inputs = [tensor("text", 1, size) for size in sizes]
        found = await asked(client, {"inputs": inputs}, data)
        assert not client.service.calls
    assert found.status_code == 422
    assert said in found.json()["error"]


def test_bytes_are_copied_once_however_many_tensors_they_are_cut_into() -> None:
    copied = 0

    class Counting(bytes):
        def __getitem__(self, part: Any) -> Any:
            nonlocal copied
            found = super().__getitem__(part)
            copied += len(found) if isinstance(part, slice) else 0
            return Counting(found) if isinstance(part, slice) else found

    head = json.dumps({"inputs": [{"parameters": {"binary_data_size": 7}}] * 300}).encode()
    body = Counting(head + CAT * 300)
    parse_tensors(body, str(len(head)))
    assert copied == len(body)


async def test_what_is_said_of_the_bytes_must_hold_together(model: trivium.Predictor) -> None:
    twice = {**tensor("text", 1, 7), "data": ["cat"]}
    other = {**tensor("text", 1, 8), "datatype": "FP32"}
    async with client_of(model) as client:
        long = await asked(client, {"inputs": []}, header="99999")
        none = await asked(client, {"inputs": []}, header="-1")
        endless = await asked(client, {"inputs": []}, header="0" * 5000)
        both = await asked(client, {"inputs": [twice]}, CAT)
        floats = await asked(client, {"inputs": [other]}, b"\0" * 8)
        without = await client.ask(INFER, {"inputs": [twice]})
        elsewhere = await client.post("/v1/predict", content=b"{}", headers={HEADER: "2"})
    assert [each.status_code for each in (long, none, endless)] == [400] * 3
    assert {each.json()["code"] for each in (long, none, endless)} == {"bad_header"}
    assert "one of them" in both.json()["error"]
    assert "allowed is 'BYTES'" in floats.json()["error"]
    assert "no bytes behind the JSON" in without.json()["error"]
    assert elsewhere.status_code == 415


async def test_the_models_name_may_be_said_again_if_it_is_this_one(
    model: trivium.Predictor,
) -> None:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["cat"]}]
    async with client_of(model) as client:
        same = await client.ask(INFER, {"model_name": "tiny", "inputs": inputs})
        other = await client.ask(INFER, {"model_name": "large", "inputs": inputs})
    assert (same.status_code, other.status_code) == (200, 422)
    assert other.json()["error"] == "model_name: found 'large'; allowed is 'tiny'."


async def test_errors_of_the_protocol_are_a_sentence_with_its_details_beside_it(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        mine = await client.ask(INFER, {"inputs": [{"name": "txt"}]})
        other = await client.get("/v2/models/other")
        nowhere = await client.get("/v2/repository")
        wrong = await client.get(INFER)
        usual = await client.get("/v2x")
    for answer in (mine, other, nowhere, wrong):
        assert set(answer.json()) == {"error", "code", "details"}
        assert isinstance(answer.json()["error"], str)
    assert other.json()["details"][0]["where"] == "model"
    assert usual.json()["error"]["code"] == "not_found"


def test_the_client_of_triton_is_answered_and_told_what_is_wrong(model: trivium.Predictor) -> None:
    triton = pytest.importorskip(
        "tritonclient.http", reason="tritonclient[http] is not installed", exc_type=ImportError
    )

    def given(column: str, texts: list[str]) -> Any:
        found = triton.InferInput(column, [len(texts)], "BYTES")
        found.set_data_from_numpy(np.array(texts, dtype=object))  # as bytes, unless it is told
        return found

    with served(create_app(ThreadService(model), Settings(name="tiny"))) as url:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.get_model_metadata("tiny")["name"] == "tiny"
        found = client.infer("tiny", [given("text", TEXTS)])
        with pytest.raises(triton.InferenceServerException, match=r"\[422\] inputs\[0\].name"):
            client.infer("tiny", [given("txt", TEXTS)])
    assert [each.decode() for each in found.as_numpy("mood")] == model.predict("mood", TEXTS)
    wanted = [[*each.values()] for each in model.probabilities("mood", TEXTS)]
    np.testing.assert_allclose(found.as_numpy("mood.probabilities"), wanted, atol=1e-5)
