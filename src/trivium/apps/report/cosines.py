"""The cosine that a pair's score is made of, against its true score."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trivium.apps.report.figure import Figure, Panel, Trace, axis, few_digits, plain
from trivium.apps.report.runs import ReportedRun
from trivium.model.multitask import Cosine
from trivium.parts.tasks import Regression
from trivium.run.folder.names import HEADS, MODEL
from trivium.run.folder.predictions import Answers

MOST_DOTS = 2000


def cosine_panel(title: str, run: ReportedRun, answers: Answers) -> Panel | None:
    """Each row's cosine up, its true score across; None where the head has none, or its map is not
    known. What was clipped to the range of scores has the cosine of the range's end."""
    task = answers.task
    assert isinstance(task, Regression)
    form = task.resolved_head.of_cosine(_learned(run.run.folder, task.name))
    if form is None or form.scale == 0:
        return None
    cosine_B = _cosines(answers.readout_BK.squeeze(1), task, form)
    every = -(-len(cosine_B) // MOST_DOTS)
    dots: Trace = {
        "type": "scatter", "mode": "markers", "name": plain(run.name),
        "x": [round(float(value), 4) for value in answers.target_B[::every]],
        "y": [few_digits(float(value)) for value in cosine_B[::every]],
        "marker": {"size": 6, "opacity": 0.55}, "meta": {"run": run.place},
        "hovertemplate": "true %{x}, cosine %{y:.3f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("true"), "yaxis": axis("cosine", range=[-1.02, 1.02]), "showlegend": False,
        "hovermode": "closest",
    }  # fmt: skip
    low, high = float(cosine_B.min()), float(cosine_B.max())
    note = f"Cosines of the two texts' vectors, before they are scores: {low:.2f} to {high:.2f}"
    note += f", mean {float(cosine_B.mean()):.2f}."
    figure = Figure(f"{title}: cosine against true", [dots], layout, 420)
    return Panel(f"{title} · cosine", note, figure)


def _cosines(score_B: Tensor, task: Regression, form: Cosine) -> Tensor:
    low, high = task.range
    unit_B = (score_B.double() - low) / (high - low)
    if form.sigmoid:
        unit_B = torch.logit(unit_B.clamp(1e-6, 1 - 1e-6))
    return (unit_B - form.offset) / form.scale


def _learned(folder: Path, name: str) -> Callable[[str], float | None]:
    """What a run's head learned, by name; nothing of a run that holds no such model."""

    def find(key: str) -> float | None:
        try:
            with safe_open(folder / MODEL / HEADS, "pt") as file:
                return float(file.get_tensor(f"{name}.{key}"))
        except (OSError, SafetensorError):
            return None

    return find
