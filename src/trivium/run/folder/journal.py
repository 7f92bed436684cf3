"""journal.jsonl: one line per thing that happened; appended in training, read by reports."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trivium.errors import RecipeError
from trivium.run.folder.names import JOURNAL


class Journal:
    """Appends; nothing is ever rewritten but by `cut`, when a run resumes.

    Without a folder it keeps nothing: of several processes, one writes.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self.path = run_dir / JOURNAL if run_dir else Path(os.devnull)
        # Each line is handed over by itself: whoever follows sees it at once, and none is kept back
        # that a full disk would refuse again when the file is closed.
        self._file = self.path.open("ab", buffering=0)

    def write(self, event: str, **values: Any) -> None:
        """Raises OSError with the journal's name; then part of a line may stand at its end."""
        line = (json.dumps({"event": event, **values}, ensure_ascii=False) + "\n").encode()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def flush(self) -> int:
        """Put all lines on the disk; the journal's length in bytes.

        Synced, since a checkpoint that tells this length is: after a power cut a journal that is
        shorter could not be cut back to it.
        """
        if self.path == Path(os.devnull):
            return 0
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Forget what was written after a checkpoint, since it is about to happen again.

        Raises RecipeError where some of what was written before it is missing.
        """
        if self.path == Path(os.devnull):
            return
        if (found := self.path.stat().st_size) < length:
            raise RecipeError(
                f"{self.path}: has {found:,} bytes, but {length:,} when the last checkpoint was "
                "saved: some of it was lost. Put it back, or train anew (--overwrite)."
            )
        self._file.truncate(length)

    def close(self) -> None:
        self._file.close()


def read_journal(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The journal's events, oldest first; a last line cut short by a crash is left out."""
    with (run_dir / JOURNAL).open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # else a writer was killed, or is in the middle of it
                yield json.loads(line)
