"""A tokenizer for other libraries, which take the longest length from it."""

import json
from pathlib import Path
from typing import Any

from trivium.parts.tasks import Task
from trivium.run.exporting.opened import Opened

SETTINGS = "tokenizer_config.json"


def save_tokenizer(opened: Opened, task: Task, folder: Path) -> None:
    """Write the tokenizer into a task's folder, with the length to which it cuts."""
    opened.loaded.tokenizer.save(folder)
    path = folder / SETTINGS
    values: dict[str, Any] = {"tokenizer_class": "BertTokenizer"}
    if path.is_file():
        values |= json.loads(path.read_text(encoding="utf-8"))
    values["model_max_length"] = task.max_length or opened.limit
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
