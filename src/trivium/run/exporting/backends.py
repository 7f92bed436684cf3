"""A graph for ONNX Runtime or OpenVINO, beside what tells whether it is right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from torch import Tensor

from trivium.answering.reading import PLAIN
from trivium.errors import RecipeError
from trivium.run.exporting import extras, losses, parity
from trivium.run.exporting.answers import Exported, computes_bf16, inputs_of, opened_graph
from trivium.run.exporting.beside import write_example
from trivium.run.exporting.graph import Graph, Names, names_of
from trivium.run.exporting.onnx_file import write_onnx
from trivium.run.exporting.opened import Opened, calibration, facts, forms_of
from trivium.run.exporting.openvino_file import save_openvino
from trivium.run.exporting.smaller import (
    Smaller,
    onnx_dynamic,
    openvino_smooth,
    openvino_weights,
)
from trivium.run.folder.atomic import write_text
from trivium.run.folder.names import ONNX, OPENVINO, PARITY
from trivium.run.predictor.graph import HINTS, GraphFacts
from trivium.run.predictor.scoring import in_parts
from trivium.run.predictor.torch import pack
from trivium.run.screen.console import say
from trivium.run.screen.progress import rows_bar

Precision = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a graph shall be."""

    backend: Literal["onnx", "openvino"]
    precision: Precision
    max_loss: float
    """Of a task's main score on dev, where the precision is not fp32."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found about a graph."""

    differences: list[parity.Difference]
    lost: list[losses.Loss] = field(default_factory=list)
    how: str = "fp32"
    """The way to fewer bits."""

    def facts(self) -> dict[str, Any]:
        return {
            "parity": parity.as_facts(self.differences),
            "losses": losses.as_facts(self.lost),
            "versions": extras.versions(),
        }


def write_graph(opened: Opened, wanted: Wanted, folder: Path, console: Console) -> dict[str, Any]:
    """Write a graph into an empty folder, with its tokenizer; what its `trivium.json` shall say.

    Raises RecipeError where it says something else than the model, or has lost too much.
    """
    if wanted.precision != "fp32":
        _refuse_unmeasured(opened, wanted)
    making = _Making(opened, wanted, names_of(opened.tasks), folder, console)
    making.write_fp32()
    checked = making.check()
    opened.loaded.tokenizer.save(folder)
    write_text(folder / PARITY, json.dumps(checked.facts(), indent=2) + "\n")
    write_example(wanted.backend, folder)
    return facts(opened) | {
        "backend": wanted.backend,
        "model": making.path.name,
        "precision": wanted.precision,
        "how": checked.how,
        **({"hint": HINTS[wanted.precision]} if wanted.backend == "openvino" else {}),
        "inputs": list(making.names.inputs),
        "outputs": dict(making.names.outputs),
        "embedding": making.names.embedding,
    }


def _refuse_unmeasured(opened: Opened, wanted: Wanted) -> None:
    """Fewer bits need dev rows, by which to tell what they cost."""
    for name in opened.tasks:
        if name not in opened.dev:
            raise RecipeError(
                f"export: {wanted.precision} changes answers, and what it costs is measured on "
                f"labelled dev rows; those of task {name!r} are not there. Export a run whose "
                "recipe names `dev` files that can be read, or leave the precision at fp32."
            )
    if wanted.precision == "bf16" and not computes_bf16():
        raise RecipeError(
            "export: this CPU does not compute in bf16, so what it costs cannot be measured here."
        )


