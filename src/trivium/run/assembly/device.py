"""Where a model computes, and in which precision."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trivium.errors import RecipeError


def choose_device(wanted: str) -> torch.device:
    """The device that a recipe asks for: auto (a GPU where there is one), cpu, cuda or cuda:N.
    Raises RecipeError for one that is not here. Has products in fp32 on a GPU be in fp32.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(
            f"device: {wanted} was asked for, but there is none here; use auto or cpu."
        )
    if re.fullmatch(r"cpu|cuda(:\d+)?", wanted) is None:
        raise RecipeError(f"device: {wanted!r} is none of auto, cpu, cuda, cuda:N.")
    _, _, number = wanted.partition(":")
    if number and int(number) >= torch.cuda.device_count():
        raise RecipeError(
            f"device: {wanted} was asked for, but there are {torch.cuda.device_count()} here, "
            "counted from 0."
        )
    if wanted.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # as torch itself does for products: fp32 is fp32
    return torch.device(wanted)


def make_current(device: torch.device) -> None:
    """Have a GPU that is named by its number be the current one of PyTorch's: streams, events and
    Triton's kernels go by that, and training uses them."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """What the encoder's layers compute in; `auto` is bf16 only where the chip multiplies it."""
    if wanted == "auto":
        wanted = "bf16" if _multiplies_bf16(device) else "fp32"
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def precision_notes(wanted: str, device: torch.device) -> list[str]:
    """What to know of a precision that was asked for."""
    if wanted != "bf16" or _takes_bf16(device):
        return []
    return [
        f"precision: this {device.type} does not multiply in bf16, which takes several times as "
        "long as fp32; `auto` takes what is faster"
    ]


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Inside, random draws on the CPU and on this device change nothing of those outside. No other
    GPU is asked for its state: to be asked takes its memory."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def precision_name(dtype: torch.dtype) -> str:
    """As recipes and model folders have it: fp32 or bf16."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def _takes_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are made by anything but a loop, if perhaps slower than in fp32."""
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return True
    return _multiplies_bf16(device)


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
