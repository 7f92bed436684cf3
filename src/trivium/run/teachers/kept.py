"""Teachers' answers as a run keeps them: `teachers/<task>.safetensors`.

The header of each file says whose answers to what they are, so that a resumed run need not ask
again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trivium.errors import RecipeError
from trivium.run.folder.atomic import write_bytes
from trivium.run.folder.names import TEACHERS, TENSORS
from trivium.run.teachers.lessons import Lesson, Lessons


def refuse_changed(lessons: Lessons, run_dir: Path) -> None:
    """RecipeError where answers are kept that are not those to these lessons."""
    for lesson in lessons:
        path = _file(run_dir, lesson)
        kept, asked = _identity_of(path), lesson.identity()
        if kept is None or kept == asked:
            continue
        old = {one["run"]: one["sha256"] for one in kept.get("teachers", ())}
        for teacher in lesson.teachers:
            if old.get(str(teacher.folder), teacher.digest) != teacher.digest:
                raise RecipeError(
                    f"--resume: {teacher.folder}, a teacher of {lesson.task.name}, was trained "
                    f"anew since {run_dir} began. Put the old one back, or start a new run."
                )
        raise RecipeError(
            f"--resume: {path}: holds answers to other rows, or of other teachers, than the run "
            "would learn from now: its data files changed. Put them back, or start a new run."
        )


# --- answers that are kept -----------------------------------------------------------------------


def _file(run_dir: Path, lesson: Lesson) -> Path:
    return run_dir / TEACHERS / f"{lesson.name}{TENSORS}"


def keep_answers(run_dir: Path, lesson: Lesson, readout_BK: Tensor) -> None:
    """Write the answers to a lesson into the run's folder, whole or not at all. Raises OSError."""
    facts = lesson.identity() | {"answers": _digest(readout_BK)}
    header = {"trivium": json.dumps(facts, ensure_ascii=False)}
    write_bytes(_file(run_dir, lesson), save({"readout": readout_BK.contiguous()}, header))


def read_answers_to(run_dir: Path, lesson: Lesson) -> Tensor | None:
    """The answers to a lesson; None where there are none, or not as they were written."""
    try:
        with safe_open(_file(run_dir, lesson), "pt") as file:
            facts = json.loads(file.metadata()["trivium"])
            readout_BK: Tensor = file.get_tensor("readout")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    expected = lesson.identity() | {"answers": _digest(readout_BK)}
    return readout_BK if facts == expected else None


def answers_to(run_dir: Path, lesson: Lesson) -> Tensor:
    """The answers to a lesson that were written before. Raises RecipeError where they are not
    there.
    """
    readout_BK = read_answers_to(run_dir, lesson)
    if readout_BK is None:
        raise RecipeError(
            f"{_file(run_dir, lesson)}: cannot be read, although it was just written. Is another "
            "process at work there?"
        )
    return readout_BK


def _identity_of(path: Path) -> dict[str, Any] | None:
    """Whose answers to what a file holds; None where that cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["trivium"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    facts.pop("answers", None)
    return facts


def _digest(readout_BK: Tensor) -> str:
    return hashlib.sha256(readout_BK.contiguous().numpy().tobytes()).hexdigest()
