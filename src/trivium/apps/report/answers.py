"""Sections on what runs answered on dev: confusion, scatter, calibration."""

from collections.abc import Sequence
from typing import Any

import torch

from trivium.apps.report.cosines import cosine_panel
from trivium.apps.report.figure import (
    Figure,
    Panel,
    Section,
    Table,
    Trace,
    axis,
    curve,
    plain,
    rows_in_words,
    share,
)
from trivium.apps.report.quality import (
    Calibration,
    calibration,
    is_ordered,
    one_off,
    order_in_doubt,
    places,
)
from trivium.apps.report.runs import ReportedRun, names_of
from trivium.parts.metrics import confusion, regression
from trivium.parts.tasks import Classification, Labelled, Regression
from trivium.run.folder.predictions import Answers

MOST_DOTS = 2000
"""Rows in a scatter; correlations are always over all of them."""
MOST_LABELS = 40
"""Labels of a confusion matrix; of more, the commonest mistakes are listed."""
SHOWN_MISTAKES = 30
HOVER_LETTERS, HOVER_LINE = 240, 60


def without_answers(runs: Sequence[ReportedRun]) -> list[str]:
    """Why some tasks have no place in a section on answers."""
    notes = []
    for run in runs:
        for name, task in run.run.recipe.tasks.items():
            if name in run.answers:
                continue
            why = "it has no dev rows" if task.answers_questions else "it answers no questions"
            notes.append(f"{run.name}: {name} is not here, since {why}.")
    return notes


def confusions(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "confusion",
        "Confusion",
        "Rows of dev by true label (down) and predicted label (across); the stronger the "
        "colour, the larger the share of the row. Press a cell to list its texts "
        "among the mistakes below.",
    )
    for run, name, answers in _each(runs):
        task = answers.task
        if not isinstance(task, Classification):
            continue
        true, predicted = answers.target_B.tolist(), places(task, answers.predictions)
        counts = confusion(torch.tensor(true), torch.tensor(predicted), len(task.names))
        title = f"{name} · {run.name}" if len(runs) > 1 else name
        note = _one_off_note(task, true, predicted)
        if len(task.names) > MOST_LABELS:
            section.panels.append(_commonest(title, task, counts))
            continue
        values = {
            "task": name,
            "run": run.place,
            "labels": task.names,
            "rows": [_shares(row) for row in counts],
        }
        broad = len(task.names) > 3
        panel = Panel(title, note, template="confusion.html.j2", values=values, broad=broad)
        section.panels.append(panel)
    if not section.panels:
        section.notes.append("No task here has exactly one label per row.")
    return section


def _one_off_note(task: Classification, true: list[int], predicted: list[int]) -> str:
    if not is_ordered(task):
        return ""
    shares = one_off(true, predicted)
    doubt = order_in_doubt(task)
    start = f"I{doubt[1:]}" if doubt else "The labels have an order"
    return (
        f"{start}: {share(shares.exactly)} of answers are exactly one label off "
        f"({share(shares.of_mistakes)} of the mistakes), {share(shares.within)} at most one."
    )


def _shares(counts: list[int]) -> list[dict[str, Any]]:
    total = sum(counts)
    return [{"count": count, "share": count / total if total else 0.0} for count in counts]


