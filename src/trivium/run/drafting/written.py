"""A draft as the text of a recipe, with a few words beside its settings."""

from collections.abc import Sequence
from typing import Any

from trivium.recipe.plain_yaml import parse_yaml, write_inline, write_yaml
from trivium.run.drafting.draft import Draft

_HEAD = (
    "# Drafted by `trivium init`: what it assumed is worth a look. `trivium check` says what\n"
    "# training would do, `trivium train` does it.\n"
)
_COLUMN = 36
_RATES = {"minilm": 1e-4}
"""Of encoders for which another rate than the usual was measured to be better: docs/defaults.md."""


def recipe_values(encoder: str, data: str, tasks: Sequence[Draft]) -> dict[str, Any]:
    """What the text of `recipe_text` means."""
    return {
        "encoder": encoder,
        "data": data,
        "tasks": {draft.name: draft.values for draft in tasks},
        "stages": [_stage(encoder)],
    }


def _stage(encoder: str) -> dict[str, Any]:
    rate = _RATES.get(encoder)
    return {"name": "train"} | ({} if rate is None else {"lr": {"encoder": rate}})


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
    stage = _stage(encoder)
    lines += [
        "stages:\n",
        _line("- name", stage["name"], "all else as Trivium chooses it", indent=2),
    ]
    if "lr" in stage:
        lines.append(_line("lr", stage["lr"], "measured for minilm; else 5e-5", indent=4))
    text = _HEAD + "".join(lines)
    values = beside | recipe_values(encoder, data, tasks)
    return text if parse_yaml(text) == values else _HEAD + write_yaml(values)


def _line(key: str, value: Any, note: str, indent: int = 0) -> str:
    said = f"{'':{indent}}{key}: {write_inline(value)}"
    return f"{said:<{_COLUMN}} # {note}\n" if note else f"{said}\n"
