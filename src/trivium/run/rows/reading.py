"""Parts of big tables, read by this process and by others beside it; `python -m` this module is
such a process, which ends when its standard input does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trivium.errors import RecipeError
from trivium.parts.tasks import AnyTask, Source, Task
from trivium.run.assembly.cores import cores
from trivium.run.rows.arrays import FRESH
from trivium.run.rows.blocks import Job, read_block
from trivium.text.parts import Part, TornError

MOST_PROCESSES = 8
WORTH = 2**26
"""Bytes of text from which another process, which loads for seconds, is worth it."""

Outcome = int | TornError | RecipeError
"""Rows of a part, or why it could not be read."""


def read_blocks(jobs: Sequence[Job], on_read: Callable[[Job], object]) -> list[Outcome]:
    """Read parts, several at once; what became of each, in their order, up to the first that
    could not be read. on_read: called for each part, in this thread."""
    found: list[Outcome | None] = [None] * len(jobs)
    work = _Work(deque(enumerate(jobs)), found)
    with _beside(work, _others(jobs)):
        _here(work, on_read)
    _here(work, on_read)  # what a process left that died
    whole = []
    for outcome in found:
        if outcome is None:
            break
        whole.append(outcome)
        if not isinstance(outcome, int):
            break
    return whole


@dataclass(frozen=True, slots=True)
class _Work:
    waiting: "deque[tuple[int, Job]]"
    found: list[Outcome | None]
    told: "deque[Job]" = field(default_factory=deque)
    """Done, and not yet told of."""

    def done(self, number: int, job: Job, outcome: Outcome) -> None:
        self.found[number] = outcome
        self.told.append(job)
        if not isinstance(outcome, int):
            self.waiting.clear()  # what comes after it is of no use now


def _here(work: _Work, on_read: Callable[[Job], object]) -> None:
    """Read in this process what waits."""
    with suppress(IndexError):
        while True:
            while work.told:
                on_read(work.told.popleft())
            number, job = work.waiting.popleft()
            work.done(number, job, _outcome(job))


def remove_unfinished(folder: Path) -> None:
    """What processes that were killed were writing; such files are of nobody who lives."""
    for file in folder.glob(f"*{FRESH}"):
        writer = file.name.split(".")[-3]
        if not (writer.isdecimal() and _is_alive(int(writer))):
            file.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where this would end it
        return True
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _others(jobs: Sequence[Job]) -> int:
    """Processes to start beside this one."""
    size = sum(job.part.last - job.part.first for job in jobs)
    return max(0, min(cores(), MOST_PROCESSES, len(jobs), size // WORTH) - 1)


def _outcome(job: Job) -> Outcome:
    try:
        return read_block(job)
    except (TornError, RecipeError) as error:
        return error


# --- processes beside ----------------------------------------------------------------------------


@contextmanager
def _beside(work: _Work, count: int) -> Iterator[None]:
    """While the block lasts, other processes take jobs too; at its end theirs are done, and after
    an error they are killed. count: of them, or as many as the system lets us have."""
    processes: list[subprocess.Popen[bytes]] = []
    with suppress(OSError):
        while len(processes) < count:
            processes.append(_process())
    threads = [
        threading.Thread(target=_drive, args=(each, work), daemon=True) for each in processes
    ]
    for thread in threads:
        thread.start()
    try:
        yield
        for thread in threads:
            thread.join()
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for pipe in (pipe for each in processes for pipe in (each.stdin, each.stdout)):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()


def _process() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what it cannot do, this process tries, and tells of
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def _drive(process: "subprocess.Popen[bytes]", work: _Work) -> None:
    """Hand a process one job after another. One that dies leaves its job to the others."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(IndexError):
        while True:
            number, job = work.waiting.popleft()
            try:
                process.stdin.write(_packed(job))
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
            except (OSError, ValueError):
                work.waiting.append((number, job))
                return
            work.done(number, job, _unpacked(answer))


def _packed(job: Job) -> bytes:
    values = {
        "task": job.task.model_dump(mode="json"),
        "name": job.task.name,
        "path": str(job.path),
        "source": job.source.model_dump(mode="json"),
        "part": [job.part.first, job.part.last, job.part.line],
        "target": str(job.target),
        "drawn": job.drawn,
    }
    return json.dumps(values).encode() + b"\n"


def _unpacked(answer: dict[str, Any]) -> Outcome:
    if "problem" in answer:
        return RecipeError(answer["problem"])
    return TornError() if answer["torn"] else int(answer["rows"])


_TASK: TypeAdapter[Task] = TypeAdapter(AnyTask)


def _job(line: bytes) -> Job:
    values = json.loads(line)
    task = _TASK.validate_python(values["task"]).model_copy(update={"name": values["name"]})
    source = Source.model_validate(values["source"])
    return Job(
        task, Path(values["path"]), source, Part(*values["part"]), Path(values["target"]),
        values["drawn"],
    )  # fmt: skip


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    for line in sys.stdin.buffer:
        outcome = _outcome(_job(line))
        if isinstance(outcome, RecipeError):
            answer: dict[str, Any] = {"problem": str(outcome)}
        else:
            torn = isinstance(outcome, TornError)
            answer = {"torn": torn, "rows": 0 if torn else outcome}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
