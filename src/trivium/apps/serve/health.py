"""What balancers, supervisors and collectors ask. Never behind a key, but metrics if it is said."""

from starlette.requests import Request
from starlette.responses import Response

from trivium.apps.serve.front import Front
from trivium.apps.serve.hello import information
from trivium.apps.serve.metrics import Metrics
from trivium.apps.serve.routes import answered


async def live(request: Request) -> Response:
    """Whether the process is to be left alone: 503 where only a restart helps."""
    front: Front = request.app.state.front
    front.refuse_if_dead()
    return answered({"status": "live"})


async def ready(request: Request) -> Response:
    """Whether requests should be sent here: every process has answered a warm-up, and the server
    is not about to stop."""
    front: Front = request.app.state.front
    front.refuse_if_not_ready()
    return answered({"status": "ready"})


async def metrics(request: Request) -> Response:
    """Latencies, queue, speed and refusals, as Prometheus reads them."""
    told: Metrics = request.app.state.metrics
    body, kind = told.written(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind})


async def info(request: Request) -> Response:
    """The model's tasks, columns and labels, the limits, and what computes."""
    return answered(information(request.app.state.front))
