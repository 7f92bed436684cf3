"""A small HTTP server with a playground: a real model answers, in the words of `/v1/predict`.

It does nothing that a server needs beside that; what a page must be able to bear (a full queue,
a wrong key, a failure) is put in as replies that come next.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from tests.support.processes import PATIENCE_S
from trivium.answering.occlusion import Word
from trivium.answering.reading import Line, Reader
from trivium.answering.rows import asks_of_rows
from trivium.answering.says import OneLabel, SeveralLabels, probabilities
from trivium.apps.serve.playground import page
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.predictor.base import Predictor
from trivium.run.predictor.torch import TorchPredictor

HOSTILE_LABELS = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\"double\" 'single' `back` ${alert(4)} & &lt;b&gt;",
    "שלום עולם, مرحبا بالعالم 🙂👩‍👩‍👧",
    "w" * 300,
    "__proto__",
    "constructor",
    "10",
    "2",
]

Reply = tuple[int, Mapping[str, str], str]
"""Status, headers, body."""


def untrained(tiny: Path, tasks: Mapping[str, Any], seed: int = 0) -> TorchPredictor:
    """A model whose heads were drawn, and are sure of themselves. tasks: as in a recipe."""
    files = {"train": "gone.csv", "dev": "gone.csv"}
    values = {name: {"label": "label", **files, **settings} for name, settings in tasks.items()}
    recipe = parse_recipe(
        {"encoder": str(tiny), "data": "gone", "tasks": values, "stages": [{}], "seed": seed}
    )
    model, tokenizer = build(recipe)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.mul_(20)
    return TorchPredictor(model.eval(), recipe.tasks, tokenizer)


@dataclass
class Served:
    """What stands behind the address, and what it was asked."""

    predictor: Predictor
    examples: Sequence[Mapping[str, str]] = ()
    name: str = "tiny"
    key: str = ""
    next: list[Reply] = field(default_factory=list)
    """Replies to the next questions, in place of answers."""
    delay_s: float = 0.0
    hold: threading.Event | None = None
    """Until it is set, the next question has no reply."""
    asked: list[Any] = field(default_factory=list)
    """Bodies of questions, parsed."""
    times: list[float] = field(default_factory=list)
    """When they came, in seconds."""
    address: str = ""

    def __post_init__(self) -> None:
        described = self.predictor.described("torch")
        limits = {"rows": 256, "text_characters": 100_000}
        self.html = page(described, model_name=self.name, limits=limits, examples=self.examples)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        # It looks often whether it is to stop.
        run = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        run.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        asked = json.loads(body)
        # Whoever sees that it was asked may prepare the next reply.
        reply, hold, delay_s = self.next.pop(0) if self.next else None, self.hold, self.delay_s
        self.hold = None
        self.times.append(time.monotonic())
        self.asked.append(asked)
        if hold:
            hold.wait(PATIENCE_S)
        time.sleep(delay_s)
        if reply:
            return reply
        if self.key and headers.get("Authorization") != f"Bearer {self.key}":
            message = "this server wants a key, as Authorization: Bearer KEY"
            return 401, {}, json.dumps({"error": {"code": "unauthorized", "message": message}})
        if path == "/v1/predict":
            return 200, {}, json.dumps(self.predicted(asked["rows"]))
        if path == "/v1/explain":
            return 200, {}, json.dumps({"answers": [self.explained(asked["rows"][0])]})
        task = path.removeprefix("/v1/tasks/").removesuffix("/predict")
        inputs = asked["inputs"]
        texts = inputs if isinstance(inputs, list) else [inputs]
        rows = [tuple(each) if isinstance(each, list) else each for each in texts]
        told = self.predictor.probabilities(task, rows)
        found = [[{"label": n, "score": p} for n, p in row.items()] for row in told]
        return 200, {}, json.dumps(found)

    def explained(self, row: Mapping[str, str]) -> dict[str, Any]:
        """What words did for the answers of `/v1/explain`, of one row."""
        answers = {}
        for task in asks_of_rows(self.predictor.forms, [row], None).texts:
            columns = self.predictor.forms[task].text
            texts = tuple(row[column] for column in columns)
            found = self.predictor.explain(task, texts if len(texts) > 1 else texts[0])
            words = [_column(columns, word) for word in found.words]
            answers[task] = {"about": found.about, "value": found.value, "words": words}
        return answers

    def predicted(self, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """The answer to `/v1/predict` with probabilities; of one row."""
        start = time.perf_counter()
        wanted = asks_of_rows(self.predictor.forms, rows, None)
        readouts = self.predictor.arrays(dict(wanted.texts))
        answers: dict[str, Any] = {}
        for task, readout_BK in readouts.items():
            says = self.predictor.forms[task].says
            assert says is not None
            answers[task] = {"prediction": says.answers(readout_BK)[0]}
            if isinstance(says, OneLabel):
                answers[task]["confidence"] = round(float(readout_BK.max()), 6)
            if isinstance(says, SeveralLabels):
                answers[task]["labels"] = says.chosen(readout_BK)[0]
            if says.names != ["score"]:
                answers[task]["probabilities"] = probabilities(says, readout_BK)[0]
        cut, tokens = _cut(self.predictor.readers[0], wanted.texts)
        for task, told in cut.items():
            answers[task]["cut"] = told
        compute = 1000 * (time.perf_counter() - start)
        return {
            "model": self.name,
            "answers": [answers],
            "tokens": tokens,
            "timing": {"queue_ms": 0.25, "compute_ms": round(compute, 3)},
        }


def _column(columns: Sequence[str], word: Word) -> dict[str, Any]:
    place = word.place
    told = {"column": columns[place.text], "start": place.start, "end": place.end}
    return told | {"word": word.word, "effect": word.effect}


def _cut(
    reader: Reader, texts: Mapping[str, Sequence[tuple[str, ...]]]
) -> tuple[dict[str, dict[str, int]], int]:
    """Of each task that did not read all: its tokens, and how many were kept. And the tokens that
    were computed."""
    found = {}
    lines: set[Line] = set()
    for one in reader.asked(texts):
        tokens = sum(line.uncut for line in one.lines)
        kept = sum(len(line.ids) for line in one.lines)
        lines.update(one.lines)
        if kept < tokens:
            found[one.task] = {"tokens": tokens, "kept": kept}
    return found, sum(len(line.ids) for line in lines)


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self.reply((200 if found else 404, {}, served.html if found else ""), "text/html")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(served.answer(self.path, dict(self.headers), body), "application/json")

        def reply(self, reply: Reply, kind: str) -> None:
            status, headers, text = reply
            body = text.encode()
            self.send_response(status)
            given = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
            for name, value in (given | dict(headers)).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # whoever asked may be gone
                self.wfile.write(body)

        def log_message(self, *told: object) -> None:
            """Nothing."""

    return Handler
