"""A draft as the text of a recipe, with a few words beside its settings."""

from collections.abc import Sequence
from typing import Any

from trivium.recipe.plain_yaml import parse_yaml, write_inline, write_yaml
from trivium.recipe.stage import DEFAULT_EPOCHS
from trivium.run.drafting.draft import Draft

_HEAD = (
    "# Drafted by `trivium init`: what it assumed is worth a look. `trivium check` says what\n"
    "# training would do, `trivium train` does it.\n"
)
_COLUMN = 36
_REST = "all else as Trivium chooses it"
_NOTES = {"epochs": "there are few rows; else 3", "lr": "measured for minilm; else 5e-5"}
_FALLBACK = "kept where nothing trained is as good"
_RATES = {"minilm": 1e-4}
"""Of encoders for which another rate than the usual was measured."""


def recipe_values(encoder: str, data: str, tasks: Sequence[Draft]) -> dict[str, Any]:
    """What the text of `recipe_text` means."""
    return {
        "encoder": encoder,
        "data": data,
        "tasks": {draft.name: draft.values for draft in tasks},
        "stages": [_stage(encoder, tasks)],
        **_fallback(tasks),
    }


def _fallback(tasks: Sequence[Draft]) -> dict[str, Any]:
    """The probe, where some task's head can be one; scores of pairs are a cosine."""
    cosines = (
        draft.values["kind"] == "regression" and isinstance(draft.values["text"], list)
        for draft in tasks
    )
    return {} if all(cosines) else {"fallback": "probe"}


def _stage(encoder: str, tasks: Sequence[Draft]) -> dict[str, Any]:
    """What docs/defaults.md found to be better than what a stage has by itself."""
    values: dict[str, Any] = {"name": "train"}
    if all(draft.is_small for draft in tasks):
        values["epochs"] = 2 * DEFAULT_EPOCHS
    if encoder in _RATES:
        values["lr"] = {"encoder": _RATES[encoder]}
    return values


def recipe_text(encoder: str, data: str, tasks: Sequence[Draft], preset: str | None = None) -> str:
    """YAML; of names that would not be read back as they are, without any words beside them."""
    beside = {} if preset is None else {"preset": preset}
    lines = [
        *(_line(key, value, "or fast, good, best") for key, value in beside.items()),
        _line("encoder", encoder, "or a folder, or a name on the hub such as bert-base-uncased"),
        _line("data", data, "folder of the files, from this one"),
        "tasks:\n",
    ]
    for draft in tasks:
        lines.append(f"  {write_inline(draft.name)}:\n")
        for key, value in draft.values.items():
            lines.append(_line(key, value, draft.notes.get(key, ""), indent=4))
    stage = _stage(encoder, tasks)
    lines += ["stages:\n", _line("- name", stage.pop("name"), _REST, indent=2)]
    lines += [_line(key, value, _NOTES[key], indent=4) for key, value in stage.items()]
    lines += [_line(key, value, _FALLBACK) for key, value in _fallback(tasks).items()]
    text = _HEAD + "".join(lines)
    values = beside | recipe_values(encoder, data, tasks)
    return text if parse_yaml(text) == values else _HEAD + write_yaml(values)


def _line(key: str, value: Any, note: str, indent: int = 0) -> str:
    said = f"{'':{indent}}{key}: {write_inline(value)}"
    return f"{said:<{_COLUMN}} # {note}\n" if note else f"{said}\n"
