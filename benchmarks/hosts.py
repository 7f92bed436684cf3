"""Two hosts: seconds per training step against the speed of the link between them, and a process
killed on one of them.

    python -m benchmarks.hosts                       # as root, on Linux; or: make hosts
    python -m benchmarks.hosts --mbit 0 1000 100 --steps 6

The hosts are network namespaces of this machine, which share its cores and disk, but neither their
network nor, by where they work, the folder of the run. The link is a pair of virtual interfaces,
each held to a speed (`tc`, token bucket). 0: not held.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trivium.run.assembly.machine import cpu_name
from trivium.run.folder.names import JOURNAL, RESUME

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.yaml"
PORT = 29500
BURST = "256kb"
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two network namespaces with a link between them."""

    names: tuple[str, str]
    links: tuple[str, str]
    addresses: tuple[str, str] = ("10.77.0.1", "10.77.0.2")

    def hold(self, mbit: int) -> None:
        """Hold both ends of the link to a speed; 0: let go."""
        for name, link in zip(self.names, self.links, strict=True):
            inside = ["ip", "netns", "exec", name, "tc", "qdisc"]
            subprocess.run([*inside, "del", "dev", link, "root"], capture_output=True, check=False)
            if mbit:
                bucket = ["tbf", "rate", f"{mbit}mbit", "burst", BURST, "latency", "200ms"]
                _do(*inside, "add", "dev", link, "root", *bucket)

    def sent(self) -> int:
        """Bytes that the first host has sent so far."""
        told = f"/sys/class/net/{self.links[0]}/statistics/tx_bytes"
        inside = ["ip", "netns", "exec", self.names[0], "cat", told]
        return int(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)

    def start(
        self, place: int, home: Path, *words: str, restarts: int = 0
    ) -> subprocess.Popen[str]:
        """torchrun with one process on a host, which works in a folder of its own."""
        torchrun = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
            f"--max-restarts={restarts}", "--rdzv-backend=c10d", f"--rdzv-id={home.parent.name}",
            f"--rdzv-endpoint={self.addresses[0]}:{PORT}", f"--local-addr={self.addresses[place]}",
            f"--rdzv-conf=is_host={int(place == 0)}",  # they have one name, that of the machine
            "-m", "trivium", "train", str(RECIPE), "--out", "run", *words,
        ]  # fmt: skip
        home.mkdir(parents=True, exist_ok=True)
        more = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": self.links[place]}
        more |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[place], *torchrun], cwd=home, env=os.environ | more,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Raises OSError or CalledProcessError where the system makes none."""
    number = os.getpid()
    hosts = Hosts((f"tv{number}a", f"tv{number}b"), (f"tv{number}x", f"tv{number}y"))
    try:
        for name in hosts.names:
            _do("ip", "netns", "add", name)
        _do("ip", "link", "add", hosts.links[0], "type", "veth", "peer", "name", hosts.links[1])
        for name, link, address in zip(hosts.names, hosts.links, hosts.addresses, strict=True):
            _do("ip", "link", "set", link, "netns", name)
            _do("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link)
            _do("ip", "-n", name, "link", "set", link, "up")
            _do("ip", "-n", name, "link", "set", "lo", "up")
        yield hosts
    finally:
        for name in hosts.names:  # the link goes with them
            with suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


# --- what is measured ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What a training was like."""

    step_s: float
    """Median seconds between two steps."""
    step_bytes: float
    """Median of what the first host sent between two steps."""
    said: str


def train(hosts: Hosts, home: Path, *words: str) -> Told:
    children = [hosts.start(place, home / str(place), *words) for place in (0, 1)]
    return _watch(hosts, children, home / "0" / "run" / JOURNAL)


def train_with_a_kill(hosts: Hosts, home: Path, *words: str) -> str:
    """One whose process on the second host is killed after the first checkpoint; what was said."""
    children = [hosts.start(place, home / str(place), *words, restarts=2) for place in (0, 1)]
    resume, end = home / "0" / "run" / RESUME, time.monotonic() + PATIENCE_S
    while not list(resume.glob("0*")) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(_worker_below(children[1].pid), signal.SIGKILL)
    return _watch(hosts, children, home / "0" / "run" / JOURNAL).said


def _watch(hosts: Hosts, children: Sequence["subprocess.Popen[str]"], journal: Path) -> Told:
    """Until all have ended."""
    times: list[float] = []
    sent: list[int] = []
    try:
        end = time.monotonic() + PATIENCE_S
        while any(child.poll() is None for child in children):
            steps = journal.read_text().count('"event": "step"') if journal.is_file() else 0
            if steps > len(times):
                times += [time.monotonic()] * (steps - len(times))
                sent += [hosts.sent()] * (steps - len(sent))
            if time.monotonic() > end or any(child.poll() for child in children):
                break
            time.sleep(0.005)
    finally:
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)  # torchrun ends what it started
    said = "".join(child.communicate(timeout=60)[0] for child in children)
    if any(child.returncode for child in children):
        raise RuntimeError(said)
    # The first step makes what the others have.
    seconds, amounts = (
        [after - before for before, after in pairwise(seen[1:])] or [0] for seen in (times, sent)
    )
    return Told(statistics.median(seconds), statistics.median(amounts), said)


def _worker_below(pid: int) -> int:
    """The process with a rank that torchrun, or `ip netns exec` before it, started."""
    found = [pid]
    while found:
        one = found.pop()
        told = Path(f"/proc/{one}/environ").read_bytes()
        if one != pid and b"\0LOCAL_RANK=" in told:
            return one
        found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    raise RuntimeError("torchrun has no process")


def same_model(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in (one / "model").glob("*.safetensors"))
    return bool(names) and all(
        (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
        for name in names
    )


def measured(hosts: Hosts, home: Path, speeds: Sequence[int], steps: int) -> Iterator[list[str]]:
    """A row of the table for every speed. Ideal is what takes longer, sending or computing (a step
    of a link that is not held)."""
    plain = (f"--set=stages.*.steps={steps}", "--no-probe", "--set=precision=fp32")
    computing: dict[str, float] = {}
    for mbit in speeds:
        hosts.hold(mbit)
        row = [f"{mbit:,}" if mbit else "not held"]
        for kind in ("fp32", "bf16"):
            run = home / f"{mbit}-{kind}"
            told = train(hosts, run, *plain, f"--set=allreduce={kind}")
            if not mbit:
                computing[kind] = told.step_s
            sending = 8e-6 * told.step_bytes / mbit if mbit else 0.0
            ideal = max(sending, computing.get(kind, 0.0))
            row += [f"{told.step_bytes / 1e6:.1f}"]
            row += [f"{seconds:.2f}" for seconds in (sending, ideal, told.step_s)]
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--mbit", type=int, nargs="+", default=[0, 10_000, 1000, 300, 100])
    parser.add_argument("--steps", type=int, default=8)
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave nothing behind
    if not (shutil.which("ip") and shutil.which("tc")):
        print("skipped: there is no `ip` or no `tc` here (Debian: apt-get install iproute2)")
        return
    home = Path(tempfile.mkdtemp(prefix="hosts-"))
    try:
        with two_hosts() as hosts:
            compare(hosts, home, wanted.mbit, wanted.steps)
    except subprocess.CalledProcessError as error:
        print(f"skipped: no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def compare(hosts: Hosts, home: Path, speeds: Sequence[int], steps: int) -> None:
    print(f"{cpu_name()}, {os.cpu_count()} cores; {RECIPE.name}, {steps} steps, two hosts")
    each = ["sending s", "ideal s", "step s"]
    head = ["Mbit/s", "MB fp32", *each, "MB bf16", *each]
    print(" | ".join(head))
    for row in measured(hosts, home, speeds, steps):
        print(" | ".join(row), flush=True)
    hosts.hold(1000)
    plain = (
        f"--set=stages.*.steps={steps}", "--set=stages.*.checkpoint_every=2", "--no-probe",
        "--set=precision=fp32",
    )  # fmt: skip
    train(hosts, home / "whole", *plain)
    said = train_with_a_kill(hosts, home / "killed", *plain)
    resumed = next(line for line in said.splitlines() if line.startswith("resumed at"))
    same = same_model(home / "whole" / "0" / "run", home / "killed" / "0" / "run")
    nothing = not (home / "killed" / "1" / "run").exists()
    print(f"A process was killed: {resumed}; the same model to the bit: {same}; the second host")
    print(f"has no folder of the run: {nothing}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
