"""Memory of a server's processes over minutes: does it grow?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.figures import slope
from trivium.run.screen.grid import markdown_table

FLAT = 0.5
"""MiB a minute; less is taken for none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory of each process at one moment."""

    second: float
    mib: dict[int, float]
    """By its number, the front first."""


def slopes(samples: Sequence[Sample], settled_s: float) -> dict[int, float]:
    """MiB a minute of each process that is there at the end, from `settled_s` on."""
    found = {}
    for pid in samples[-1].mib:
        late = [each for each in samples if each.second >= settled_s and pid in each.mib]
        points = [(each.second / 60, each.mib[pid]) for each in late]
        found[pid] = slope(points)
    return found


def replaced(samples: Sequence[Sample]) -> int:
    """Processes that were not there at the first look."""
    return len({pid for sample in samples for pid in sample.mib} - set(samples[0].mib))


def verdict(found: Mapping[int, float], failed: int, new: int) -> str:
    """In a sentence."""
    known = [each for each in found.values() if not math.isnan(each)]
    if not found:
        memory = "the server ended"
    elif not known:
        memory = "too short to tell whether memory grows"
    else:
        grows = "memory grows" if max(known) > FLAT else "memory is flat"
        memory = f"{grows} ({max(known):+.2f} MiB a minute at most)"
    said = f"{memory}; {failed} requests failed"
    return said + (f"; {new} processes were replaced" if new else "")


def table(samples: Sequence[Sample], found: Mapping[int, float]) -> str:
    """A line per process."""
    lines = []
    for place, (pid, steep) in enumerate(found.items()):
        sizes = [sample.mib[pid] for sample in samples if pid in sample.mib]
        name = "front" if place == 0 else f"process {place}"
        lines.append(
            (name, f"{sizes[0]:.1f}", f"{max(sizes):.1f}", f"{sizes[-1]:.1f}", f"{steep:+.2f}")
        )
    return markdown_table(("", "first MiB", "most", "last", "MiB a minute"), lines)
