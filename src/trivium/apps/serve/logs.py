"""The log: a line of JSON per request, without texts unless it is told to hold them."""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from trivium.apps.serve.notes import Note

OF_SERVER = ("uvicorn", "uvicorn.error", "asyncio", "trivium.serve")
"""Loggers whose lines go here, too, from `warning` on."""


class Log:
    """Where lines go."""

    def __init__(self, stream: TextIO | None = None, *, only_problems: bool = False) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.only_problems = only_problems

    def request(self, note: Note, seconds: float, method: str) -> None:
        """One request, answered or not."""
        if self.only_problems and 0 < note.status < 500:
            return
        told: dict[str, Any] = {
            "event": "request",
            "id": note.id,
            "method": method,
            "route": note.route,
            "status": note.status or None,
            "ms": round(seconds * 1e3, 2),
        }
        if note.code:
            told["code"] = note.code
        if note.rows:
            told["rows"], told["tokens"] = note.rows, note.tokens
            told["queue_ms"] = round(note.queued_s * 1e3, 2)
            told["compute_ms"] = round(note.computed_s * 1e3, 2)
        if note.failed:
            told["failed"] = note.failed
        if note.texts is not None:
            told["texts"] = note.texts
        self.write("info" if note.status and note.status < 500 else "warning", told)

    def write(self, level: str, told: Mapping[str, Any]) -> None:
        """A line about anything. Whoever reads the log may be gone, as `| head` is; that is no
        reason not to answer."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with suppress(OSError, ValueError):
            self.stream.write(json.dumps({"time": now, "level": level, **told}) + "\n")
            self.stream.flush()


class LogHandler(logging.Handler):
    """Lines of other libraries, in the same form."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        told = {"event": "log", "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            told["error"] = logging.Formatter().formatException(record.exc_info)
        self.log.write(record.levelname.lower(), told)
