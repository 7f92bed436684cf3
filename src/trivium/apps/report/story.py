"""What a journal tells: losses, dev scores, kept steps and cosines over the whole of a run."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trivium.errors import RecipeError
from trivium.run.folder.finished import FinishedRun
from trivium.run.folder.names import JOURNAL
from trivium.run.folder.scores import Selected
from trivium.run.rows.splits import TRAIN


@dataclass(slots=True)
class Series:
    """Values over steps, counted through all stages."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)


@dataclass(frozen=True, slots=True)
class Evaluation:
    step: int
    seconds: float | None
    """Of training until then; None in journals that do not say."""
    scores: dict[str, dict[str, float]]
    """task -> metric -> value, on dev."""
    overall: float | None
    seen: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same on training rows, where the recipe has `train_rows`."""


@dataclass(slots=True)
class Story:
    stages: list[tuple[str, int]] = field(default_factory=list)
    """Name, and steps that were done before it began."""
    losses: dict[str, Series] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    cosines: dict[tuple[str, str], Series] = field(default_factory=dict)
    layers: dict[str, dict[tuple[str, str], Series]] = field(default_factory=dict)
    """Layer -> pair of tasks -> cosines of their gradients there."""
    refusals: list[str] = field(default_factory=list)
    kept: int | None = None
    """Step of the model that the run ended with."""
    mixed: str = ""
    """Why the journal's own story cannot be told: it is that of several trainings."""


def story_of(run: FinishedRun) -> Story:
    """The journal of a run; an empty story where it has none, or several trainings'. Raises
    RecipeError."""
    try:
        if mixed := _mixed(run.events()):
            return Story(mixed=mixed)
        return tell(run.events(), list(run.recipe.tasks), run.scores.selected)
    except RecipeError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"{run.folder / JOURNAL}: is not as training leaves it ({error!r}). Copy the run again "
            "if it was damaged; without the file, the report is made without curves."
        ) from error


def _mixed(events: Iterable[dict[str, Any]]) -> str:
    """What is wrong with a journal that tells a step more than once; "" if none does."""
    lines = Counter((e["stage"], e["step"]) for e in events if e["event"] == "step")
    if lines.total() == len(lines):
        return ""
    return (
        f"has a journal with {lines.total():,} lines of steps for {len(lines):,} steps: several "
        "trainings wrote into one folder, as older versions let them. None of its curves is drawn, "
        "since nobody can tell whose a line is; its scores are of the model that is there. For "
        "curves, train it again"
    )


def tell(
    events: Iterable[dict[str, Any]], tasks: list[str], selected: Selected | None = None
) -> Story:
    """tasks: in the recipe's order; selected: where the kept model comes from."""
    story, start, last = Story(), 0, 0
    for event in events:
        kind = event.get("event")
        if kind == "stage":
            start = last
            story.stages.append((event["stage"], start))
        elif kind == "step":
            last = start + event["step"]
            _add_step(story, last, event, tasks)
        elif kind == "evaluation":
            dev, seen = (
                {n: splits[split] for n, splits in event["scores"].items() if split in splits}
                for split in ("dev", TRAIN)
            )
            told = event.get("seconds"), dev, event.get("overall"), seen
            story.evaluations.append(Evaluation(start + event["step"], *told))
        elif kind == "refusal":
            story.refusals.append(
                f"stage {event['stage']}, step {event['step']:,}: refused by the guard, because "
                f"{event['task']} fell to {event['metric']} {event['value']:.4f}, below its floor "
                f"{event['floor']:.4f}"
            )
    starts = dict(story.stages)
    if selected and selected.stage in starts and selected.step is not None:
        story.kept = starts[selected.stage] + selected.step
    return story


def _add_step(story: Story, step: int, event: dict[str, Any], tasks: list[str]) -> None:
    for task, loss in event["losses"].items():
        story.losses.setdefault(task, Series()).add(step, loss)
    for key, value in event.get("cosines", {}).items():
        story.cosines.setdefault(_pair(key, tasks), Series()).add(step, value)
    for layer, cosines in event.get("layer_cosines", {}).items():
        for key, value in cosines.items():
            of_layer = story.layers.setdefault(layer, {})
            of_layer.setdefault(_pair(key, tasks), Series()).add(step, value)


def _pair(key: str, tasks: list[str]) -> tuple[str, str]:
    """`b|a` and `a|b` are the same two tasks, in the recipe's order."""
    first, _, second = key.partition("|")
    a, b = sorted((first, second), key=lambda n: tasks.index(n) if n in tasks else len(tasks))
    return a, b
