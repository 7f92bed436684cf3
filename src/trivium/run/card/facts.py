"""What a card tells of a finished run, gathered from its folder."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from trivium.answering.decide import Decide
from trivium.errors import RecipeError
from trivium.model.pretrained import read_config
from trivium.parts.tasks import Labelled, Task
from trivium.run.folder.decisions import Figures, read_figures
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.model import saved_tasks
from trivium.run.folder.names import CARD, MODEL
from trivium.run.folder.provenance import Provenance, read_provenance
from trivium.run.folder.scores import Metrics
from trivium.run.rows.splits import JUDGED
from trivium.run.screen.progress import silent
from trivium.run.verdict.bootstrap import how_many, interval, row_scores

RESAMPLES, FEWEST = 2_000, 200
"""Of the bootstrap, for up to 10,000 rows, and for any number."""
DRAWN = 20_000_000
"""Rows drawn in all, so that a card takes a second."""
PACKAGED = "sentence-transformers/all-MiniLM-L6-v2"
"""What the packaged encoder is called on the hub."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A task's scores on one split."""

    task: Task
    split: str
    metrics: Metrics
    between: tuple[float, float] | None
    """95 % interval of the main metric; None where the answers cannot be read."""
    resamples: int

    @property
    def value(self) -> float:
        return self.metrics[self.task.metric]

    @property
    def rows(self) -> int:
        return int(self.metrics["rows"])


@dataclass(frozen=True)
class Facts:
    run: FinishedRun
    name: str | None
    """On the hub, user/name; None where it is not there."""
    judged: tuple[Judged, ...]
    provenance: Provenance | None
    decisions: Mapping[str, Decide]
    """How the answers of tasks that were calibrated are decided upon."""
    figures: Mapping[str, Figures]
    """What that changed, as far as it was kept."""

    @property
    def title(self) -> str:
        return self.name or self.run.folder.resolve().name

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Those that have answers."""
        return {n: t for n, t in self.run.recipe.tasks.items() if t.answers_questions}

    @property
    def practised(self) -> list[str]:
        """The others."""
        return [name for name in self.run.recipe.tasks if name not in self.tasks]

    @property
    def is_packaged(self) -> bool:
        """Whether its encoder is the one whose training data are known to hold some tasks' own."""
        return self.run.recipe.encoder == "minilm"

    @property
    def base_model(self) -> str | None:
        """The encoder that it came from, as the hub calls it; None of a folder of the user's."""
        encoder = self.run.recipe.encoder
        if self.is_packaged:
            return PACKAGED
        is_name = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", encoder) is not None
        return encoder if is_name and not Path(encoder).is_dir() else None

    @cached_property
    def max_length(self) -> int:
        """Word pieces that the encoder takes."""
        return read_config(self.run.folder / MODEL).max_position_embeddings

    @property
    def model_bytes(self) -> int:
        folder = self.run.folder / MODEL
        return sum(p.stat().st_size for p in folder.iterdir() if p.is_file() and p.name != CARD)

    @property
    def has_teachers(self) -> bool:
        parts = (part for stage in self.run.recipe.stages for part in stage.regularizers)
        return any(part.teaching is not None for part in parts)

    def rows(self, task: str, split: str) -> int | None:
        """Labelled rows of a split that were used; None where nothing tells."""
        of_task = self.provenance.tasks.get(task, {}) if self.provenance else {}
        if split in of_task:
            return of_task[split].rows
        scored = self.run.scores.metric(task, split, "rows")
        return None if scored is None else int(scored)


def gather(run: FinishedRun, name: str | None = None) -> Facts:
    """What a card tells of a run. Raises RecipeError where a file of it is damaged."""
    tasks = saved_tasks(run.folder / MODEL)
    decisions = {
        name: task.decide
        for name, task in tasks.items()
        if isinstance(task, Labelled) and task.decide is not None
    }
    known = read_provenance(run.folder)
    return Facts(run, name, tuple(_judged(run)), known, decisions, read_figures(run.folder))


def shown(file: str) -> str:
    """A file as a recipe calls it, without what it tells of the machine that it lies on."""
    path = PurePath(file)
    is_near = not path.is_absolute() and ".." not in path.parts and "~" not in file
    return path.as_posix() if is_near else re.split(r"[/\\]", file)[-1]


def _judged(run: FinishedRun) -> Iterator[Judged]:
    for name, task in run.recipe.tasks.items():
        for split, metrics in run.scores.tasks.get(name, {}).items():
            if split not in JUDGED:
                continue  # scores on training rows promise nothing to whoever takes the model
            resamples, between = _interval(run, name, split) or (0, None)
            yield Judged(task, split, metrics, between, resamples)


def _interval(run: FinishedRun, task: str, split: str) -> tuple[int, tuple[float, float]] | None:
    """None where there are no answers, or none that can be read: the score stands all the same."""
    try:
        answers = run.answers(task, split)
    except RecipeError:
        return None
    if answers is None or not answers.lines:
        return None
    wanted = max(FEWEST, min(RESAMPLES, DRAWN // len(answers.lines)))
    score_SM = row_scores([answers], wanted, silent)
    return how_many(answers.task, wanted), interval(score_SM[0])
