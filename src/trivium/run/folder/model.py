"""The model folder that people share: saved, found, loaded, copied.

Nothing is pickled: tensors in safetensors, the rest in JSON; every folder is sealed
(`folder.sealed`).
"""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

import trivium
from trivium.errors import RecipeError, is_of_the_disk
from trivium.jsons import first_problem, shown
from trivium.model.encoder import Encoder
from trivium.model.lora import adapter_state, load_adapter_state
from trivium.model.multitask import MultiTaskModel
from trivium.model.ownership import TRUNK, is_adapter_parameter
from trivium.model.pretrained import load_encoder, save_encoder, weightless
from trivium.model.weights import check_tensors, read_tensors, write_tensors
from trivium.parts.adapters import AdapterPart, AnyAdapter
from trivium.parts.tasks import AnyTask, Task
from trivium.run.assembly.assembled import assemble, refuse_misfit
from trivium.run.folder.atomic import in_place_of
from trivium.run.folder.names import (
    ADAPTERS,
    CARD,
    ENSEMBLE,
    HEADS,
    MANIFEST,
    MEMBERS,
    MODEL,
    RECIPE,
)
from trivium.run.folder.sealed import Unsealed, read_sealed, seal, unseal
from trivium.text.tokenizer import Tokenizer

FORMAT = 2
"""2 brought adapters and trunks; 1 is read as a model without them."""
_WEIGHTS = ("config.json", "model.safetensors", HEADS)

_TASKS: TypeAdapter[dict[str, AnyTask]] = TypeAdapter(dict[str, AnyTask])
_ADAPTERS: TypeAdapter[tuple[AnyAdapter, ...]] = TypeAdapter(tuple[AnyAdapter, ...])
_PLACES = {"train", "dev", "test"}


# --- the model folder --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model folder in memory, on the CPU."""

    model: MultiTaskModel
    tasks: Mapping[str, Task]
    tokenizer: Tokenizer
    precision: str
    """The precision it was trained in, fp32 or bf16."""
    adapters: tuple[AdapterPart, ...] = ()

    @property
    def freezes_base(self) -> bool:
        return any(adapter.freezes_base for adapter in self.adapters)


def save_model(
    model: MultiTaskModel,
    tasks: Mapping[str, Task],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    precision: str,
    adapters: Sequence[AdapterPart] = (),
) -> None:
    """Replace the model folder, all or nothing; a card that is there stays."""
    facts = {
        "format": FORMAT,
        "trivium": trivium.__version__,
        "torch": torch.__version__,
        "precision": precision,
        "adapters": [part.model_dump(mode="json", exclude={"start"}) for part in adapters],
        "tasks": settings_of(tasks),
    }
    with in_place_of(folder) as fresh:
        save_encoder(model.encoder, fresh)
        tokenizer.save(fresh)
        write_tensors(_head_state(model), fresh / HEADS)
        if adapters:
            write_tensors(adapter_state(model.encoder), fresh / ADAPTERS)
        seal(fresh, MANIFEST, facts)
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, fresh / CARD)


def settings_of(tasks: Mapping[str, Task]) -> dict[str, Any]:
    """All that is set of each task, but for where its rows are."""
    return {name: task.model_dump(mode="json", exclude=_PLACES) for name, task in tasks.items()}


def find_model(run: Path) -> Path:
    """The model folder of a run directory, or the folder itself. Raises RecipeError."""
    if (run / ENSEMBLE).is_file():
        raise RecipeError(
            f"{run}: is an ensemble of several models, but this needs a single one. "
            f"Name one of the runs it was made of, or a folder of {run / MEMBERS}."
        )
    for folder in (run / MODEL, run):
        if (folder / MANIFEST).is_file():
            return folder
    if (run / RECIPE).is_file():
        raise RecipeError(
            f"{run}: this run has no model yet. Go on with: "
            f"trivium train RECIPE --out {shlex.quote(str(run))} --resume"
        )
    what = f"holds no trained model (no {MANIFEST})" if run.is_dir() else "no such folder"
    raise RecipeError(f"{run}: {what}. Name a run's folder or its model folder.")


