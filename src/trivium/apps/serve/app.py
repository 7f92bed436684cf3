"""The server as an ASGI application; nothing in it knows what serves it.

app = create_app(WorkerService(...), Settings(name="triage"))
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from trivium import __version__
from trivium.apps.serve import explaining, health, oip, openai, routes
from trivium.apps.serve.asks import Service
from trivium.apps.serve.documents import document
from trivium.apps.serve.errors import Problem
from trivium.apps.serve.frame import Frame
from trivium.apps.serve.front import Front
from trivium.apps.serve.hello import limits
from trivium.apps.serve.logs import Log
from trivium.apps.serve.metrics import Metrics
from trivium.apps.serve.playground import examples_of, page
from trivium.apps.serve.refusing import Refusals
from trivium.apps.serve.settings import BEHIND, Settings

Endpoint = Callable[[Request], Awaitable[Response]]

ROUTES: tuple[tuple[str, str, str, Endpoint], ...] = (
    ("POST", "/v1/predict", "answers", routes.predict),
    ("POST", "/v1/tasks/{task}/predict", "answers", routes.predict_task),
    ("POST", "/v1/explain", "answers", explaining.explain),
    ("POST", "/v1/embeddings", "answers", openai.embeddings),
    ("GET", "/v1/info", "server", health.info),
    ("GET", "/health/live", "server", health.live),
    ("GET", "/health/ready", "server", health.ready),
    ("GET", "/metrics", "server", health.metrics),
    ("GET", "/v2", "open inference protocol", oip.server),
    ("GET", "/v2/health/live", "open inference protocol", oip.live),
    ("GET", "/v2/health/ready", "open inference protocol", oip.ready),
    ("GET", "/v2/models/{name}", "open inference protocol", oip.model),
    ("GET", "/v2/models/{name}/ready", "open inference protocol", oip.model_ready),
    ("POST", "/v2/models/{name}/infer", "open inference protocol", oip.infer),
)
NO_FRAMES = "frame-ancestors 'none'"
"""What only a header can forbid; all else is in the page's own policy."""


def create_app(service: Service, settings: Settings, log: Log | None = None) -> FastAPI:
    """The application. Its lifespan starts and stops the service; `app.state.front` is its state.

    Raises RecipeError, when it starts, where the service cannot. log: standard output by default.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.grace_s = settings.grace_s
        try:
            await service.start()
            app.state.front = Front(service, settings)
            app.state.refusals = Refusals(app.state.front)
            metrics.watch(app.state.front)
            yield
        finally:
            await service.stop(app.state.grace_s)
            if hasattr(app.state, "front"):
                app.state.front.close()

    app = FastAPI(
        title="Trivium",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    lines = Log(only_problems=settings.log_level == "warning") if log is None else log
    app.state.metrics, app.state.log, app.state.page = metrics, lines, None
    _add_routes(app, has_slash="/" in settings.name)
    app.add_middleware(Frame, settings=settings, metrics=metrics, log=lines)
    if settings.allow_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id", "x-request-timeout"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


class _ModelName(StringConvertor):
    """With slashes, of which a server has taken away that they were written as %2F."""

    regex = rf".+/(?!(?:{'|'.join(BEHIND)})$)[^/]+"


register_url_convertor("model", _ModelName())


def _add_routes(app: FastAPI, *, has_slash: bool) -> None:
    """has_slash: whether the model's name has one."""
    name = "{name:model}" if has_slash else "{name}"
    for method, path, tag, endpoint in ROUTES:
        path = path.replace("{name}", name)
        app.router.add_api_route(
            path, endpoint, methods=[method], tags=[tag], route_class_override=_Plain
        )
    for path, endpoint in (("/openapi.json", openapi), ("/", playground)):
        app.router.add_api_route(
            path, endpoint, include_in_schema=False, route_class_override=_Plain
        )
    app.add_exception_handler(HTTPException, _refused)


async def openapi(request: Request) -> Response:
    """The document that describes all routes, with examples from the model's own tasks."""
    app = request.app
    if app.openapi_schema is None:
        app.openapi_schema = document(app.routes, app.state.front)
    return routes.answered(app.openapi_schema)


async def playground(request: Request) -> Response:
    """A page to try the model on. It is open to all; dev rows are only in it where all else is."""
    state, settings = request.app.state, request.app.state.front.settings
    if state.page is None:
        shown = settings.run is not None and not settings.api_keys
        state.page = page(
            state.front.described,
            model_name=settings.name,
            limits=limits(state.front),
            examples=examples_of(settings.run, state.front.forms) if shown else (),
        )
    headers = {"content-security-policy": NO_FRAMES, "x-content-type-options": "nosniff"}
    return HTMLResponse(state.page, headers=headers)


async def _refused(request: Request, error: Any) -> Response:
    """What the router refuses, in the form of all problems."""
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    message = {
        404: "there is no such route; /openapi.json tells which there are.",
        405: f"this route is not for {request.method}.",
    }.get(error.status_code, str(error.detail))
    request.scope["trivium.note"].code = code
    problem = Problem(error.status_code, code, message, headers=error.headers)
    return problem.response(request.scope["path"])


class _Plain(APIRoute):
    """A route whose function reads the request and writes the answer itself."""

    def get_route_handler(self) -> Any:
        return self.endpoint