@dataclass(frozen=True, slots=True)
class _Making:
    """A graph on its way."""

    opened: Opened
    wanted: Wanted
    names: Names
    folder: Path
    console: Console

    @property
    def path(self) -> Path:
        return self.folder / (ONNX if self.wanted.backend == "onnx" else OPENVINO)

    def graph(self, path: Path, precision: Precision = "fp32") -> Exported:
        """As whoever loads the folder will have it."""
        one, names = self.opened, self.names
        outputs = {**names.outputs, PLAIN: names.embedding}
        told = GraphFacts(
            path, one.loaded.tokenizer.folder, forms_of(one), one.limit, outputs, precision
        )
        return Exported(opened_graph(self.wanted.backend, told), one.tasks, names)

    def write_fp32(self) -> None:
        one, onnx_path = self.opened, self.folder / ONNX
        say(self.console, f"export: writing the graph for {self.wanted.backend}")
        write_onnx(Graph(one.loaded.model, one.tasks), self.names, one.limit, onnx_path)
        if self.wanted.backend == "openvino":
            openvino = extras.openvino()
            model = openvino.convert_model(onnx_path)
            save_openvino(model, self.path)
            del model  # which may hold the file
            for left in self.folder.glob(f"{ONNX}*"):
                left.unlink()

    def check(self) -> Checked:
        """The graph in fp32 beside the model; then in fewer bits, if so wanted."""
        one = self.opened
        rows = {
            name: [example.texts for example in one.dev[name].examples]
            if name in one.dev
            else parity.made_up(task, one.model.tokenizer, one.limit)
            for name, task in one.tasks.items()
        }
        told = {name: "dev" if name in one.dev else "texts made up" for name in rows}
        count = sum(map(len, rows.values()))
        say(self.console, f"export: comparing its answers to {count:,} rows with the model's")
        with rows_bar(self.console) as bar:
            on_progress = partial(bar.advance, bar.add_task("comparing", total=2 * count))
            ours = in_parts(one.model, rows, on_progress)
            graph = self.graph(self.path)
            differences = parity.on_rows(graph, rows, ours, told, on_progress)
        differences += parity.on_shapes(one.model, graph)
        parity.print_differences(differences, self.console)
        parity.refuse_different(differences)
        if self.wanted.precision == "fp32":
            return Checked(differences)
        fewer = self.in_bf16 if self.wanted.precision == "bf16" else self.in_int8
        return Checked(differences, *fewer(ours))

    def in_bf16(self, ours: Mapping[str, Tensor]) -> tuple[list[losses.Loss], str]:
        """What the same graph loses when it is computed so. Raises RecipeError."""
        found = self.measured(self.path, ours, "in bf16")
        losses.refuse_lossy(found, self.wanted.max_loss)
        return found, "bf16"

    def in_int8(self, ours: Mapping[str, Tensor]) -> tuple[list[losses.Loss], str]:
        """Put the first graph that does not lose too much in the place of this one. Raises
        RecipeError."""
        home = self.folder / "int8"
        found: list[losses.Loss] = []
        for how, smaller in self.ways().items():
            home.mkdir()
            smaller(self.path, home / self.path.name)
            found = self.measured(home / self.path.name, ours, f"in int8 ({how})")
            enough = losses.too_much(found, self.wanted.max_loss) is None
            for made in home.iterdir():
                made.replace(self.folder / made.name) if enough else made.unlink()
            home.rmdir()
            if enough:
                return found, how
        losses.refuse_lossy(found, self.wanted.max_loss)
        raise AssertionError("what was not enough is refused")

    def measured(self, path: Path, ours: Mapping[str, Tensor], how: str) -> list[losses.Loss]:
        say(self.console, f"export: {how}: measuring what that costs on dev")
        found = losses.losses(self.graph(path, self.wanted.precision), ours, self.opened.dev)
        losses.print_losses(found, how, self.console)
        return found

    def ways(self) -> dict[str, Smaller]:
        """To fewer bits, the one that makes the fastest graph first."""
        if self.wanted.backend == "onnx":
            return {"dynamic": onnx_dynamic}
        reader, pad = self.opened.model.readers[0], self.opened.loaded.tokenizer.pad
        texts = [
            inputs_of(pack(reading, np.arange(len(reading.length_U))), pad, self.names)
            for name, rows in calibration(self.opened).items()
            for row in rows
            for reading in reader.read({name: [row]})
        ]
        smooth = {"smoothquant": openvino_smooth(texts)} if texts else {}
        return smooth | {"weights": openvino_weights}
