"""JSON in and out: orjson where it is installed, else Python's own, with the same outcome."""

import json
from contextlib import suppress
from importlib import import_module
from typing import Any

orjson: Any = None
with suppress(ImportError):
    orjson = import_module("orjson")


class NotJson(Exception):  # noqa: N818 an outcome, not an error
    """The body cannot be read; `where` and `why` say it."""

    def __init__(self, where: str, why: str, *, is_deep: bool = False) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why, self.is_deep = where, why, is_deep


def loads(body: bytes) -> Any:
    """A body's value. Raises NotJson.

    What JSON does not know (NaN, infinities) is refused. Of equal keys the last counts.
    """
    if orjson is not None:
        try:
            return orjson.loads(body)
        except ValueError:
            pass  # Python's own says where; and it takes lone surrogates, which are told by place
    return _slowly(body)


def dumps(value: Any) -> bytes:
    """A value of ours as UTF-8."""
    if orjson is None:
        return _plainly(value)
    try:
        told: bytes = orjson.dumps(value)
    except TypeError:  # a lone surrogate
        return _plainly(value)
    return told


def _slowly(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start}", f"is not UTF-8 ({error.reason})") from None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}", error.msg) from None
    except RecursionError:
        raise NotJson("body", "brackets within brackets, too many", is_deep=True) from None
    except ValueError as error:  # a number of thousands of digits
        raise NotJson("body", str(error)) from None


def _no_constant(name: str) -> Any:
    raise NotJson("body", f"{name} is no value of JSON")


def _plainly(value: Any) -> bytes:
    # Escaped, since a lone surrogate that is repeated to whoever sent it has no UTF-8.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
