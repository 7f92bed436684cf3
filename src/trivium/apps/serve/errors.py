"""What goes wrong, in one form for all routes: a code, a sentence, and every place that is wrong.

{"error": {"code": "invalid", "message": "…",
           "details": [{"where": "rows[3].message", "found": "…", "allowed": "…", "hint": "…"}]}}

Only clients of the Open Inference Protocol expect the sentence itself as `error`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from trivium.apps.serve.jsons import dumps
from trivium.apps.serve.settings import MAX_DETAILS
from trivium.errors import did_you_mean

LONGEST = 80
"""Characters that are repeated of what was found."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One place that is wrong."""

    where: str
    found: str
    allowed: str
    hint: str = ""

    def plain(self) -> dict[str, str]:
        return {
            "where": self.where,
            "found": self.found,
            "allowed": self.allowed,
            "hint": self.hint,
        }


class Problem(Exception):  # noqa: N818 an outcome, not an error
    """Why a request is not answered as it was meant."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Iterable[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.details, self.headers = tuple(details), dict(headers or {})

    def plain(self) -> dict[str, Any]:
        details = [each.plain() for each in self.details]
        return {"error": {"code": self.code, "message": self.message, "details": details}}

    def plain_v2(self) -> dict[str, Any]:
        """As the Open Inference Protocol has it, whose clients print `error` as it is."""
        found = self.plain()["error"]
        return {"error": found.pop("message"), **found}

    def response(self, path: str = "") -> Response:
        """path: that was asked for."""
        headers = {"cache-control": "no-store", **self.headers}
        plain = self.plain_v2() if is_v2(path) else self.plain()
        return Response(dumps(plain), self.status, headers, "application/json")


def is_v2(path: str) -> bool:
    """Whether a route is one of the Open Inference Protocol, which has errors of its own form."""
    return f"{path}/".startswith("/v2/")


@dataclass(slots=True)
class Faults:
    """Every mistake of a body, so that all are told at once."""

    details: list[Detail] = field(default_factory=list)
    """The first of them."""
    count: int = 0

    @property
    def are_listed(self) -> bool:
        """Whether another one would still be listed."""
        return self.count < MAX_DETAILS

    def add(self, where: str, found: str, allowed: str, hint: str = "") -> None:
        if self.are_listed:
            self.details.append(Detail(where, found, allowed, hint))
        self.count += 1

    def add_unknown(self, where: str, name: object, allowed: Iterable[str], what: str) -> None:
        """A name that is none of those allowed. what: is named, in words."""
        if not self.are_listed:  # looking for a near name is dear
            self.count += 1
            return
        names = list(allowed)
        # What is no text has no near name; to write it may be long, and too deep.
        near = did_you_mean(name[:LONGEST], names) if isinstance(name, str) else ""
        hint = near.removeprefix("; ") if "did you mean" in near else ""
        self.add(where, found_text(name), f"{what}: {', '.join(map(repr, names))}", hint)

    def refuse(self) -> None:
        """Raises Problem if there is a mistake."""
        if not self.count:
            return
        first = self.details[0]
        message = f"{first.where}: found {first.found}; allowed is {first.allowed}."
        if self.count > 1:
            message += f" {self.count - 1} more of such places; details list {len(self.details)}."
        raise Problem(422, "invalid", message, self.details)


def found_text(value: object) -> str:
    """What was found, short enough to be repeated."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        kind, unit = ("object", "keys") if isinstance(value, dict) else ("list", "elements")
        return f"{kind} of {len(value)} {unit}"
    if isinstance(value, str):
        cut = value if len(value) <= LONGEST else value[:LONGEST] + "…"
        return repr(cut)
    # A huge number takes long to write, and the longest are refused by Python itself.
    return "a number beyond 64 bits" if is_huge(value) else repr(value)


def is_huge(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 64
