"""Three pipelines of `transformers` behind FastAPI, as it is commonly written, for uvicorn."""

import os
from typing import Any

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

from benchmarks.serving.answers import TASKS
from benchmarks.serving.processes import LOADED

FOLDER, PRECISION = "BENCHMARK_FOLDER", "BENCHMARK_PRECISION"
"""How the processes of uvicorn are told, each of which makes the app for itself."""


class Body(BaseModel):
    inputs: str


def app() -> FastAPI:
    torch.set_num_threads(1)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[os.environ[PRECISION]]
    pipes = {
        task: pipeline(
            "text-classification",
            model=f"{os.environ[FOLDER]}/{task}",
            device="cpu",
            dtype=dtype,
            top_k=None,
        )
        for task in TASKS
    }
    print(LOADED, flush=True)  # uvicorn answers when the first of its processes can
    made = FastAPI()

    @made.get("/health")
    async def health() -> dict[str, str]:
        return {}

    # One request at a time in each process: in a pool of threads, with `def`, it costs more.
    @made.post("/predict")
    async def predict(body: Body) -> dict[str, Any]:
        return {task: pipe(body.inputs, truncation=True) for task, pipe in pipes.items()}

    return made
