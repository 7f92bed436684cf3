"""How many processes may compute at once here: cores and GPUs that are ours, not the host's."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PROC, CGROUPS, DEVICES = Path("/proc"), Path("/sys/fs/cgroup"), Path("/dev")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def cores(proc: Path = PROC, cgroups: Path = CGROUPS, affinity: int | None = None) -> int:
    """Cores that this process may keep busy: those it may run on, and no more than its quota of
    time (control groups, version 1 or 2) fills. At least 1.

    affinity: how many it may run on; None: what the system says.
    """
    most = affinity if affinity is not None else _affinity()
    return max(1, int(min([most, *_quotas(proc, cgroups)])))


def gpus(environment: Mapping[str, str] = os.environ, devices: Path = DEVICES) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is to be, to see each of the GPUs that this process may use."""
    found = [path.name for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    if VISIBLE not in environment:
        return [str(number) for number in range(len(found))]
    named: list[str] = []
    for name in environment[VISIBLE].split(","):
        if not name.strip() or name.strip() == "-1":  # CUDA looks no further
            break
        named.append(name.strip())
    return named if found else []


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """In cores, of every group that this process is in, and of those around it."""
    for folder in _groups(proc, cgroups):
        yield from _limit(_text(folder / "cpu.max"))  # version 2
        version_1 = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        yield from _limit(" ".join(version_1))


def _groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            yield from _up(cgroups, path)
        elif "cpu" in controllers.split(","):
            for mounted in {controllers, "cpu"}:
                yield from _up(cgroups / mounted, path)


def _up(root: Path, path: str) -> Iterator[Path]:
    """A group's folder and all above it. In a container its path may be the host's: then only the
    root is there, and it is the container's own group."""
    folder = root / path.strip("/")
    yield folder
    while folder != root and root in folder.parents:
        folder = folder.parent
        yield folder


def _limit(text: str) -> Iterator[float]:
    """Quota and period as cores; nothing where there is no limit (`max`, -1), or no file."""
    numbers = [int(word) for word in text.split() if word.isdigit()]
    if len(numbers) == 2 and min(numbers) > 0:
        yield numbers[0] / numbers[1]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
