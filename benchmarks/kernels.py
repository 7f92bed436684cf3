"""What a GPU does while steps are taken: how long it is busy, and with which kernels."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

MOST = 15
"""Kernels that are told of."""
WIDTH = 110
"""Characters of a kernel's name."""


def kernels(steps: Callable[[], Any], count: int) -> str:
    """Some lines on so many steps, which `steps` takes: the GPU's busy time, and the kernels that
    cost most, each with its milliseconds and launches a step."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        steps()
        torch.cuda.synchronize()
    spent: Counter[str] = Counter()
    launched: Counter[str] = Counter()
    spans = []
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            spans.append((event.time_range.start, event.time_range.end))
            spent[event.name] += event.time_range.elapsed_us()
            launched[event.name] += 1
    each = sum(launched.values()) / count
    lines = [f"busy {busy(spans) / count / 1000:.3f} ms a step, in {each:.0f} kernels and copies"]
    for name, microseconds in spent.most_common(MOST):
        ms, times = microseconds / count / 1000, launched[name] / count
        lines.append(f"{ms:8.3f} ms {times:6.1f} x  {name[:WIDTH]}")
    return "\n".join(lines)


def busy(spans: list[tuple[float, float]]) -> float:
    """Length of what these spans cover, each place once."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
