"""What a run was made with: versions, machine, command."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from trivium.run.assembly.machine import cpu_name


def environment() -> dict[str, Any]:
    packages = ["trivium", "torch", "tokenizers", "safetensors", "numpy"]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: version(name) for name in packages},
        "command": sys.argv,
    }
