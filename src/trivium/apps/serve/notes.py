"""What is noted of a request while it is answered, for metrics and the log."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of clients that are taken over; others get one of ours."""


@dataclass(slots=True)
class Note:
    """One request."""

    id: str
    arrived: float
    """Of `loop.time()`."""
    route: str = "none"
    """As in /openapi.json, whatever the path was."""
    status: int = 0
    """0: the client went away first."""
    code: str = ""
    """Of the problem that it ended with."""
    rows: int = 0
    tokens: int = 0
    failed: int = 0
    queued_s: float = 0.0
    computed_s: float = 0.0
    size: int = 0
    """Of what is worked on: the body's bytes, or characters of all that is made of them."""
    was_aside: bool = False
    """Whether it has been let into the thread for what is large."""
    texts: Mapping[str, object] | None = None
    """Only where they are to be logged."""
