"""What a run asks of a cluster: cores, memory, GPUs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trivium.errors import RecipeError
from trivium.recipe import Recipe
from trivium.run.assembly.model import build
from trivium.run.cluster.asked import OnRay
from trivium.run.folder.started import begin
from trivium.run.rows.encoded import encode_all
from trivium.run.rows.load import load_data
from trivium.run.teachers.find import find_lessons
from trivium.run.training.memory import LIBRARIES
from trivium.run.training.preview import Preview

LEAST = LIBRARIES
"""Bytes asked for where nothing is known."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one run."""

    cpus: int
    memory: int
    """Bytes."""
    gpus: float

    def fits(self, node: Mapping[str, float]) -> bool:
        """node: all that a machine has, as Ray says it."""
        return (
            self.cpus <= node.get("CPU", 0)
            and self.memory <= node.get("memory", 0)
            and self.gpus <= node.get("GPU", 0)
        )

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus} cores, {self.memory / 10**9:.1f} GB{gpus}"


def gpus_of(recipe: Recipe, asked: OnRay, has_gpus: bool) -> float:
    """has_gpus: whether the cluster has any. Raises RecipeError for a GPU by its number."""
    if recipe.device.startswith("cuda:"):
        raise RecipeError(
            f"device: {recipe.device}: which GPU a run has is for Ray to say; say cuda, or auto."
        )
    if recipe.device == "cpu":
        return 0.0
    if asked.gpus is not None:
        return asked.gpus
    return 1.0 if has_gpus or recipe.device == "cuda" else 0.0


def memory_of(recipe: Recipe) -> int:
    """Bytes that the run will hold in its hungriest stage, as its preview says.

    Reads the data and builds the model. What is wrong with them is for the run to tell: of such a
    one, the least.
    """
    try:
        loaded, data = load_data(recipe)
        lessons = find_lessons(loaded, data)
        model, tokenizer = build(loaded)
        started = begin(loaded, model, tokenizer, planned=True)
    except (RecipeError, OSError):
        return LEAST
    encoded = encode_all(loaded, data, tokenizer, model.encoder.config.max_position_embeddings)
    preview = Preview(loaded, data, encoded, model, lessons, started)
    return max(LEAST, *(preview.memory(stage).total() for stage in loaded.stages))


def most_alike(nodes: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    """The node with most memory; nothing where there is no node."""
    return max(nodes, key=lambda node: node.get("memory", 0.0), default={})
