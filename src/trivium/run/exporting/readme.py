"""What a task's folder for another library says of itself: how to load it, what its outputs are,
and what `trivium calibrate` found that the library does not apply.

Words of users stand in blocks of JSON only, where none of them is a mark.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.parts.tasks import Labelled, Multilabel, Task
from trivium.run.exporting.folded import Folded
from trivium.run.folder.names import CARD

FOLDER = "path/to/this/folder"

LEFT = {
    "weights": "The answer is the label whose probability times its weight is the largest.",
    "costs": "By true label, what each answer costs: the answer is the one that costs least, by "
    "the probabilities.",
    "thresholds": "A label is part of the answer from its threshold on.",
    "abstain": "Where the answer's probability is below it there is no answer.",
}
"""Settings that are left to whoever reads the outputs."""
OF_SEVERAL = (
    " That is the probability that all labels are right: the product of p of those that are said, "
    "and 1 - p of the others."
)
EMPTY_PAIR = (
    "",
    'To the pipeline `text_pair=""` is no second text at all. Where the second text of a pair is '
    'empty, say `text_pair=" "`, or ask the tokenizer for `tokenizer([first], [second])`: both '
    "keep the separator that the model has seen behind every second text.",
)
"""The library's pipeline takes an empty string for nothing, and leaves out the [SEP] behind it."""


def of_stock(task: Task) -> list[str]:
    """Of `AutoModelForSequenceClassification`."""
    what = "Scores are probabilities." if isinstance(task, Labelled) else _clipped(task)
    row = '{"text": "One text.", "text_pair": "Another."}' if task.is_pair else '"One text."'
    return [
        *_python(
            "from transformers import pipeline",
            "",
            f'ask = pipeline("text-classification", "{FOLDER}", top_k=None, truncation=True)',
            f"ask({row})",
        ),
        what,
        *(EMPTY_PAIR if task.is_pair else ()),
    ]


def of_sentences(task: Task) -> list[str]:
    """Of a `SentenceTransformer` whose last layer is a head."""
    return [
        *_python(
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("{FOLDER}")',
            'model.encode(["One text."])',
        ),
        _outputs(task),
    ]


def of_crossing(task: Task) -> list[str]:
    """Of a `CrossEncoder`."""
    softmax = isinstance(task, Labelled) and not isinstance(task, Multilabel)
    asked = "apply_softmax=True" if softmax else ""
    ask = f'model.predict([("One text.", "Another text.")]{", " + asked if asked else ""})'
    return [
        *_python(
            "from sentence_transformers import CrossEncoder",
            "",
            f'model = CrossEncoder("{FOLDER}")',
            ask,
        ),
        "What comes is probabilities." if softmax else _outputs(task),
    ]


def of_cosine(form: Mapping[str, Any], scale: tuple[float, float]) -> list[str]:
    """Of a `SentenceTransformer` whose vectors' cosine makes a score."""
    low, high = scale
    unit = f"{form['scale']:g} * cosine + {form['offset']:g}"
    unit = f"1 / (1 + exp(-({unit})))" if form["sigmoid"] else unit
    return [
        *_python(
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("{FOLDER}")',
            'first, second = model.encode(["One text.", "Another text."])',
            "model.similarity(first, second)",
        ),
        f"A pair's score is {low:g} + {high - low:g} * ({unit}), clipped to {low:g} to {high:g}.",
    ]


def write_readme(folder: Path, task: Task, usage: list[str], fold: Folded | None = None) -> None:
    """usage: how to load it, and what its outputs are, as lines."""
    lines = [
        f"# {task.name}",
        "",
        "A task of a model that was trained with Trivium, as `trivium export` writes it.",
        "",
        *usage,
        "",
    ]
    if isinstance(task, Labelled):
        lines += ["The labels, in the order of the outputs:", "", *_json(list(task.names))]
    lines += _calibrated(task, fold) if fold is not None else []
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")


def _calibrated(task: Task, fold: Folded) -> list[str]:
    if not isinstance(task, Labelled) or not fold.facts():
        return _own_threshold(task)
    lines = ["## Calibration", ""]
    if fold.in_weights:
        lines += [
            "`trivium calibrate` found this, and the last layer holds it: probabilities are "
            "calibrated as they come, and nothing is to be divided by the temperature again.",
            "",
            *_json(fold.in_weights),
        ]
    if not fold.to_apply:
        return lines + _own_threshold(task)
    lines += [
        "`trivium calibrate` found this, too, and **the library does not apply it**: without it, "
        "answers are not always those of `trivium predict`. It stands in `config.json` as "
        "`trivium.calibrated.to_be_applied`.",
        "",
        *_json(fold.to_apply),
        *(f"- `{name}`: {_left(name, task)}" for name in LEFT if name in fold.to_apply),
        "",
    ]
    return lines


def _left(setting: str, task: Task) -> str:
    several = setting == "abstain" and isinstance(task, Multilabel)
    return LEFT[setting] + (OF_SEVERAL if several else "")


def _own_threshold(task: Task) -> list[str]:
    if not isinstance(task, Multilabel):
        return []
    return [f"A label is part of the answer from a probability of {task.threshold:g} on.", ""]


def _outputs(task: Task) -> str:
    if not isinstance(task, Labelled):
        return _clipped(task)
    function = "sigmoid" if isinstance(task, Multilabel) else "softmax"
    return f"What comes is logits; their {function} is the labels' probabilities."


def _clipped(task: Task) -> str:
    low, high = task.scale
    return f"What comes is the score; clip it to {low:g} to {high:g}."


def _python(*lines: str) -> list[str]:
    return ["```python", *lines, "```", ""]


def _json(values: Any) -> list[str]:
    return ["```json", json.dumps(values, indent=2, ensure_ascii=False), "```", ""]
