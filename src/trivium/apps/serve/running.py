"""A server from its first breath to its last: socket, signals, draining, and the end."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from trivium.apps.serve.app import create_app
from trivium.apps.serve.asks import Service
from trivium.apps.serve.garbage import looked_for_rarely
from trivium.apps.serve.logs import OF_SERVER, Log, LogHandler
from trivium.apps.serve.pace import Pace
from trivium.apps.serve.settings import KEEP_ALIVE_S, Settings
from trivium.apps.serve.stalled import close_the_stalled
from trivium.errors import RecipeError

try:
    from uvloop import new_event_loop
except ImportError:
    new_event_loop = asyncio.new_event_loop

PROTOCOL: Any = "auto"
"""What HTTP is spoken with."""
with suppress(ImportError):  # without httptools uvicorn has another one
    from trivium.apps.serve.door import Door

    PROTOCOL = Door

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    make: Callable[[], Service], settings: Settings, say: Callable[[str], None] = print
) -> bool:
    """Answer until a signal comes. Says whether all that had been asked was answered; False where
    a second signal stopped it at once.

    make: the service; say: told the address. Raises RecipeError where the address cannot be had or
    the model not be loaded.

        serve(lambda: WorkerService("runs/first"), Settings(port=0))
    """
    # The processes that compute have a core each; threads of the tokeniser would only be in their
    # way, and waking them takes longer than a text does.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    log = Log(only_problems=settings.log_level == "warning")
    runner = asyncio.Runner(loop_factory=new_event_loop)
    with _logged_alike(log), _listening(settings) as heard, runner:
        return runner.run(_until_stopped(make(), settings, log, heard, say))


async def _until_stopped(
    service: Service,
    settings: Settings,
    log: Log,
    heard: socket.socket,
    say: Callable[[str], None],
) -> bool:
    app = create_app(service, settings, log)
    server = Server(
        uvicorn.Config(
            app,
            lifespan="off",  # begun below, where what it raises is seen
            http=PROTOCOL,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            timeout_keep_alive=int(KEEP_ALIVE_S),
            timeout_graceful_shutdown=max(1, round(settings.grace_s)),
        ),
        lambda: say(_address(heard)),
    )
    ending = _Ending(app, server, settings)
    with ending.at_signals(), suppress(asyncio.CancelledError):
        async with app.router.lifespan_context(app):
            ending.is_serving = True
            log.soon = ending.loop.call_soon
            app.state.refusals.pace = Pace(service.rest)
            with looked_for_rarely():
                await server.serve(sockets=[heard])
    log.soon = None
    log.flush()
    return not server.force_exit


class _Ending:
    """What signals do. SIGTERM: `ready` says no at once, and after the delay, in which a balancer
    takes notice, what is left is finished. SIGINT does not wait, since a person is there. A second
    signal stops at once."""

    def __init__(self, app: FastAPI, server: "Server", settings: Settings) -> None:
        self.app, self.server, self.settings = app, server, settings
        self.is_serving = self.was_told = False
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()

    @contextmanager
    def at_signals(self) -> Iterator[None]:
        """Listen to them, in here."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._heard) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 as Python calls
        self.loop.call_soon_threadsafe(self._end, number)

    def _end(self, number: int) -> None:
        if not self.is_serving or self.was_told:
            self.server.force_exit = True
            self.app.state.grace_s = 0.0
            if not self.is_serving and self.task is not None:
                self.task.cancel()
            self._stop()
            return
        self.was_told = True
        self.app.state.front.is_draining = True
        delay = self.settings.drain_delay_s if number == signal.SIGTERM else 0.0
        self.loop.call_later(delay, self._stop)

    def _stop(self) -> None:
        self.server.should_exit = True


class Server(uvicorn.Server):
    """uvicorn, but for its way with signals and with clients that leave it waiting."""

    def __init__(self, config: uvicorn.Config, when_heard: Callable[[], None]) -> None:
        super().__init__(config)
        self.when_heard = when_heard

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        closing = close_the_stalled(self.server_state.connections, lambda: self.should_exit)
        self._watch = asyncio.create_task(closing)
        self.when_heard()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            self._watch.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket that has the address; nobody is let in yet. Raises RecipeError."""
    host, port = settings.host, settings.port
    try:
        # With its protocol, by which asyncio knows that small answers are not to be held back.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as closing:
            heard = closing.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere it would share the port with whoever has it
                heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            heard.bind(address)
            closing.pop_all()
    except OSError as error:
        raise RecipeError(
            f"--host {host} --port {port}: cannot be listened to: {error}. "
            "Take another port, or 0 for any that is free."
        ) from error
    try:
        yield heard
    finally:
        heard.close()


def _address(heard: socket.socket) -> str:
    host, port = heard.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _logged_alike(log: Log) -> Iterator[None]:
    """Have what libraries log in the same form, in here."""
    loggers = [logging.getLogger(name) for name in OF_SERVER]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [LogHandler(log)], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
