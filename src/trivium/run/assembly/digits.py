"""What the last digits of a computation depend on, beside all that is computed: for the names of
what is kept from one run to the next."""

import os

import torch

from trivium.model.fused.layers import SWITCH
from trivium.model.native.library import products
from trivium.run.assembly.machine import cpu_name


def computed_by(device: torch.device) -> str:
    """Two processes that say the same give the same numbers. Others may differ by rounding: in fp32
    in the eighth digit, and in bf16, with other kernels, in the third."""
    if device.type == "cuda":
        how = [torch.cuda.get_device_name(device), f"{SWITCH}={os.environ.get(SWITCH, '')}"]
    else:
        vectors = torch.backends.cpu.get_cpu_capability()
        how = [cpu_name(), vectors, f"products {products()}", f"{torch.get_num_threads()} threads"]
    return "; ".join([f"torch {torch.__version__}", device.type, *how])
