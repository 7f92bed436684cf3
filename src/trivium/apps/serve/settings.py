"""What a server may be told, each a flag and `TRIVIUM_…` in the environment; and fixed limits."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trivium.part import Part

MAX_CHARACTERS = 100_000
"""Of one text; looked at before a text is split into tokens."""
MAX_DETAILS = 100
"""Mistakes that an answer lists; it says how many there are in all."""
OFF_LOOP_BYTES = 32_768
"""A larger body is parsed and split into tokens in a thread, so that others are not kept waiting.
"""
BODIES_ASIDE = 8
"""Bodies of the greatest length that may wait for that thread."""
MAX_HEAD_BYTES = 65_536
"""Of a request's URL and headers, which are kept until they are whole."""
HEADERS_S = 10.0
"""How long a client may take to send a request's headers, from their first byte."""
KEEP_ALIVE_S = 75.0
"""How long an idle connection is kept: longer than balancers do, so that they are the first."""
READ_S = 30.0
"""How long an answer is kept of which the client reads nothing."""
READ_AT_END_S = 5.0
"""The same, where the server ends as soon as it is read."""


BEHIND = ("ready", "infer")
"""Last words of routes that begin with the model's name."""


def _can_be_asked_for(name: str) -> str:
    """Raises ValueError for a name that no client could put into a URL, or that none would find."""
    words = name.split("/")
    reserved = len(words) > 1 and words[-1] in BEHIND
    if not name.isprintable() or reserved or any(word in ("", ".", "..") for word in words):
        raise ValueError(
            "no client could ask for it in a URL; give --name characters that can be printed, such "
            "as desk or acme/desk, whose parts are not empty, . or .., and do not end in "
            + " or ".join(f"/{word}" for word in BEHIND)
        )
    return name


ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")
STANDING_PORTS = {"http": ":80", "https": ":443"}
"""Which browsers leave out."""


def _as_browsers_send_it(origin: str) -> str:
    """Raises ValueError for an origin that no page has, which would be let in by nothing."""
    standing = STANDING_PORTS.get(origin.partition("://")[0])
    if not ORIGIN.fullmatch(origin) or (standing and origin.endswith(standing)):
        raise ValueError(
            "no page has this origin; write it as browsers send it, such as https://app.example or "
            "http://localhost:3000: in small letters, without a path, a slash at its end, or the "
            "port that goes without saying; or * for any page"
        )
    return origin


class Settings(Part):
    """How a model is served. Texts are never kept, whatever is set."""

    name: Annotated[str, AfterValidator(_can_be_asked_for)] = "model"
    """What clients call the model; it may have slashes, as names on the hub have."""
    sha256: str = ""
    """Of the file that seals the model's folder: it holds the sha256 of every other file."""
    run: Path | None = None
    """Its folder, where the page at `/` finds dev rows to try."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    """0: any that is free."""
    workers: int = Field(default=0, ge=0)
    """Processes that compute; 0: as many as there are cores or GPUs for."""
    precision: str = "auto"
    device: str = "auto"
    backend: str = "auto"
    api_keys: tuple[str, ...] = ()
    """Any of them opens every route; without one, everybody may ask."""
    metrics_key: bool = False
    """Whether /metrics asks for a key, too."""
    max_rows: int = Field(default=1024, ge=1)
    """Of one request."""
    max_body_bytes: int = Field(default=4 * 2**20, ge=1024)
    max_queue_rows: int = Field(default=4096, ge=1)
    max_queue_tokens: int = Field(default=2**17, ge=1)
    batch_tokens: int = Field(default=2048, ge=1)
    """That a process computes at once, if so many are waiting."""
    max_wait_s: float = Field(default=3.0, gt=0)
    """Of work, at the measured speed, that may wait before a request."""
    timeout_s: float = Field(default=30.0, gt=0)
    """From a request's arrival; what is not computed by then never will be."""
    drain_delay_s: float = Field(default=5.0, ge=0)
    """After SIGTERM, how long requests are still taken while `ready` already says no."""
    grace_s: float = Field(default=30.0, ge=0)
    """After that, how long what is being answered may take."""
    log_texts: bool = False
    log_level: Literal["info", "warning"] = "info"
    """`warning`: no line for requests that were answered."""
    allow_origin: tuple[Annotated[str, AfterValidator(_as_browsers_send_it)], ...] = ()
    """Web pages from there may ask; `*`: any page."""