def _commonest(title: str, task: Labelled, counts: list[list[int]]) -> Panel:
    mistakes = [
        (count, sum(row), true, predicted)
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    mistakes.sort(key=lambda each: -each[0])
    rows = [
        [task.names[true], task.names[predicted], f"{count:,}", share(count / total)]
        for count, total, true, predicted in mistakes[:SHOWN_MISTAKES]
    ]
    note = (
        f"{len(task.names)} labels are too many for a matrix: its {len(rows)} commonest mistakes."
    )
    table = Table(["true", "predicted", "rows", "share of the true label's"], rows, wordy=2)
    return Panel(title, note, table=table, wide=True)


# --- scores ------------------------------------------------------------------------------------


def scatters(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "scatter",
        "Predicted against true",
        "Each dot is a row of dev: its true score across, the predicted one up. On the line they "
        "are equal; point at a dot, or tap it, to read its text. Scores are drawn as the model has "
        "them, of which the correlations are; beyond an end of the range, that end is answered.",
    )
    for run, name, answers in _each(runs):
        task = answers.task
        if isinstance(task, Regression):
            title = f"{name} · {run.name}" if len(runs) > 1 else name
            section.panels.append(_scatter(title, run, task, answers))
            if panel := cosine_panel(title, run, answers):
                section.panels.append(panel)
    if not section.panels:
        section.notes.append("No task here is answered with a score.")
    return section


def _scatter(title: str, run: ReportedRun, task: Regression, answers: Answers) -> Panel:
    predicted_B, target_B = answers.readout_BK.squeeze(1), answers.target_B
    scores = regression(predicted_B, target_B)
    every = -(-len(target_B) // MOST_DOTS)
    rows = range(0, len(target_B), every)
    low, high = task.range
    dots: Trace = {
        "type": "scatter", "mode": "markers", "name": plain(run.name),
        "x": [round(float(target_B[row]), 4) for row in rows],
        "y": [round(float(predicted_B[row]), 4) for row in rows],
        "text": [hover_text(answers.texts[row]) for row in rows],
        "marker": {"size": 6, "opacity": 0.55}, "meta": {"run": run.place},
        "hovertemplate": "true %{x}, predicted %{y:.2f}<br>%{text}<extra></extra>",
    }  # fmt: skip
    line: Trace = {
        "type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high],
        "line": {"width": 1, "dash": "dash"}, "meta": {"ink": True}, "hoverinfo": "skip",
    }  # fmt: skip
    layout = {
        "xaxis": axis("true"), "yaxis": axis("predicted"), "showlegend": False,
        "hovermode": "closest",
    }  # fmt: skip
    note = f"Pearson {scores['pearson']:.4f}, Spearman {scores['spearman']:.4f} over all "
    note += rows_in_words(len(target_B)) + (f"; {len(rows):,} of them drawn." if every > 1 else ".")
    return Panel(title, note, Figure(f"{title}: predicted against true", [line, dots], layout, 420))


def hover_text(texts: Sequence[str]) -> str:
    """Texts in lines of a hover, the long ones cut, with nothing in them that is markup."""
    lines = []
    for text in texts:
        text = " ".join(text.split())
        text = text if len(text) <= HOVER_LETTERS else text[: HOVER_LETTERS - 1] + "…"
        lines += [text[i : i + HOVER_LINE] for i in range(0, len(text), HOVER_LINE)] or [""]
    return "<br>".join(map(plain, lines))


# --- calibration -------------------------------------------------------------------------------


def calibrations(runs: Sequence[ReportedRun]) -> Section:
    section = Section(
        "calibration",
        "Calibration",
        "Of the answers given with some confidence, how many were right? On the line confidence "
        "can be taken at its word; below it the model is too sure. ECE is the mean distance from "
        "the line, weighed by answers (Guo et al. 2017: expected calibration error, 15 bins).",
    )
    for name in names_of(runs):
        told = [
            (run, calibration(run.answers[name].task, run.answers[name]))
            for run in runs
            if name in run.answers and isinstance(run.answers[name].task, Labelled)
        ]
        if told:
            section.panels.append(_reliability(name, told))
    if not section.panels:
        section.notes.append("No task here gives probabilities.")
    return section


def _reliability(name: str, runs: Sequence[tuple[ReportedRun, Calibration]]) -> Panel:
    traces: list[Trace] = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
         "line": {"width": 1, "dash": "dash"}, "meta": {"ink": True}, "showlegend": False}
    ]  # fmt: skip
    for run, found in runs:
        most = max(each.rows for each in found.bins)
        trace = curve(
            f"{run.name}: ECE {found.error:.3f}", run.place,
            [round(each.confidence, 4) for each in found.bins],
            [each.accuracy for each in found.bins], mode="lines+markers",
            customdata=[each.rows for each in found.bins],
            hovertemplate=f"{plain(run.name)}<br>confidence %{{x:.2f}}, right %{{y:.1%}}<br>"
            "%{customdata:,} answers<extra></extra>",
        )  # fmt: skip
        trace["marker"]["size"] = [6 + 14 * (each.rows / most) ** 0.5 for each in found.bins]
        traces.append(trace)
    layout = {
        "xaxis": axis("confidence", range=[0, 1.02]),
        "yaxis": axis("share of right answers", range=[0, 1.04], tickformat=".0%"),
        "showlegend": len(runs) > 1,
        "hovermode": "closest",
    }
    errors = ", ".join(
        f"{run.name} {found.error:.4f}" if len(runs) > 1 else f"{found.error:.4f}"
        for run, found in runs
    )
    note = f"ECE {errors}. Larger dots stand for more answers."
    return Panel(name, note, Figure(f"{name}: reliability of confidence", traces, layout, 380))


def _each(runs: Sequence[ReportedRun]) -> list[tuple[ReportedRun, str, Answers]]:
    """Task by task, so that runs stand side by side."""
    return [
        (run, name, run.answers[name])
        for name in names_of(runs)
        for run in runs
        if name in run.answers
    ]
