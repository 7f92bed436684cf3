"""A run in a process of its own: started, followed, asked to save, or killed."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal, Self

from trivium.errors import RecipeError
from trivium.recipe import Recipe
from trivium.recipe.budget import FULL
from trivium.recipe.presets import GOOD, preset_of
from trivium.run.folder.differences import LABELS, Difference, differences, in_words
from trivium.run.folder.locks import lock
from trivium.run.folder.names import RECIPE, SCORES
from trivium.run.folder.retrained import retrained
from trivium.run.folder.start import is_trace, run_recipe

LOOK_EVERY_S = 0.05
SHOWN_LINES = 6
TAIL_BYTES = 8192
PARENT = "TRIVIUM_PARENT"
"""Tells `trivium.cli` to save and stop when this process is gone."""
TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")
"""What would make a child draw bars and colours into its log file."""
Variables = Mapping[str, str]
NONE_MORE: Variables = {}


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A run that a child process shall train."""

    path: Path
    """Of the recipe's file."""
    recipe: Recipe
    """What the file says, with the changes."""
    folder: Path
    changes: tuple[str, ...] = ()
    """`dotted.path=value`, as in --set."""
    budget: str = FULL
    """As in --budget."""
    only: tuple[str, ...] = ()
    """As in --only."""

    @property
    def log(self) -> Path:
        """What the child process said, of all its starts."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def has_begun(self) -> bool:
        return (self.folder / RECIPE).is_file()

    @property
    def is_finished(self) -> bool:
        return self.has_begun and (self.folder / SCORES).is_file()

    @property
    def command(self) -> list[str]:
        settings = [] if self.budget == FULL else ["--budget", self.budget]
        if preset_of(self.path, None) == "best":  # which is several runs, and this is one
            settings += ["--preset", GOOD]
        settings += [word for change in self.changes for word in ("--set", change)]
        settings += ["--only", ",".join(self.only)] if self.only else []
        words = ["train", str(self.path), "--out", str(self.folder), *settings]
        return [sys.executable, "-m", "trivium", *words, *(["--resume"] if self.has_begun else [])]

    def placed(self) -> Self:
        """The same for processes with another working folder."""
        return replace(self, path=self.path.resolve(), folder=self.folder.resolve())

    def refuse_other(self) -> None:
        """RecipeError where the folder holds anything that is not a part of this run."""
        refuse_foreign(self.folder, "run", self.has_begun)
        if not self.has_begun:
            return
        old = run_recipe(self.folder).model_dump(mode="json")
        new = self.recipe.model_dump(mode="json")
        changes = [one for one in differences(old, new) if not _is_left_to_the_data(one)]
        if changes:
            raise RecipeError(
                f"{self.folder}: holds a run of other settings than {self.path} asks for now: "
                f"{in_words(changes)}. Nothing was changed. Name another folder with --out, or put "
                "the settings and the budget back."
            )
        if self.is_finished and (teachers := retrained(self.folder)):
            raise RecipeError(
                f"{self.folder}: learned from {', '.join(teachers)}, trained anew since. Nothing "
                f"was changed. Delete {self.folder} to let it learn from them as they are now, or "
                "name another folder with --out."
            )


@dataclass(slots=True)
class Stop:
    """How often somebody asked to stop: once means save and stop, twice stop now."""

    asked: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

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

    numbers = [signal.SIGINT, signal.SIGTERM]
    closed = getattr(signal, "SIGHUP", None)  # Windows has none
    if closed and signal.getsignal(closed) is not signal.SIG_IGN:  # as under nohup
        numbers.append(closed)
    before = {number: signal.signal(number, count) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_run(
    job: Job, stop: Stop, watch: Callable[[int, str], None], variables: Variables = NONE_MORE
) -> Outcome:
    """Train a run to its end in a child process, from its last checkpoint if it has begun.

    watch: called several times a second with the size of the log at the start, and what is waited
    for if it is not the training. variables: of the child's environment, beside this process's own.
    """
    with open_log(job) as log:
        while not lock(log):
            if stop.asked:
                return Outcome("stopped", "resumed")
            # Nobody tells us when a lock is dropped, so it is asked for again and again.
            watch(log.tell(), "another process trains this run; waiting for its end")
            time.sleep(LOOK_EVERY_S)
        return train_locked(job, log, stop, watch, variables)


def open_log(job: Job) -> IO[str]:
    """The run's log, to append to. Who has locked it may train the run; the child inherits the lock
    with the open log, so it lasts for as long as either process, even if the other is killed."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    return job.log.open("a", encoding="utf-8")


