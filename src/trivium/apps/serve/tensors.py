"""Tensors as bytes behind the JSON, as clients of Triton send and ask for them unless they are told
otherwise: the extension `binary_tensor_data` of the Open Inference Protocol.

    JSON, as long as the header Inference-Header-Content-Length says | tensor | tensor | …

A tensor of texts (BYTES) is, for each of them, four bytes of length and the text in UTF-8; one of
numbers (FP32) is these. All is little-endian.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.responses import Response

from trivium.apps.serve.bodies import BINARY, parse
from trivium.apps.serve.checks import is_count, refuse
from trivium.apps.serve.errors import Detail, Problem, found_text
from trivium.apps.serve.jsons import dumps

EXTENSION = "binary_tensor_data"
SIZE = "binary_data_size"
"""Parameter of a tensor whose data are bytes behind the JSON: how many."""
LENGTH = struct.Struct("<I")
MOST_DIGITS = 12
"""Of the JSON's length in bytes, which no server takes in so many."""


def parse_tensors(body: bytes, header: str | None) -> Any:
    """The value of a body, in which texts that came as bytes are `data` as if they had come in
    JSON. header: Inference-Header-Content-Length. Raises Problem."""
    if header is None:
        return parse(body)
    # Python refuses to read numbers of thousands of digits.
    is_length = header.isascii() and header.isdecimal() and len(header) <= MOST_DIGITS
    if not is_length or int(header) > len(body):
        allowed = f"the bytes of the JSON, up to {len(body):,}, the whole body"
        detail = Detail(f"header {BINARY}", repr(header[:80]), allowed)
        message = f"header {BINARY}: found {header[:80]!r}; allowed are {allowed}."
        raise Problem(400, "bad_header", message, [detail])
    value, at = parse(body[: int(header)]), int(header)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    for place, tensor in enumerate(inputs if isinstance(inputs, list) else ()):
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        if not isinstance(parameters, dict) or SIZE not in parameters:
            continue
        size, where = parameters.pop(SIZE), f"inputs[{place}]"
        if not is_count(size) or size > len(body) - at:
            allowed = f"the bytes of this tensor; {len(body) - at:,} are left behind the JSON"
            refuse(f"{where}.parameters.{SIZE}", found_text(size), allowed)
        if "data" in tensor:
            refuse(f"{where}.data", "data in JSON and as bytes", "one of them")
        data, at = body[at : at + int(size)], at + int(size)
        # What else it says of itself is looked at by whoever reads it.
        is_text = tensor.get("datatype") == "BYTES"
        tensor["data"] = _texts(data, f"{where}.data") if is_text else []
    if at < len(body):
        refuse("body", f"{len(body) - at:,} bytes behind the last tensor", "none")
    return value


def _texts(data: bytes, where: str) -> list[str]:
    """Raises Problem."""
    found: list[str] = []
    at = 0
    while at < len(data):
        begin = at + LENGTH.size
        length = LENGTH.unpack_from(data, at)[0] if begin <= len(data) else 0
        at = begin + length
        if at > len(data):
            refuse(f"{where}[{len(found)}]", "an element that the bytes end in",
                   "four bytes of length, and a text so long")  # fmt: skip
        try:
            found.append(data[begin:at].decode())
        except UnicodeDecodeError:
            refuse(f"{where}[{len(found)}]", "bytes that are no UTF-8", "a text in UTF-8")
    return found


def as_bytes(body: Mapping[str, Any], outputs: Sequence[str]) -> set[str]:
    """Which of the outputs a body, already checked, asks for as bytes: all of them or each."""
    all_ = (body.get("parameters") or {}).get("binary_data_output", False)
    own = {
        output["name"]: (output.get("parameters") or {}).get("binary_data", all_)
        for output in body.get("outputs") or ()
    }
    return {name for name in outputs if own.get(name, all_) is True}


def joined(body: dict[str, Any], names: set[str]) -> Response:
    """An answer whose tensors of these names are bytes behind it. body: the answer in JSON, whose
    outputs it changes."""
    data: list[bytes] = []
    for tensor in body["outputs"]:
        if tensor["name"] in names:
            data.append(_packed(tensor.pop("data"), tensor["datatype"]))
            tensor["parameters"] = {SIZE: len(data[-1])}
    head = dumps(body)
    headers = {BINARY: str(len(head))}
    return Response(b"".join((head, *data)), 200, headers, "application/octet-stream")


def _packed(data: Sequence[Any], datatype: str) -> bytes:
    if datatype == "FP32":
        return np.asarray(data, dtype="<f4").tobytes()
    texts = [text.encode() for text in data]
    return b"".join(LENGTH.pack(len(text)) + text for text in texts)
