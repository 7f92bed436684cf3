"""LitServe as the peers use it: all but the model that answers."""

import argparse
from collections.abc import Sequence
from typing import Any

import litserve
import torch

from benchmarks.serving.answers import Scores

BATCH = 64
"""Requests at once, at most."""


class Api(litserve.LitAPI):  # type: ignore[misc]  # its base has no types
    """Takes a text, answers a label and the probabilities of every task."""

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=given.window)
        self.folder, self.threads = given.folder, given.threads

    def setup(self, device: str) -> None:
        torch.set_num_threads(self.threads)
        self.load(device)

    def load(self, device: str) -> None:
        raise NotImplementedError

    def predict(self, x: Sequence[str]) -> list[Scores]:
        raise NotImplementedError

    def decode_request(self, request: dict[str, str]) -> str:
        return request["inputs"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def unbatch(self, output: list[Scores]) -> list[Scores]:
        return output

    def encode_response(self, output: Scores) -> dict[str, Any]:
        return {
            task: {"label": max(said, key=said.__getitem__), "probabilities": said}
            for task, said in output.items()
        }


def serve(api: type[Api], purpose: str | None) -> None:
    """What the command line asks for, until it is ended."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--fronts", type=int, default=1, help="processes that speak HTTP")
    parser.add_argument("--window", type=float, default=0.005, help="seconds to wait for a batch")
    parser.add_argument("--fast-queue", action="store_true", help="ZeroMQ instead of pipes")
    given = parser.parse_args()
    server = litserve.LitServer(
        api(given), accelerator="cpu", devices=1, workers_per_device=given.workers, timeout=60,
        fast_queue=given.fast_queue,
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=given.port, num_api_servers=given.fronts,
        generate_client_file=False, log_level="warning", access_log=False,
    )  # fmt: skip
