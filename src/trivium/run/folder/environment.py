"""environment.json: what a run was made with, versions, machine and command."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import Field

from trivium.run.assembly.machine import cpu_name
from trivium.run.folder.names import ENVIRONMENT
from trivium.run.folder.records import Record, read_record, write_record

PACKAGES = ("trivium", "torch", "tokenizers", "safetensors", "numpy")


class Environment(Record):
    """The content of environment.json, in the file's order. None where a run does not tell."""

    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cpus: int | None = None
    """Processor cores of the machine."""
    threads: int | None = None
    """Of torch."""
    gpu: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    """Name -> version."""
    command: list[str] = Field(default_factory=list)
    """`sys.argv` of the process that made the run."""
    launch: str | None = None
    """What torchrun calls the launch that began it (`--rdzv-id`)."""


def launch() -> str | None:
    """What torchrun calls the launch that this process belongs to; None without torchrun.

    One without a name has that of torchrun's own process, which outlives those that it starts.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()}/{os.getppid()}" if name in {"", "none"} else name


def environment() -> Environment:
    """Of this process."""
    of_torchrun = {"launch": name} if (name := launch()) else {}
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        packages={name: version(name) for name in PACKAGES},
        command=sys.argv,
        **of_torchrun,
    )


def read_environment(folder: Path) -> Environment | None:
    """None where the folder has none. Raises RecipeError where the file is damaged."""
    path = folder / ENVIRONMENT
    return read_record(path, Environment) if path.is_file() else None


def write_environment(folder: Path) -> None:
    """Of this process, into the folder of what it makes."""
    write_record(folder / ENVIRONMENT, environment())


def elsewhere(run_dir: Path) -> str:
    """What of this process gives other last digits than where a run began, in words; else nothing.

    Raises RecipeError where the run's file is damaged.
    """
    then, now = (
        _numbers(each) for each in (read_environment(run_dir) or Environment(), environment())
    )
    told = [
        f"{what} {then[what]} (now {now[what]})"
        for what in then
        if then[what] is not None and then[what] != now[what]
    ]
    return ", ".join(told)


def _numbers(made: Environment) -> dict[str, object]:
    """What decides, beside the recipe, which numbers come out; None where a run does not tell."""
    return {
        "threads": made.threads,
        "processor": made.cpu,
        "GPU": made.gpu,
        "torch": made.packages.get("torch"),
    }
