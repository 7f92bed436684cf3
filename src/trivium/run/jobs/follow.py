"""How far a run in another process is, from the journal it writes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.run.folder.names import JOURNAL


class Progress:
    """What a run's journal tells, read again and again; each line is read once."""

    def __init__(self, run_dir: Path, stages: Sequence[str]) -> None:
        self.path = run_dir / JOURNAL
        self.stages = list(stages)
        self.stage = ""
        self.step = self.steps = 0
        self.done = 0.0
        """Share of the run, every stage counted alike."""
        self._read = 0
        self._first: tuple[float, float] | None = None
        self._evaluations: dict[tuple[str, int], dict[str, Any]] = {}

    def look(self, now: float) -> None:
        """Read what is new. now: seconds, by any clock that does not jump."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    self._read = 0  # a run that resumes cuts back to its last checkpoint
                file.seek(self._read)
                lines = file.read().rpartition(b"\n")
        except OSError:
            return
        self._read += len(lines[0]) + len(lines[1])
        for line in lines[0].splitlines():
            self._take(line)
        if not self.steps or self.stage not in self.stages:
            return
        place = self.stages.index(self.stage)
        done = (place + min(1.0, self.step / self.steps)) / len(self.stages)
        if self._first is None or done < self.done:
            self._first = (now, done)
        self.done = done

    def remaining_s(self, now: float) -> float | None:
        """Seconds to the end at the speed so far; None while it is not known."""
        if self._first is None or self.done <= self._first[1]:
            return None
        start, share = self._first
        return (now - start) / (self.done - share) * (1 - self.done)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The journal's evaluations so far, oldest first.

        That of a model which is to be trained yet is none of them: so those of runs that differ
        in where their heads start are counted alike. One that was made again after the run was
        resumed, alike to the bit, counts once.
        """
        return list(self._evaluations.values())

    def is_last(self, evaluation: dict[str, Any]) -> bool:
        """Whether the run ends with this evaluation anyway."""
        at_end = evaluation["stage"] == self.stage and evaluation["step"] >= self.steps
        return at_end and self.stage == self.stages[-1]

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if event.get("event") == "stage":
            self.stage, self.step, self.steps = event["stage"], 0, event["steps"]
        elif event.get("event") == "step":
            self.stage, self.step = event["stage"], event["step"]
        elif event.get("event") == "evaluation" and (event["step"] or not self.steps):
            self._evaluations[event["stage"], event["step"]] = event
