"""A section on why: the words that made the most confident mistakes, where it is asked for."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.progress import Progress

from trivium.answering.occlusion import Explanation, Word, places_of
from trivium.apps.report.browser import said
from trivium.apps.report.figure import Panel, Section
from trivium.apps.report.runs import ReportedRun, names_of
from trivium.errors import RecipeError
from trivium.parts.tasks import Multilabel
from trivium.run.folder.predictions import Answers
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.trained import load_trained

MOST = 100
"""Rows of a task: a page that anybody reads holds no more, and each costs a pass per word."""
MOST_WORDS = 400
"""Of a row: longer ones are left out, and it is said."""
FAINT = 0.15
"""Of the strongest word of a row: what did less is not shaded."""
STRONGEST = 5


def refuse_count(count: int) -> None:
    """Raises RecipeError."""
    if not 0 <= count <= MOST:
        raise RecipeError(f"--explain {count}: give the rows of each task, from 1 to {MOST}.")


def explained(runs: Sequence[ReportedRun], count: int, bar: Progress) -> Section:
    """The words of `count` mistakes of each task and run, the most confident first."""
    section = Section(
        "why",
        "Words that made mistakes",
        "The most confident mistakes, word by word: each is left out once. A shaded, underlined "
        "word spoke for the answer that was given, one with a dashed line against it; the numbers "
        "are what is lost without the word.",
    )
    counter = bar.add_task("explaining", total=len(runs) * count)
    for run in runs:
        # As the mistakes are, which were made in training.
        predictor = load_trained(run.run.folder, as_trained=True)
        for name in names_of([run]):
            if name in run.answers and name in predictor.forms:
                panel, notes = _panel(run, name, predictor, count, several=len(runs) > 1)
                section.panels.extend([panel] if panel else [])
                section.notes.extend(notes)
        bar.advance(counter, count)
    bar.remove_task(counter)
    return section


def _panel(
    run: ReportedRun, name: str, predictor: ModelPredictor, count: int, *, several: bool
) -> tuple[Panel | None, list[str]]:
    answers = run.answers[name]
    title = f"{name} · {run.name}" if several else name
    errors = [row.error for row in said(answers)]
    worst = sorted((row for row, error in enumerate(errors) if error > 0), key=lambda r: -errors[r])
    short = [row for row in worst if len(places_of(answers.texts[row])) <= MOST_WORDS]
    left_out = len(worst[:count]) - len([row for row in worst[:count] if row in short])
    notes = [f"{title}: no mistake on dev."] if not worst else []
    if left_out:
        notes.append(f"{title}: {left_out} of more than {MOST_WORDS} words are left out here.")
    rows = [_row(answers, row, predictor) for row in short[:count]]
    values = {"columns": answers.task.text_columns, "rows": rows}
    panel = Panel(title, template="words.html.j2", values=values, wide=True) if rows else None
    return panel, notes


def _row(answers: Answers, row: int, predictor: ModelPredictor) -> dict[str, Any]:
    texts = answers.texts[row]
    asked = texts if len(texts) > 1 else texts[0]
    found = predictor.explain(answers.task.name, asked, _label(answers, row))
    most = max((abs(word.effect) for word in found.words), default=0.0)
    return {
        "line": answers.lines[row],
        "true": answers.labels[row],
        "answer": _shown(found.answer),
        "about": "" if found.about in ("score", _shown(found.answer)) else found.about,
        "value": f"{found.value:.3f}",
        "texts": [list(_pieces(found, place, most)) for place in range(len(texts))],
        "strongest": [
            (word.word, _signed(word.effect)) for word in found.strongest[:STRONGEST] if word.effect
        ],
    }


def _label(answers: Answers, row: int) -> str | None:
    """What is explained: of several labels the one that is most wrong; else the answer."""
    task = answers.task
    if not isinstance(task, Multilabel):
        return None
    pairs = zip(answers.readout_BK[row].tolist(), answers.target_B[row].tolist(), strict=True)
    # Of a label that is right 0, so that the furthest off of the wrong ones is found.
    wrong = [abs(p - t) if (p >= task.threshold) != (t > 0) else 0.0 for p, t in pairs]
    return task.names[wrong.index(max(wrong))]


def _pieces(found: Explanation, place: int, most: float) -> Iterator[tuple[str, str, str, str]]:
    """A text in pieces: text, class, share of the strongest, number. They make the text again."""
    text, end = found.texts[place], 0
    for word in (each for each in found.words if each.place.text == place):
        yield text[end : word.place.start], "", "", ""
        yield word.word, *_shade(word, most)
        end = word.place.end
    yield text[end:], "", "", ""


def _shade(word: Word, most: float) -> tuple[str, str, str]:
    share = abs(word.effect) / most if most else 0.0
    if share < FAINT:
        return "", "", ""
    return ("for" if word.effect > 0 else "against"), f"{share:.3f}", _signed(word.effect)


def _signed(effect: float) -> str:
    return f"{'−' if effect < 0 else '+'}{abs(effect):.3f}"


def _shown(answer: object) -> str:
    return f"{answer:.4g}" if isinstance(answer, float) else str(answer)
