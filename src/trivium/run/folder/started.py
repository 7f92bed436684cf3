"""Runs that begin where another one ended: its model is checked, and put in place of the start."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.encoder import EncoderConfig
from trivium.model.multitask import MultiTaskModel
from trivium.model.ownership import is_adapter_parameter
from trivium.parts.adapters import AdapterPart
from trivium.parts.regularizers import SEED
from trivium.parts.tasks import Task
from trivium.parts.tasks.base import FORM
from trivium.parts.tasks.cells import in_order
from trivium.recipe import Recipe, load_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.decisions import seal_as_trained
from trivium.run.folder.model import find_model, load_model
from trivium.run.folder.names import RECIPE, SCORES
from trivium.run.folder.provenance import StartingPoint
from trivium.run.rows.load import load_data
from trivium.text.tokenizer import Tokenizer

_SHAPE = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
)  # fmt: skip
"""What two encoders must have in common for weights of one to mean the same in the other."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a model took from the run that it starts from."""

    folder: Path
    """The run's model; or the file of the recipe whose run it is to be."""
    digest: str | None
    """sha256 of the manifest, which holds those of the model's files; None of a recipe's."""
    taken: tuple[str, ...]
    """In words."""
    fresh: tuple[str, ...]
    """Tasks whose heads the run has not, or has otherwise."""

    @property
    def point(self) -> StartingPoint | None:
        """For the run's own records."""
        if self.digest is None:
            return None
        return StartingPoint(model=str(self.folder), sha256=self.digest)

    @property
    def line(self) -> str:
        """For people."""
        whose = f"{self.folder} (sha256 {self.digest[:12]}…)" if self.digest else ""
        whose = whose or f"a run of {self.folder}, which is to be trained first"
        fresh = f"; drawn anew: the heads of {', '.join(self.fresh)}" if self.fresh else ""
        return f"starts from {whose}: {', '.join(self.taken)}{fresh}"


@dataclass(frozen=True, slots=True)
class _Source:
    folder: Path
    digest: str | None
    model: MultiTaskModel
    tasks: Mapping[str, Task]
    adapters: tuple[AdapterPart, ...]
    tokenizer: Tokenizer


def is_recipe(start: str) -> bool:
    """Whether a recipe starts from what another recipe's file will make."""
    return Path(start).suffix in (".yaml", ".yml")


def begin(
    recipe: Recipe, model: MultiTaskModel, tokenizer: Tokenizer, *, planned: bool = False
) -> Started | None:
    """Put the weights of the run that `recipe.start` names into a fresh model, in place.

    planned: whether the file of a recipe may be named, whose run is not there yet; its model then
    only has to fit. None where the recipe starts from its encoder's checkpoint. Raises RecipeError
    where there is no finished run, or where its model does not fit.
    """
    if recipe.start is None:
        return None
    start = recipe.start.replace(SEED, str(recipe.seed))
    if is_recipe(start) and not planned:
        raise RecipeError(
            f"start: {start} is a recipe, not a run. Train it first (trivium train "
            f"{shlex.quote(start)} --out RUN) and say --set start=RUN; "
            "`trivium study` of both recipes does so by itself."
        )
    source = _recipe_source(start) if is_recipe(start) else _run_source(Path(start))
    _refuse_misfit(recipe, model, source)
    _refuse_other_words(recipe, tokenizer, source)
    return _take(recipe, model, source)


def _run_source(run: Path) -> _Source:
    if not run.is_dir():
        raise RecipeError(
            f"start: {run}: no such folder. Train that run first, or name the folder of another."
        )
    if (run / RECIPE).is_file() and not (run / SCORES).is_file():
        raise RecipeError(
            f"start: {run}: this run is not finished. Go on with it first: "
            f"trivium train RECIPE --out {shlex.quote(str(run))} --resume"
        )
    try:
        folder = find_model(run)
        loaded = load_model(folder)
    except RecipeError as error:
        raise RecipeError(f"start: {error}") from error
    digest = seal_as_trained(folder)
    return _Source(folder, digest, loaded.model, loaded.tasks, loaded.adapters, loaded.tokenizer)


