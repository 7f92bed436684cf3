"""The log: a line of JSON per request, without texts unless it is told to hold them."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
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
        self.soon: Callable[[Callable[[], None]], object] | None = None
        """Has something done when the event loop comes round: lines of many requests then go out
        together. Without it each goes by itself."""
        self._is_due = False

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
        level = "info" if note.status and note.status < 500 else "warning"
        self._put(json.dumps({"time": _now(), "level": level, **told}))

    def refused(self, note: Note, seconds: float) -> None:
        """As `request` of a question that the queue has no room for. They come by the thousand, and
        the general way to make JSON costs more than all the rest of a refusal."""
        if self.only_problems:
            return
        self._put(
            f'{{"time": "{_now()}", "level": "info", "event": "request", "id": "{note.id}", '
            f'"method": "POST", "route": "{note.route}", "status": {note.status}, '
            f'"ms": {round(seconds * 1e3, 2)}, "code": "{note.code}"}}'
        )

    def write(self, level: str, told: Mapping[str, Any]) -> None:
        """A line about anything, at once."""
        self._add(json.dumps({"time": _now(), "level": level, **told}))
        self.flush()

    def flush(self) -> None:
        """Whoever reads the log may be gone, as `| head` is; that is no reason not to answer."""
        self._is_due = False
        with suppress(OSError, ValueError):
            self.stream.flush()

    def _add(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self.stream.write(f"{line}\n")

    def _put(self, line: str) -> None:
        self._add(line)
        if self.soon is None:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self.soon(self.flush)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
