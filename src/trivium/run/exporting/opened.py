"""The run that is exported: its model, a copy to be changed, and its dev rows if they are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import trivium
from trivium.answering.form import Form
from trivium.errors import RecipeError
from trivium.model.lora import merge_lora
from trivium.parts.tasks import Task
from trivium.run.folder.model import LoadedModel, find_model, load_model, settings_of
from trivium.run.folder.names import RECIPE
from trivium.run.folder.start import run_recipe
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_single
from trivium.run.rows.load import load_data
from trivium.run.rows.sample import sample
from trivium.run.rows.splits import Split

FORMAT = 1
CALIBRATION = 300
"""Training rows by which ranges of activations are found, of all tasks together."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A run about to be exported."""

    run: Path
    model: TorchPredictor
    """What it is compared with, in fp32 on the CPU."""
    loaded: LoadedModel
    """The same once more, with LoRA merged: what is taken elsewhere."""
    dev: Mapping[str, Split]
    """The dev rows of the tasks for which they are there."""

    @property
    def tasks(self) -> dict[str, Task]:
        """Those that have answers."""
        return {name: t for name, t in self.loaded.tasks.items() if t.answers_questions}

    @property
    def limit(self) -> int:
        return self.model.limit


def open_run(run: Path) -> Opened:
    """Raises RecipeError for what is no single trained model."""
    model = load_single(run, precision="fp32", device="cpu")
    loaded = load_model(find_model(run))
    loaded.model.eval()
    merge_lora(loaded.model.encoder)
    return Opened(run, model, loaded, _rows(run, model.tasks, "dev"))


def calibration(opened: Opened) -> dict[str, list[tuple[str, ...]]]:
    """Some texts of training rows by task; none where they are not there."""
    found = _rows(opened.run, opened.tasks, "train")
    each = -(-CALIBRATION // max(1, len(found)))
    return {
        name: [example.texts for example in sample(rows.examples, each)]
        for name, rows in found.items()
    }


def facts(opened: Opened) -> dict[str, Any]:
    """What an export's `trivium.json` says of the model."""
    tokenizer = opened.loaded.tokenizer
    return {
        "format": FORMAT,
        "trivium": trivium.__version__,
        "torch": torch.__version__,
        "limit": opened.limit,
        "special": {"cls": tokenizer.cls, "sep": tokenizer.sep, "pad": tokenizer.pad},
        "tasks": settings_of(opened.tasks),
        "forms": {name: form.model_dump(mode="json") for name, form in forms_of(opened).items()},
    }


def forms_of(opened: Opened) -> dict[str, Form]:
    """Its tasks, to whoever asks the graph, in which sides are no reason to read texts apart."""
    return {name: task.form(opened.limit) for name, task in opened.tasks.items()}


def _rows(run: Path, tasks: Mapping[str, Task], split: str) -> dict[str, Split]:
    """The labelled rows of a run's own files, as far as these can be read still."""
    if not (run / RECIPE).is_file():
        return {}
    recipe = run_recipe(run)
    found = {}
    for name, task in recipe.tasks.items():
        files: Sequence[Any] = task.sources(split)
        there = files and all(
            one.hub is not None or (Path(recipe.data) / one.file).is_file() for one in files
        )
        if name not in tasks or not task.answers_questions or not there:
            continue
        try:
            _, data = load_data(recipe.model_copy(update={"tasks": {name: task}}), (split,))
        except RecipeError:  # changed since: then they say nothing of this model
            continue
        found[name] = data[name][split]
    return found