def _recipe_source(file: str) -> _Source:
    recipe, _ = load_data(load_recipe(file))  # labels that are found in rows shape heads
    model, tokenizer = build(recipe)
    return _Source(Path(file), None, model, recipe.tasks, recipe.adapters, tokenizer)


@torch.no_grad()
def _take(recipe: Recipe, model: MultiTaskModel, source: _Source) -> Started:
    taken = [
        "the encoder" if source.model.encoder.pooler is None else "the encoder with its pooler"
    ]
    if model.encoder.pooler is None:
        taken = ["the encoder"]
    elif source.model.encoder.pooler is not None:
        model.encoder.pooler_is_fresh = False
    ours, theirs = model.encoder.state_dict(), source.model.encoder.state_dict()
    for name, tensor in theirs.items():
        if name in ours:
            ours[name].copy_(tensor)
    if any(is_adapter_parameter(name) for name in theirs):
        taken.append(f"its {', '.join(part.kind for part in source.adapters)}")
    fresh = []
    heads = []
    for name, task in recipe.tasks.items():
        other = source.tasks.get(name)
        fits = other is not None and _form(other) == _form(task)
        if fits and _copy(model.heads[name], source.model.heads[name]):
            heads.append(name)
        else:
            fresh.append(name)
    both = set(model.trunks.keys()) & set(source.model.trunks.keys())
    trunks = [name for name in sorted(both) if _copy(model.trunks[name], source.model.trunks[name])]
    taken += [f"the heads of {', '.join(heads)}"] if heads else []
    taken += [f"the trunks {', '.join(trunks)}"] if trunks else []
    return Started(source.folder, source.digest, tuple(taken), tuple(fresh))


def _refuse_misfit(recipe: Recipe, model: MultiTaskModel, source: _Source) -> None:
    """RecipeError where the run's encoder, with what adapters added, is another function's."""
    where = f"start: {source.folder}"
    ours, theirs = _shape(model.encoder.config), _shape(source.model.encoder.config)
    for name, value in theirs.items():
        if value != ours[name]:
            raise RecipeError(
                f"{where}: its encoder has {name} {value}, but that of this recipe "
                f"({recipe.encoder}) has {ours[name]}. Name the same `encoder`, or another run."
            )
    for part in source.adapters:
        own = next((one for one in recipe.adapters if one.kind == part.kind), None)
        if own is None or _settings(own) != _settings(part):
            has = "lacks" if own is None else "has with other settings"
            raise RecipeError(
                f"{where}: its encoder was trained with {part.kind}, which this recipe {has}. "
                f"Give it the same `adapters`, or name a run without {part.kind}."
            )


def _refuse_other_words(recipe: Recipe, tokenizer: Tokenizer, source: _Source) -> None:
    """RecipeError where the run's encoder has learned other word pieces: of the same shape or not,
    its weights would be read as those of other words."""
    if source.tokenizer.digest != tokenizer.digest:
        raise RecipeError(
            f"start: {source.folder}: its encoder reads texts in other word pieces (its "
            f"tokenizer's sha256 is {source.tokenizer.digest[:12]}…) than that of this recipe "
            f"({recipe.encoder}, {tokenizer.digest[:12]}…), so its weights are of other words. "
            "Name the same `encoder`, or another run."
        )


def _copy(ours: nn.Module, theirs: nn.Module) -> bool:
    """Put one module's tensors into another, if all of them fit; whether they do."""
    mine, other = ours.state_dict(), theirs.state_dict()
    if _shapes(mine) != _shapes(other):
        return False
    for name, tensor in other.items():
        mine[name].copy_(tensor)
    return True


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _shape(config: EncoderConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _SHAPE}


def _settings(part: AdapterPart) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude={"start"})


def _form(task: Task) -> list[Any]:
    """What makes a head of one task a head of another: what it is, reads and answers."""
    asks = [getattr(task, name, None) for name in FORM]
    asks = [in_order(one) if isinstance(one, dict) else one for one in asks]
    return [task.resolved_head if task.answers_questions else None, task.sequences, *asks]
