"""Numbers for Prometheus, in a registry of their own."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from trivium.apps.serve.front import Front
from trivium.apps.serve.notes import Note

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
REFUSALS = {"queue_full", "draining", "not_ready", "too_late", "too_large", "too_many_rows",
            "unauthorized", "slow_body", "row_failed"}  # fmt: skip
"""Codes that are counted by themselves; others say that the request is wrong: `wrong`."""


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._seconds = Histogram(
            "trivium_request_seconds",
            "From a request's headers to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "trivium_requests", "Answered requests", ["route", "status"], registry=self.registry
        )
        self._rejected = Counter(
            "trivium_rejected", "Requests that were refused", ["reason"], registry=self.registry
        )
        self._rows = Counter("trivium_asked_rows", "Rows of requests", registry=self.registry)
        self._failed = Counter(
            "trivium_failed_rows", "Rows that could not be computed", registry=self.registry
        )
        # Looking for them by their labels takes longer than counting. Routes, statuses and codes
        # are few, since none of them is a client's own word.
        self._counted: dict[tuple[str, int, str], _Counted] = {}
        for reason in sorted({*REFUSALS, "wrong", "gone"}):
            self._rejected.labels(reason)

    def watch(self, front: Front) -> None:
        """Tell of its queue and processes, too."""
        self.registry.register(_Load(front))

    def count(self, note: Note, seconds: float) -> None:
        """One request."""
        key = note.route, note.status, note.code
        if (counted := self._counted.get(key)) is None:
            counted = self._counted[key] = self._counters(*key)
        counted.seconds.observe(seconds)
        for each in counted.each:
            each.inc()
        if note.rows:
            self._rows.inc(note.rows)
        if note.failed:
            self._failed.inc(note.failed)

    def _counters(self, route: str, status: int, code: str) -> "_Counted":
        each = [self._requests.labels(route, str(status or 499))]
        if code:
            each.append(self._rejected.labels(code if code in REFUSALS else "wrong"))
        elif not status:
            each.append(self._rejected.labels("gone"))
        return _Counted(self._seconds.labels(route), tuple(each))

    def written(self, accept: str) -> tuple[bytes, str]:
        """The numbers, and their content type. accept: the header of who asks."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind


@dataclass(frozen=True, slots=True)
class _Counted:
    """What counts requests that ended alike."""

    seconds: Histogram
    each: tuple[Counter, ...]


class _Load(Collector):
    """Read when it is asked for."""

    def __init__(self, front: Front) -> None:
        self.front = front

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        load = self.front.service.load()
        for name, value, said in (
            ("queue_rows", load.queued_rows, "Rows that wait"),
            ("queue_tokens", load.queued_tokens, "Tokens that wait"),
            ("queue_rows_limit", load.most_rows, "Rows that may wait"),
            ("queue_tokens_limit", load.most_tokens, "Tokens that may wait"),
            ("queue_oldest_seconds", load.oldest_s, "Age of the oldest request that waits"),
            ("workers", load.workers, "Processes that compute"),
            ("workers_wanted", load.wanted_workers, "Processes that there should be"),
            ("tokens_per_second", load.tokens_per_s, "Measured speed of all processes"),
            ("longest_batch_seconds", load.longest_batch_s, "Age of the oldest batch"),
            ("last_success_seconds", load.last_success_s, "Since a batch was last answered"),
            ("ready", self.front.is_ready, "1 where /health/ready says yes"),
            *((f"service_{name}", value, "Of the queue") for name, value in load.extra.items()),
        ):
            yield GaugeMetricFamily(f"trivium_{name}", said, value=float(value))
        for name, count, said in (
            ("batches", load.batches, "Batches that were computed"),
            ("rows", load.rows, "Rows that were computed"),
            ("tokens", load.tokens, "Tokens that were computed"),
            ("worker_restarts", load.restarts, "Processes that died and were replaced"),
        ):
            yield CounterMetricFamily(f"trivium_{name}", said, value=float(count))