def load_model(folder: Path, unsealed: Unsealed | None = None) -> LoadedModel:
    """A trained model, refused if a tensor or file is missing, unexpected or altered.

    unsealed: of this folder, where that was begun.
    """
    facts = unsealed() if unsealed is not None else unseal(folder, MANIFEST)
    if "backend" in facts:
        raise RecipeError(
            f"{folder}: was exported for {facts['backend']} and holds no model for torch. "
            "Name the run that it was made of."
        )
    if unnamed := [name for name in _WEIGHTS if name not in facts["files"]]:
        raise RecipeError(f"{folder}: {MANIFEST} has no sha256 of {unnamed[0]}; it was altered.")
    tasks, adapters = _parts(folder, facts)
    encoder, tokenizer = load_encoder(folder), Tokenizer(folder)
    refuse_misfit(tokenizer, encoder, folder)
    with weightless(folder):  # what tasks and adapters claim takes memory once their files have it
        shape = assemble(Encoder(encoder.config), tasks, adapters)
    added = _read_added(shape, folder)
    model = assemble(encoder, tasks, adapters)
    _put_added(model, added)
    return LoadedModel(model, tasks, tokenizer, facts["precision"], adapters)


def saved_tasks(folder: Path) -> Mapping[str, Task]:
    """The tasks of a model folder, without a look at its tensors. Raises RecipeError."""
    return _parts(folder, read_sealed(folder / MANIFEST))[0]


def copy_model(source: Path, target: Path) -> None:
    """Copy a model folder's own files, and no others. Raises RecipeError."""
    target.mkdir(parents=True)
    for name in (*read_sealed(source / MANIFEST)["files"], MANIFEST):
        try:
            shutil.copyfile(source / name, target / name)
        except OSError as error:
            if is_of_the_disk(error):
                raise
            raise RecipeError(f"{source / name}: cannot be copied: {error.strerror}.") from error


def _parts(
    folder: Path, facts: dict[str, Any]
) -> tuple[dict[str, AnyTask], tuple[AdapterPart, ...]]:
    """What a `trivium.json` says of tasks and adapters."""
    if facts.get("format") not in (1, FORMAT):
        raise RecipeError(
            f"{folder}: its format is {shown(facts.get('format'))}, this version reads 1 to "
            f"{FORMAT}. It was written by trivium {shown(facts.get('trivium'))}."
        )
    if facts.get("precision") not in ("fp32", "bf16"):
        raise RecipeError(
            f"{folder}: {MANIFEST}: precision: {shown(facts.get('precision'))} is neither fp32 nor "
            "bf16."
        )
    try:
        tasks = _TASKS.validate_python(facts.get("tasks"))
        return tasks, _ADAPTERS.validate_python(facts.get("adapters", []))
    except ValidationError as error:
        raise RecipeError(
            f"{folder}: {MANIFEST}: tasks cannot be read: {first_problem(error)}"
        ) from error


def load_weights_into(model: MultiTaskModel, folder: Path) -> None:
    """Put a saved model's weights into a model of the same build, in place."""
    saved = load_encoder(folder).state_dict()
    missing, unexpected = model.encoder.load_state_dict(saved, strict=False)
    assert not unexpected
    assert all(is_adapter_parameter(name) for name in missing)
    _put_added(model, _read_added(model, folder))


def _read_added(model: MultiTaskModel, folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of heads and trunks, and those of adapters, as the model has them."""
    heads, adapters = read_tensors(folder / HEADS), dict[str, Tensor]()
    check_tensors(heads, _head_state(model), f"{folder}/{HEADS}")
    if wanted := adapter_state(model.encoder):
        adapters = read_tensors(folder / ADAPTERS)
        check_tensors(adapters, wanted, f"{folder}/{ADAPTERS}")
    return heads, adapters


def _put_added(
    model: MultiTaskModel, added: tuple[Mapping[str, Tensor], dict[str, Tensor]]
) -> None:
    heads, adapters = added
    trunks = {k.removeprefix(TRUNK): t for k, t in heads.items() if k.startswith(TRUNK)}
    model.trunks.load_state_dict(trunks)
    model.heads.load_state_dict({k: t for k, t in heads.items() if not k.startswith(TRUNK)})
    if adapters:
        load_adapter_state(model.encoder, adapters)


def _head_state(model: MultiTaskModel) -> dict[str, Tensor]:
    trunks = {f"{TRUNK}{name}": tensor for name, tensor in model.trunks.state_dict().items()}
    return model.heads.state_dict() | trunks