def train_locked(
    job: Job,
    log: IO[str],
    stop: Stop,
    watch: Callable[[int, str], None],
    variables: Variables = NONE_MORE,
) -> Outcome:
    """As `train_run`, of a run whose log this process has opened and locked."""
    if job.is_finished:  # by another process
        reason = _what_went_wrong(job, 0)
        return Outcome("failed" if reason else "done", "skipped", reason=reason)
    began = time.monotonic()
    how: Literal["trained", "resumed"] = "resumed" if job.has_begun else "trained"
    command = job.command
    print(f"\n$ {shlex.join(command)}  # {time.strftime('%Y-%m-%d %H:%M:%S')}", file=log)
    log.flush()
    start = log.tell()
    code = _follow(command, log, stop, lambda: watch(start, ""), variables)
    seconds = time.monotonic() - began
    if code != 0 and stop.asked:
        return Outcome("stopped", how, seconds)
    if reason := _what_went_wrong(job, code):
        return Outcome("failed", how, seconds, reason, last_lines(job.log, start))
    return Outcome("done", how, seconds)


def refuse_foreign(folder: Path, what: str, is_ours: bool) -> None:
    """RecipeError where a folder cannot be made, or holds something that is not a `what`."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise RecipeError(f"{place}: is a file, but a folder is needed there.")
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() and not is_ours else []
    if foreign := [name for name in names if not is_trace(name)]:
        raise RecipeError(
            f"{folder}: holds {foreign[0]!r} but no {what}. Name another folder with --out."
        )


def _is_left_to_the_data(difference: Difference) -> bool:
    """Whether the run only has what it found in its tables where the recipe leaves it open."""
    place, old, new = difference
    if LABELS.fullmatch(place):
        return new is None and isinstance(old, dict) and all(k == v for k, v in old.items())
    if re.fullmatch(r"tasks\.[^.]+\.class_weights", place):
        return new == "balanced" and isinstance(old, dict)
    return re.fullmatch(r"stages\.\d+\.lr\.(heads|adapters)", place) is not None and new is None


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


def _follow(
    command: Sequence[str],
    log: IO[str],
    stop: Stop,
    watch: Callable[[], None],
    variables: Variables = NONE_MORE,
) -> int:
    """The child's exit code; negative is the number of the signal that killed it."""
    environment = {key: value for key, value in os.environ.items() if key not in TERMINAL}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment | {**variables, PARENT: str(os.getpid())},
        process_group=0,  # a terminal's Ctrl-C is for us; the child would take ours for a second
    )
    passed_on = 0
    try:  # noqa: PLR1702
        while True:
            try:
                return child.wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                pass
            if stop.asked > passed_on:
                passed_on = stop.asked
                if passed_on == 1:
                    child.send_signal(signal.SIGINT)
                else:
                    child.kill()
            watch()
    finally:
        if child.poll() is None:  # an error of our own; the child may still save
            child.send_signal(signal.SIGINT)
            child.wait()


def _what_went_wrong(job: Job, code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; out of memory?" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    if code:
        return f"exit code {code}"
    if not job.is_finished:
        return "it ended without scores"
    try:
        job.refuse_other()
    except RecipeError as error:
        return f"the recipe changed meanwhile: {error}"
    return ""
