"""The log of requests: the same lines, whoever writes them, and together where many come."""

import json
from collections.abc import Callable
from io import StringIO

from trivium.apps.serve.logs import Log
from trivium.apps.serve.notes import Note

REFUSED = Note("a/b=7", 1.0, route="/v1/tasks/{task}/predict", status=429, code="queue_full")


class Flushed(StringIO):
    """Counts how often what it holds goes on."""

    count = 0

    def flush(self) -> None:
        self.count += 1


def test_a_refusal_reads_as_any_request() -> None:
    by_hand, in_general = StringIO(), StringIO()
    for seconds in (0.0, 0.000_018, 0.25):
        Log(by_hand).refused(REFUSED, seconds)
        Log(in_general).request(REFUSED, seconds, "POST")
    lines = [stream.getvalue().splitlines() for stream in (by_hand, in_general)]
    assert len(lines[0]) == 3
    for one, other in zip(*lines, strict=True):
        assert list(json.loads(one)) == list(json.loads(other))  # in the same order
        assert one.partition('"level"')[2] == other.partition('"level"')[2]
        assert len(json.loads(one)["time"]) == len("2026-01-01T00:00:00.000Z")


def test_where_only_problems_are_told_a_refusal_is_none() -> None:
    stream = StringIO()
    Log(stream, only_problems=True).refused(REFUSED, 0.1)
    assert stream.getvalue() == ""


def test_lines_of_requests_go_out_together_and_others_at_once() -> None:
    stream, due = Flushed(), list[Callable[[], None]]()
    log = Log(stream)
    log.soon = due.append
    for _ in range(2):
        log.request(REFUSED, 0.1, "POST")
        log.refused(REFUSED, 0.1)
        log.refused(REFUSED, 0.1)
        assert (stream.count, len(due)) == (0, 1)
        due.pop()()
        assert stream.count == 1
        stream.count = 0
    log.write("warning", {"event": "error"})
    assert (stream.count, due) == (1, [])
    assert len(stream.getvalue().splitlines()) == 7
    log.soon = None
    log.refused(REFUSED, 0.1)
    assert stream.count == 2
