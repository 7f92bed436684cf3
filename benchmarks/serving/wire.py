"""HTTP as the client speaks it: requests made in advance, one socket, no library in between."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_HEAD = "POST {path} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Ask:
    """A POST request's path and body."""

    path: str
    body: bytes

    @classmethod
    def json(cls, path: str, values: object) -> Self:
        return cls(path, json.dumps(values).encode())

    @property
    def wire(self) -> bytes:
        """All that goes through the socket."""
        head = _HEAD.format(path=self.path) + f"Content-Length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


def write_asks(asks: list[Ask], path: Path) -> Path:
    """For the client's process. Bodies may be any bytes: Latin-1 has a letter for each."""
    lines = [[ask.path, ask.body.decode("latin-1")] for ask in asks]
    path.write_text(json.dumps(lines), encoding="utf-8")
    return path


def read_asks(path: Path) -> list[Ask]:
    lines = json.loads(path.read_text(encoding="utf-8"))
    return [Ask(where, body.encode("latin-1")) for where, body in lines]


class Connection:
    """A socket to a server on this machine, opened when it is needed and kept for more."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, wire: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError or EOFError where there is none.

        A socket that the server closed while nobody used it is opened again, once.
        """
        used = self._reader is not None
        try:
            return await self._ask(wire)
        except asyncio.IncompleteReadError as error:
            self.close()
            if not used or error.partial:
                raise
        except ConnectionError:
            self.close()
            if not used:
                raise
        return await self._ask(wire)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _ask(self, wire: bytes) -> tuple[int, bytes]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writer.write(wire)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._reader.readexactly(_length(head))
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body


def _length(head: bytes) -> int:
    """Bytes of the body. All the servers here say it in advance."""
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise ConnectionError(f"an answer without its length: {head!r}")
    return int(rest.partition(b"\r\n")[0])
