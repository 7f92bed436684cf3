"""Questions that nobody will take are refused before anything else is done about them.

When three times as many come as can be answered, two of three are refused; what that costs is lost
to those that are answered. All here could be left to the routes, which say the same.
"""

from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from trivium.apps.serve.errors import Problem, is_v2
from trivium.apps.serve.front import Front, full, seconds_of
from trivium.apps.serve.pace import Pace

KNOWN_FOR_S = 0.005
"""How long what was found out about the queue counts: less than a batch takes."""
TIMEOUT = b"x-request-timeout"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is ready to be sent."""

    code: str
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Refusals:
    """What the front would refuse, whatever the body holds, since the queue is full."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.routes = _questions(front)
        """Of the paths that surely are questions."""
        is_plain = not front.settings.api_keys and not front.settings.allow_origin
        self.plain = {path.encode(): route for path, route in self.routes.items() if is_plain}
        """The same, where nothing depends on who asks."""
        self.pace: Pace | None = None
        """Where the event loop is ours to hold up."""
        self._until = 0.0
        self._after_s: float | None = None

    def of(self, scope: Scope, now: float) -> Refusal | None:
        """For a question. None for whatever its route should see: those that have a time of their
        own, and all where there is room or the server is about to stop. now: of `loop.time()`."""
        refusal = self.now(now, scope["path"])
        has_time = refusal is not None and any(name == TIMEOUT for name, _ in scope["headers"])
        return None if has_time else refusal

    def now(self, now: float, path: str) -> Refusal | None:
        """For any question without a time of its own. path: of its route."""
        if now >= self._until:
            self._until = now + KNOWN_FOR_S
            self._after_s = self._look()
        if self._after_s is None or self.front.is_draining:
            return None
        if self.pace is not None:
            self.pace.keep(now)
        return _refusal(seconds_of(self._after_s), path if is_v2(path) else "")

    def _look(self) -> float | None:
        load = self.front.service.load()
        if load.workers == 0:  # which is another answer
            return None
        return self.front.full_for_s(load, 1, self.front.settings.timeout_s)


def _questions(front: Front) -> dict[str, str]:
    """Paths that surely are questions, with their routes."""
    found = {"/v1/predict": "/v1/predict"}
    if front.described.embeds:
        found["/v1/embeddings"] = "/v1/embeddings"
    found |= {f"/v1/tasks/{name}/predict": "/v1/tasks/{task}/predict" for name in front.forms}
    return found | {f"/v2/models/{front.settings.name}/infer": "/v2/models/{name}/infer"}


@lru_cache(maxsize=128)
def _refusal(seconds: int, path: str) -> Refusal:
    return refusal_of(full(seconds), path)


def refusal_of(problem: Problem, path: str) -> Refusal:
    """path: that was asked for."""
    response = problem.response(path)
    return Refusal(problem.code, problem.status, tuple(response.raw_headers), bytes(response.body))
