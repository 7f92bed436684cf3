"""Teachers asked about the rows that a student will learn from: once, before training."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from trivium.run.assembly.device import undisturbed
from trivium.run.folder.names import TEACHERS
from trivium.run.predictor.base import Texts
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.encoded import Encoded, encode
from trivium.run.screen.console import say
from trivium.run.screen.progress import rows_bar
from trivium.run.teachers.kept import answers_to, keep_answers, read_answers_to
from trivium.run.teachers.lessons import Found, Lesson, Lessons
from trivium.run.training.work import Work
from trivium.text.packing import TokenTable

ROWS_AT_ONCE = 512
"""Asked between two looks at the progress bar and at Ctrl-C."""


def teach(
    work: Work, lessons: Lessons, stopping: threading.Event
) -> dict[str, dict[str, Encoded]] | None:
    """Stage -> the training rows of all tasks as the stage sees them, with its teachers' answers.

    The first process asks, the others wait for its answers. None where a stop was asked for; the
    answers to lessons that are complete are kept. Changes no random state.
    """
    if not lessons.by_stage:
        return {}
    stopped = False
    if work.processes.first:
        (work.run_dir / TEACHERS).mkdir(exist_ok=True)
        waiting = [one for one in lessons if read_answers_to(work.run_dir, one) is None]
        # Building a model draws its heads, and a run whose teachers were asked must be the one that
        # finds their answers.
        with undisturbed(work.setup.device):
            stopped = not _ask_all(work, waiting, stopping)
    (stopped,) = work.processes.agree(stopped)
    if stopped:
        return None
    ours = {}
    if work.processes.first:
        ours = {lesson.name: answers_to(work.run_dir, lesson) for lesson in lessons}
    answers = work.processes.tensors_of_first(ours, work.setup.device)
    return {
        stage: taught(work.setup.encoded, of, answers) for stage, of in lessons.by_stage.items()
    }


def taught(
    encoded: Mapping[str, Encoded], lessons: Mapping[str, Lesson], answers: Mapping[str, Tensor]
) -> dict[str, Encoded]:
    """The training rows of all tasks, those of the lessons with what their teachers say.

    encoded: without teachers. Rows without labels are put at the end; the answer is their target.
    """
    rows = dict(encoded)
    for name, lesson in lessons.items():
        plain, teacher_BK = encoded[name], answers[lesson.name]
        assert len(teacher_BK) == len(plain) + len(lesson.extra), "an answer for every row"
        assert isinstance(plain.table, TokenTable), "rows that are asked about are in memory"
        more = encode(lesson.task, lesson.extra, plain.table, plain.packer)
        settled_B = lesson.task.settled(teacher_BK[len(plain) :]).to(plain.target_B.dtype)
        rows[name] = replace(
            plain,
            texts=[[*old, *new] for old, new in zip(plain.texts, more.texts, strict=True)],
            target_B=torch.cat([plain.target_B, settled_B]),
            teacher_BK=teacher_BK,
        )
    return rows


# --- asking --------------------------------------------------------------------------------------


def _ask_all(work: Work, lessons: Sequence[Lesson], stopping: threading.Event) -> bool:
    """Ask the teachers of each lesson, and keep their answers; False where it was stopped."""
    with rows_bar(work.console) as bars:  # noqa: PLR1702
        for lesson in lessons:
            rows = list(dict.fromkeys(lesson.rows))
            bar = bars.add_task(
                f"teachers of {lesson.task.name}", total=len(rows) * len(lesson.teachers)
            )
            total_UK: Tensor | None = None
            for teacher in lesson.teachers:
                readout_UK = _ask(work, teacher, rows, (bars, bar), stopping)
                if readout_UK is None:
                    return False
                total_UK = readout_UK if total_UK is None else total_UK + readout_UK
            assert total_UK is not None, "a lesson has a teacher"
            place = {row: index for index, row in enumerate(rows)}
            chosen = torch.tensor([place[row] for row in lesson.rows])
            keep_answers(work.run_dir, lesson, (total_UK / len(lesson.teachers))[chosen])
            who = ", ".join(str(teacher.folder) for teacher in lesson.teachers)
            say(work.console, f"{lesson.task.name}: {len(lesson.rows):,} rows answered by {who}")
    return True


def _ask(
    work: Work,
    teacher: Found,
    rows: Sequence[Texts],
    bar: tuple[Progress, TaskID],
    stopping: threading.Event,
) -> Tensor | None:
    """What one teacher says of the rows, readout_BK in fp32; None where it was stopped.

    The teacher is in memory no longer than that.
    """
    bars, task = bar
    predictor = load_trained(teacher.folder, device=str(work.setup.device))
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if stopping.is_set():
            return None
        part = rows[start : start + ROWS_AT_ONCE]
        parts.append(predictor.readout(teacher.task, part))
        bars.advance(task, len(part))
    del predictor
    if work.setup.device.type == "cuda":
        torch.cuda.empty_cache()
    return torch.cat(parts)
