"""How many processes may compute at once, from what the system says."""

import os
from pathlib import Path

import pytest

from trivium.apps.serve.cores import VISIBLE, cores, gpus


def written(folder: Path, files: dict[str, str]) -> dict[str, Path]:
    """Made-up files below `proc/` and `cgroup/`."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {"proc": folder / "proc", "cgroups": folder / "cgroup"}


SELF = "proc/self/cgroup"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 8),
        ({SELF: "0::/\n", "cgroup/cpu.max": "max 100000\n"}, 8),
        ({SELF: "0::/\n", "cgroup/cpu.max": "200000 100000\n"}, 2),
        ({SELF: "0::/\n", "cgroup/cpu.max": "290000 100000\n"}, 2),
        ({SELF: "0::/\n", "cgroup/cpu.max": "50000 100000\n"}, 1),
        ({SELF: "0::/\n", "cgroup/cpu.max": "1600000 100000\n"}, 8),
        ({SELF: "0::/\n", "cgroup/cpu.max": "what\n"}, 8),
        # The tightest of all groups around it counts.
        ({SELF: "0::/a/b\n", "cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {SELF: "0::/a/b\n", "cgroup/a/cpu.max": "300000 100000\n",
             "cgroup/a/b/cpu.max": "max 100000\n", "cgroup/cpu.max": "500000 100000\n"},
            3,
        ),
        # Version 1, whose controllers are mounted under their names, or under one of them.
        (
            {SELF: "5:cpu,cpuacct:/x\n1:name=systemd:/y\n",
             "cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "400000\n",
             "cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            4,
        ),
        (
            {SELF: "5:cpuacct,cpu:/docker/of-the-host\n",
             "cgroup/cpu/cpu.cfs_quota_us": "150000\n", "cgroup/cpu/cpu.cfs_period_us": "50000\n"},
            3,
        ),
        (
            {SELF: "5:cpu:/\n",
             "cgroup/cpu/cpu.cfs_quota_us": "-1\n", "cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ({SELF: "5:cpuset:/\n", "cgroup/cpu.max": "100000 100000\n"}, 8),
    ],
)  # fmt: skip
def test_no_more_workers_than_the_quota_fills(
    files: dict[str, str], found: int, tmp_path: Path
) -> None:
    assert cores(**written(tmp_path, files), affinity=8) == found


def test_no_more_workers_than_cores_it_may_run_on(tmp_path: Path) -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert cores(**written(tmp_path, {SELF: "0::/\n"}), affinity=3) == 3


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ["0", "1"]),
        ({VISIBLE: "3"}, ["3"]),
        ({VISIBLE: "GPU-a, MIG-b"}, ["GPU-a", "MIG-b"]),
        ({VISIBLE: "1,-1,0"}, ["1"]),
        ({VISIBLE: ""}, []),
    ],
)
def test_a_worker_for_each_gpu_that_is_ours(
    environment: dict[str, str], found: list[str], tmp_path: Path
) -> None:
    assert gpus(environment, tmp_path) == []
    for name in ("nvidia4", "nvidia7", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus(environment, tmp_path) == found
