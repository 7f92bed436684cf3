"""`trivium export`: a run's model for ONNX Runtime, OpenVINO and other libraries."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.run.exporting.backends import Precision, Wanted, write_graph
from trivium.run.exporting.folded import CALIBRATED, TO_APPLY
from trivium.run.exporting.layers import CannotBeSaidError
from trivium.run.exporting.opened import Opened, facts, open_run
from trivium.run.exporting.sentences import write_sentences
from trivium.run.exporting.stock import write_stock
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.locks import alone
from trivium.run.folder.names import MANIFEST
from trivium.run.folder.sealed import read_sealed, seal
from trivium.run.folder.start import refuse_taken
from trivium.run.screen.console import heard_on, note, say

GRAPHS: tuple[Literal["onnx"], Literal["openvino"]] = ("onnx", "openvino")
LIBRARIES: Mapping[str, Callable[[Opened, Task, Path], dict[str, Any]]] = {
    "sentence-transformers": write_sentences,
    "transformers": write_stock,
}
MAX_LOSS = 0.01
"""What fewer bits may cost a task of its main score, unless somebody says."""
FORMS = (*GRAPHS, *LIBRARIES)


def export(
    run: str | Path,
    out: str | Path,
    *,
    to: str = "onnx",
    precision: str = "fp32",
    max_loss: float | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Write a run's model for another engine or library into a folder; what its `trivium.json`
    says.

    to: `onnx` or `openvino`, one graph with an output per task; `transformers` or
    `sentence-transformers`, a folder per task. precision: of a graph fp32 or int8, for OpenVINO
    also bf16; fewer bits may cost a task `max_loss` of its main score on dev, 0.01 where nothing is
    said. A graph that says
    something else than the model, by more than 1e-5, is refused. Raises RecipeError, and then
    leaves nothing.

        written = trivium.export("runs/first", "desk-onnx")
        written["outputs"]
    """
    console = heard_on(console)
    folder, place = Path(run), Path(os.path.abspath(out))
    wanted = _wanted(to, precision, max_loss)
    with alone(place):
        refuse_taken(place, [folder], "export", _found, overwrite=overwrite)
        opened = open_run(folder)
        with whole_folder(place) as fresh:
            if wanted is not None:
                values = write_graph(opened, wanted, fresh, console)
            else:
                values = _write_tasks(opened, to, fresh, console)
            seal(fresh, MANIFEST, values, "**/*")
    return values


def _wanted(to: str, precision: str, max_loss: float | None) -> Wanted | None:
    """None where folders for a library are wanted. Raises RecipeError."""
    if to not in FORMS:
        raise RecipeError(f"export: {to!r} is none of {', '.join(FORMS)} (--to).")
    allowed: tuple[Precision, ...] = ("fp32", "int8")
    allowed = {"onnx": allowed, "openvino": (*allowed, "bf16")}.get(to, ("fp32",))
    for one in allowed:
        if precision == one:
            if max_loss is not None and not max_loss >= 0:
                raise RecipeError(f"export: max_loss is {max_loss:g}; it must be 0 or more.")
            if max_loss is not None and one == "fp32":
                raise RecipeError(
                    "export: max_loss is about fewer bits, and fp32 loses nothing; leave it out, "
                    "or ask for another --precision."
                )
            backend = next((graph for graph in GRAPHS if graph == to), None)
            return (
                None
                if backend is None
                else Wanted(backend, one, MAX_LOSS if max_loss is None else max_loss)
            )
    raise RecipeError(f"export: precision {precision!r}: --to {to} has {' or '.join(allowed)}.")


def _found(place: Path) -> set[str] | None:
    """What an export's folder consists of; None where there is none in it."""
    if not (place / MANIFEST).is_file():
        return None
    found = read_sealed(place / MANIFEST)
    if "backend" not in found:
        return None
    return {MANIFEST, *(name.partition("/")[0] for name in found["files"])}


def _write_tasks(opened: Opened, to: str, fresh: Path, console: Console) -> dict[str, Any]:
    """A folder per task that can be said so. Raises RecipeError where none can."""
    written, refused = {}, {}
    for name, task in opened.tasks.items():
        try:
            written[name] = LIBRARIES[to](opened, task, fresh / name)
        except CannotBeSaidError as error:
            refused[name] = str(error)
    lines = [f"{name}: {why}" for name, why in refused.items()]
    if not written:
        raise RecipeError("\n".join([f"export: no task can be written for {to}:", *lines]))
    for line in lines:
        say(console, f"left out: {line}")
    left = {n: told.get(CALIBRATED, {}).get(TO_APPLY, {}) for n, told in written.items()}
    if of := [f"{name} ({', '.join(settings)})" for name, settings in left.items() if settings]:
        note(
            console,
            f"{', '.join(of)}: found by trivium calibrate, and nothing of {to} applies it. Each "
            "task's README.md says what is left to you, its config.json has the numbers. The "
            "example.py beside a graph (--to onnx) applies everything.",
        )
    return facts(opened) | {"backend": to, "folders": written, "left_out": refused}
