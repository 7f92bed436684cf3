"""journal.jsonl: one line per thing that happened; appended in training, read by reports."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trivium.run.folder.names import JOURNAL


class Journal:
    """Appends; nothing is ever rewritten but by `cut`, when a run resumes.

    Without a folder it keeps nothing: of several processes, one writes.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self.path = run_dir / JOURNAL if run_dir else Path(os.devnull)
        self._file = self.path.open("a", buffering=1, encoding="utf-8")  # a line at a time

    def write(self, event: str, **values: Any) -> None:
        self._file.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")

    def flush(self) -> int:
        """Hand all lines to the system; the journal's length in bytes."""
        self._file.flush()
        # Not `tell`: of a text file that is a cookie, no number of bytes.
        return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Forget what was written after a checkpoint, since it is about to happen again."""
        self._file.flush()
        if self.path != Path(os.devnull):
            self._file.truncate(length)

    def close(self) -> None:
        self._file.close()


def read_journal(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The journal's events, oldest first; a last line cut short by a crash is left out."""
    with (run_dir / JOURNAL).open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # else a writer was killed, or is in the middle of it
                yield json.loads(line)
