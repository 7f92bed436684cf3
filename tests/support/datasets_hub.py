"""A stand-in for the hub's data sets: what the `datasets` library asks of it, for one commit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "a" * 40


@dataclass
class DataHub:
    name: str
    files: dict[str, bytes]
    """Path -> content; all lie in folders of one level."""
    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def running(hub: DataHub) -> Iterator[DataHub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _listed(hub: DataHub, path: str) -> object:
    """What the API says of the repository, or of a folder in it; None for what there is not."""
    own = f"/api/datasets/{hub.name}"
    files = [
        {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
        for name, content in hub.files.items()
    ]
    if path == own or path.startswith(f"{own}/revision/"):
        siblings = [{"rfilename": name} for name in hub.files]
        return {"id": hub.name, "sha": COMMIT, "siblings": siblings, "private": False}
    if path.startswith(f"{own}/tree/"):
        folder = path.removeprefix(f"{own}/tree/").partition("/")[2]
        if folder:
            return [each for each in files if str(each["path"]).startswith(f"{folder}/")]
        folders = sorted({name.partition("/")[0] for name in hub.files})
        return [{"type": "directory", "path": each, "oid": "1" * 40, "size": 0} for each in folders]
    return None


def _handler(hub: DataHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            file = path.partition(f"/datasets/{hub.name}/resolve/")[2].partition("/")[2]
            if file in hub.files:
                self.reply(200, hub.files[file], {"X-Repo-Commit": COMMIT, "ETag": '"x"'})
            elif (found := _listed(hub, path)) is not None:
                self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
            else:
                code = "EntryNotFound" if f"/{hub.name}/" in path else "RepoNotFound"
                self.reply(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})

        do_HEAD = do_POST = do_GET

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *told: object) -> None:
            """Nothing."""

    return Handler
