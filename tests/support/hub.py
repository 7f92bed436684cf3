"""A stand-in for the hub: a server on 127.0.0.1 that speaks what `huggingface_hub` asks of it.

Repositories with branches and commits, tokens of users, private models, files that go up as they
are or by LFS, and its answers in words and headers where it refuses.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from huggingface_hub import HfApi, utils

OWNER, TOKEN, READER = "desk", "hf_of-desk", "hf_only-reads"
"""Whose models the first token may write; the second one may write nowhere."""


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Hash -> path -> content."""
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        said = repr((len(self.commits), branch, message, sorted(files.items())))
        name = hashlib.sha1(said.encode()).hexdigest()
        self.commits[name] = before | files
        self.branches[branch] = name
        self.messages.append(message)
        return name

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        name = self.branches.get(revision, revision)
        return (name, self.commits[name]) if name in self.commits else None


class Refused(Exception):  # noqa: N818 an answer like others
    def __init__(self, status: int, code: str = "", message: str = "", url: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.url = status, code, message, url


@dataclass
class Hub:
    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """What came by LFS: sha256 -> content."""
    requests: list[str] = field(default_factory=list)
    """Method and path of all that was asked."""
    broken: int = 0
    """A status that everything is answered with, if any."""

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What lies there, but for what the hub itself puts into a repository."""
        found = self.repositories[name].at(revision)
        assert found is not None
        return {path: content for path, content in found[1].items() if path != ".gitattributes"}

    def change(self, name: str, **files: bytes) -> str:
        """A commit by somebody else on main; `__` in a name stands for its dot."""
        named = {path.replace("__", "."): content for path, content in files.items()}
        return self.repositories[name].commit("main", named, "by somebody else")

    def readable(self, name: str, token: str) -> Repository:
        found = self.repositories.get(name)
        if token and token not in (TOKEN, READER):
            raise Refused(401, message="Invalid credentials in Authorization header")
        if found is None or (found.private and token != TOKEN):
            status = 404 if token else 401
            raise Refused(status, "RepoNotFound", "Repository not found")
        return found

    def writable(self, name: str, token: str) -> Repository:
        found = self.readable(name, token)
        self.refuse_writer(name.split("/")[0], token)
        return found

    def refuse_writer(self, owner: str | None, token: str) -> None:
        if token not in (TOKEN, READER):
            raise Refused(401, message="Invalid credentials in Authorization header")
        if token != TOKEN or owner != OWNER:
            raise Refused(403, message="You don't have the rights to do this in this namespace")


def at(repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
    found = repository.at(revision)
    if found is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return found


NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = []


def route(method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(answer: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.append((method, path.replace("NAME", NAME), answer))
        return answer

    return keep


@route("POST", "/api/repos/create")
def create(hub: Hub, token: str, body: bytes) -> dict[str, Any]:
    asked = json.loads(body)
    hub.refuse_writer(asked["organization"], token)
    name = f"{asked['organization']}/{asked['name']}"
    is_private = asked.get("private") is True or asked.get("visibility") == "private"
    if name in hub.repositories:
        message = f"You already created this model repo: {name}"
        raise Refused(409, message=message, url=f"{hub.url}/{name}")
    hub.repositories[name] = repository = Repository(is_private)
    repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
    return {"url": f"{hub.url}/{name}"}


@route("POST", "/api/validate-yaml")
def validate(hub: Hub, token: str, body: bytes) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
    values = yaml.safe_load(found[1]) if found else {}
    if not isinstance(values.get("tags", []), list):
        raise Refused(400, message='"tags" must be an array')
    return {"errors": [], "warnings": []}


@route("GET", "/api/models/NAME")
def info(hub: Hub, token: str, body: bytes, name: str, revision: str = "main") -> dict[str, Any]:
    repository = hub.readable(name, token)
    commit, files = at(repository, revision)
    siblings = [{"rfilename": path} for path in files]
    return {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}


ROUTES.append(("GET", f"/api/models/{NAME}/revision/(?P<revision>.+)", info))


@route("GET", "/api/models/NAME/tree/(?P<revision>.+)")
def tree(hub: Hub, token: str, body: bytes, name: str, revision: str) -> list[dict[str, Any]]:
    _, files = at(hub.readable(name, token), revision)
    return [
        {
            "type": "file", "path": path, "size": len(content),
            "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        }
        for path, content in files.items()
    ]  # fmt: skip


@route("POST", "/api/models/NAME/branch/(?P<branch>.+)")
def branch(hub: Hub, token: str, body: bytes, name: str, branch: str) -> dict[str, Any]:
    repository = hub.writable(name, token)
    if branch in repository.branches:
        raise Refused(409, message=f"Reference already exists: {branch}")
    repository.branches[branch] = repository.branches["main"]
    return {}


@route("POST", "/api/models/NAME/preupload/(?P<revision>.+)")
def preupload(hub: Hub, token: str, body: bytes, name: str, revision: str) -> dict[str, Any]:
    at(hub.writable(name, token), revision)
    return {
        "files": [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
    }


@route("POST", r"/NAME\.git/info/lfs/objects/batch")
def batch(hub: Hub, token: str, body: bytes, name: str) -> dict[str, Any]:
    hub.writable(name, token)
    objects = json.loads(body)["objects"]
    for each in objects:
        if each["oid"] not in hub.blobs:
            each["actions"] = {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}
    return {"transfer": "basic", "objects": objects}


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def store(hub: Hub, token: str, body: bytes, oid: str) -> dict[str, Any]:
    if hashlib.sha256(body).hexdigest() != oid:
        raise Refused(400, message="the content is not what was announced")
    hub.blobs[oid] = body
    return {}


@route("POST", "/api/models/NAME/commit/(?P<revision>.+)")
def commit(hub: Hub, token: str, body: bytes, name: str, revision: str) -> dict[str, Any]:
    repository = hub.writable(name, token)
    if revision not in repository.branches:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    head, *lines = map(json.loads, body.splitlines())
    files = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.blobs[value["oid"]]
    made = repository.commit(revision, files, head["value"]["summary"])
    return {"commitUrl": f"{hub.url}/{name}/commit/{made}", "commitOid": made}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _answer(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(f"{self.command} {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        try:
            if hub.broken:
                raise Refused(hub.broken, message="maintenance")
            if found := re.fullmatch(f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", path):
                self._give(hub, token, **found.groupdict())
                return
            for method, pattern, answer in ROUTES:
                if method == self.command and (found := re.fullmatch(pattern, path)):
                    answered = answer(hub, token, body, **found.groupdict())
                    self._send(200, json.dumps(answered).encode())
                    return
            raise Refused(404, message=f"no such route: {self.command} {path}")
        except Refused as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            said: dict[str, Any] = {
                "error": refusal.message,
                "errors": [{"message": refusal.message}],
            }
            if refusal.url:
                said["url"] = refusal.url
            told = {key: value for key, value in headers.items() if value}
            self._send(refusal.status, json.dumps(said).encode(), told)

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _give(self, hub: Hub, token: str, name: str, revision: str, path: str) -> None:
        commit, files = at(hub.readable(name, token), revision)
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        digest = hashlib.sha256(files[path]).hexdigest()
        self._send(200, files[path], {"X-Repo-Commit": commit, "ETag": f'"{digest}"'})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *_words: Any) -> None:
        """Nothing on the screen: `Hub.requests` has what was asked."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub


@contextmanager
def running() -> Iterator[Hub]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        _forget_sessions()


def _forget_sessions() -> None:
    """Older versions of the library decide when a session begins whether it is offline."""
    if reset := getattr(utils, "reset_sessions", None):
        reset()


def turn_to(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process ask the stand-in, with the token of its owner and an empty cache."""
    told = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "no-token"),
        "HF_HUB_DISABLE_XET": True,
    }
    _set(told, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE does."""
    _set({"HF_HUB_OFFLINE": True}, monkeypatch)


def _set(told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library read of its environment when it was loaded."""
    HfApi()  # so that all that it needs is loaded
    ours = [module for name, module in sys.modules.items() if name.startswith("huggingface_hub")]
    for name, value in told.items():
        # Older versions have their own names of them here and there, and know no Xet.
        for module in ours:
            if name in vars(module):
                monkeypatch.setattr(module, name, value)
    _forget_sessions()


def environment_of(hub: Hub, cache: Path) -> dict[str, str]:
    """The same for another process."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }
