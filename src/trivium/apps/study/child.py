"""A run in a process of its own: started, followed, asked to save, or killed."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from trivium.apps.study.runs import LEFTOVERS, Run, refuse_other_run
from trivium.errors import RecipeError

LOOK_EVERY_S = 0.05
SHOWN_LINES = 6
TAIL_BYTES = 8192
PARENT = "TRIVIUM_PARENT"
"""Tells `trivium.cli` to save and stop when this process is gone."""
TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")
"""What would make a child draw bars and colours into its log file."""


@dataclass(slots=True)
class Stop:
    """How often the study was asked to stop: once means save and stop, twice stop now."""

    asked: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run in this call of the study."""

    state: Literal["done", "failed", "stopped"]
    how: Literal["trained", "resumed", "skipped"]
    seconds: float = 0.0
    """Of the child process, by the clock on the wall."""
    reason: str = ""
    tail: list[str] = field(default_factory=list)
    """The last lines of the log of a failed run."""


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Counts Ctrl-C, SIGTERM and a closed terminal; outside the main thread, nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def count(_number: int, _frame: Any) -> None:
        stop.asked += 1

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, count) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_run(
    run: Run, changes: Sequence[str], stop: Stop, watch: Callable[[int, str], None]
) -> Outcome:
    """Train a run to its end in a child process, from its last checkpoint if it has begun.

    watch: called several times a second with the size of the log at the start, and what is waited
    for if it is not the training.
    """
    run.log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with run.log.open("a", encoding="utf-8") as log:
        while not _lock(log):
            if stop.asked:
                return Outcome("stopped", "resumed")
            watch(log.tell(), "another process trains this run; waiting for its end")
            time.sleep(LOOK_EVERY_S)
        if run.is_finished:  # by that other process
            reason = _what_went_wrong(run, 0)
            return Outcome("failed" if reason else "done", "skipped", reason=reason)
        _remove_leftovers(run.folder)
        how: Literal["trained", "resumed"] = "resumed" if run.has_begun else "trained"
        command = _command(run, changes)
        print(f"\n$ {shlex.join(command)}  # {time.strftime('%Y-%m-%d %H:%M:%S')}", file=log)
        log.flush()
        start = log.tell()
        code = _follow(command, log, stop, lambda: watch(start, ""))
    seconds = time.monotonic() - began
    if code != 0 and stop.asked:
        return Outcome("stopped", how, seconds)
    if reason := _what_went_wrong(run, code):
        return Outcome("failed", how, seconds, reason, last_lines(run.log, start))
    return Outcome("done", how, seconds)


def last_lines(log: Path, start: int, lines: int = SHOWN_LINES) -> list[str]:
    """The last lines with something in them, from byte `start` on."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _command(run: Run, changes: Sequence[str]) -> list[str]:
    settings = [word for change in (*changes, f"seed={run.seed}") for word in ("--set", change)]
    words = ["train", str(run.path), "--out", str(run.folder), *settings]
    return [sys.executable, "-m", "trivium", *words, *(["--resume"] if run.has_begun else [])]


def _follow(command: Sequence[str], log: IO[str], stop: Stop, watch: Callable[[], None]) -> int:
    """The child's exit code; negative is the number of the signal that killed it."""
    environment = {key: value for key, value in os.environ.items() if key not in TERMINAL}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment | {PARENT: str(os.getpid())},
        process_group=0,  # a terminal's Ctrl-C is for us; the child would take ours for a second
    )
    told = 0
    try:
        while True:
            try:
                return child.wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                pass
            if stop.asked > told:
                told = stop.asked
                child.send_signal(signal.SIGINT if told == 1 else signal.SIGKILL)
            watch()
    finally:
        if child.poll() is None:  # an error of our own; the child may still save
            child.send_signal(signal.SIGINT)
            child.wait()


def _lock(log: IO[str]) -> bool:
    """Whether nobody else trains the run. The child inherits the lock with the open log.

    So it lasts for as long as either process, even if the other is killed.
    """
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _remove_leftovers(folder: Path) -> None:
    """What keeps `train` from taking the folder of a run that was killed in its first moment."""
    if folder.is_dir():
        for path in folder.iterdir():
            if LEFTOVERS.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _what_went_wrong(run: Run, code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; out of memory?" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    if code:
        return f"exit code {code}"
    if not run.is_finished:
        return "it ended without scores"
    try:
        refuse_other_run(run)
    except RecipeError as error:
        return f"the recipe changed while the study ran: {error}"
    return ""
