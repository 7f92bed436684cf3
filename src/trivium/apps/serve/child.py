"""One worker process, as the front sees it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from trivium.apps.serve.wire import PREFIX, Message, decode, encode, sizes

COMMAND = (sys.executable, "-m", "trivium.apps.serve.worker")
BUFFER = 2**22
"""Bytes of what a worker says that are kept for the front."""


class Child:
    """A process that reads and writes frames. What it says for people goes where ours does."""

    def __init__(
        self,
        process: Process,
        out: asyncio.StreamReader,
        pipe: int | None = None,
        transport: asyncio.ReadTransport | None = None,
    ) -> None:
        """out: what it says; pipe: the number of what that comes through, where it has one, and
        the transport that holds it open."""
        assert process.stdin is not None
        self._process, self._in, self._out, self.pipe = process, process.stdin, out, pipe
        self._transport = transport

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> "Child":
        ours, theirs = _pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=theirs, env=dict(environment), limit=BUFFER
            )
        except BaseException:
            if ours is not None:
                os.close(ours)
            raise
        finally:
            if ours is not None:
                os.close(theirs)
        if ours is None:
            assert process.stdout is not None
            return cls(process, process.stdout)
        out = asyncio.StreamReader(BUFFER)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(out), os.fdopen(ours, "rb", buffering=0)
        )
        return cls(process, out, ours, transport)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_it_all(self) -> bool:
        """Whether all that was sent is on its way."""
        return self._in.transport.get_write_buffer_size() == 0

    def send(self, message: Message) -> None:
        """Hand it a message, without waiting until it has read that. It may be gone already."""
        self._in.write(encode(message))

    async def receive(self) -> Message | None:
        """What it says next; None where it is gone. Raises Malformed."""
        try:
            header, body = sizes(await self._out.readexactly(PREFIX.size))
            frame = await self._out.readexactly(header + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return decode(frame[:header], frame[header:])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, grace_s: float) -> str:
        """Close its stdin, by which it ends; kill it if it does not. How it ended, in words."""
        self._in.close()
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._out.read()
                await self._in.wait_closed()
        if self._transport is not None:
            self._transport.close()  # at whose end uvloop does not let the pipe go by itself
        return ending(self._process.returncode)


def _pipe() -> tuple[int | None, int]:
    """Ends of a pipe: ours, whose number no event loop tells of its own pipes, and the child's.
    Elsewhere than on POSIX: what has the event loop make one."""
    return os.pipe() if os.name == "posix" else (None, PIPE)


def ending(code: int | None) -> str:
    """An exit status in words."""
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
