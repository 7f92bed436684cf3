"""A new part is a class and a line in its family's union: nothing else asks for it by name."""
# ruff: noqa: ARG002  the families' methods have one signature, whether a member uses all of it or not

import ast
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
import torch
from pydantic import Field
from rich.console import Console
from torch import Tensor

import trivium
from tests.support.sources import sources
from tests.support.tables import make_recipe
from trivium.model.multitask import MultiTaskModel
from trivium.parts.adapters import AnyAdapter
from trivium.parts.combiners import Combiner
from trivium.parts.combiners.base import SummingCombiner
from trivium.parts.facts import StageFacts
from trivium.parts.heads import AnyHead
from trivium.parts.losses import AnyLoss
from trivium.parts.optim import Schedule
from trivium.parts.regularizers import AnyRegularizer, Context, RegularizerPart
from trivium.parts.regularizers.passes import answer
from trivium.parts.samplers import Sampler, SamplerPart
from trivium.parts.trainable import Trainable, TrainablePart
from trivium.recipe import Recipe, Stage
from trivium.run.folder.journal import read_journal
from trivium.run.training import memory
from trivium.types import Step

# --- parts that nobody knows -------------------------------------------------------------------


class Shrink(RegularizerPart):
    """Small outputs, of a second pass that is computed in fp32; with a copy of the weights."""

    kind: Literal["shrink"] = "shrink"
    passes: int = 1
    copies: int = 1

    @property
    def needs_fp32(self) -> bool:
        return True

    @property
    def extra_passes(self) -> int:
        return self.passes

    @property
    def weight_copies(self) -> int:
        return self.copies

    def notes(self, facts: StageFacts) -> Iterator[str]:
        if facts.steps < 100:
            yield f"shrink wants 100 steps, but there are {facts.steps}"

    def penalty(self, context: Context) -> Tensor:
        assert context.model.encoder.precision == torch.float32
        return answer(context, context.x_ND).square().mean()

    def after_step(self, model: MultiTaskModel, step: Step) -> None:
        for name, parameter in model.named_parameters():
            step.memory[f"shrink.{name}"] = parameter.detach().clone()


class Backwards(SamplerPart):
    """A batch of every task, the last first."""

    kind: Literal["backwards"] = "backwards"

    def draw(self, sizes: Sequence[int], step: Step) -> list[int]:
        return list(range(len(sizes)))[::-1]

    def shares(self, sizes: Sequence[int], epoch: int, epochs: int) -> list[float]:
        return [1 / len(sizes)] * len(sizes)

    def tasks_per_draw(self, tasks: int) -> int:
        return tasks

    def describe_step(self, tasks: int, draws: int) -> str:
        return f"{tasks} batches, the last task's first"


class Half(SummingCombiner):
    kind: Literal["half"] = "half"

    def factor(self, task: str, step: Step) -> float:
        return 0.5

    def notes(self, facts: StageFacts) -> Iterator[str]:
        yield f"half halves every loss for {facts.epochs} epochs"


class Vectors(TrainablePart):
    """The embeddings alone."""

    kind: Literal["vectors"] = "vectors"

    def ever_trains(self, name: str, layers: int) -> bool:
        return name.startswith("embeddings.")

    def notes(self, facts: StageFacts) -> Iterator[str]:
        still = [name for name in facts.encoder if not self.ever_trains(name, facts.layers)]
        yield f"vectors leaves {len(still)} tensors as they are"


Kind = Field(discriminator="kind")


class OwnStage(Stage):
    """With the unions as they would be with a line more each."""

    sampler: Annotated[Sampler | Backwards, Kind] = Backwards()  # type: ignore[assignment]
    combiner: Annotated[Combiner | Half, Kind] = Half()  # type: ignore[assignment]
    regularizers: tuple[Annotated[AnyRegularizer | Shrink, Kind], ...] = ()  # type: ignore[assignment]
    trains: Annotated[Trainable | Vectors, Kind] = Vectors()  # type: ignore[assignment]


class OwnRecipe(Recipe):
    stages: tuple[OwnStage, ...] = (OwnStage(),)


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


def own_recipe(values: dict[str, Any], **stage: Any) -> OwnRecipe:
    stages = [values["stages"][0] | {"steps": 3} | stage]
    return OwnRecipe.model_validate(values | {"precision": "bf16", "stages": stages})


# --- what they say of themselves ---------------------------------------------------------------


def test_a_regularizer_that_nobody_knows_is_previewed_and_trained(
    values: dict[str, Any], tmp_path: Path
) -> None:
    said = StringIO()
    console = Console(file=said, width=300)
    shrink = {"kind": "shrink", "tasks": ["mood"], "weight": 2, "passes": 3}
    recipe = own_recipe(values, sampler="joint", combiner="sum", trains="full",
                        regularizers=[shrink])  # fmt: skip
    trivium.train(recipe, tmp_path / "run", console=console)
    assert "note stage train: shrink wants 100 steps, but there are 3" in said.getvalue()
    line = "regularizer shrink (passes 3): mood x 2; their batches are computed in fp32"
    assert line in said.getvalue()
    steps = [each for each in read_journal(tmp_path / "run") if each["event"] == "step"]
    assert [set(step["penalties"]) for step in steps] == [{"mood"}] * 3
    assert all(step["penalties"]["mood"]["shrink"] > 0 for step in steps)


def test_the_estimate_of_memory_counts_what_a_regularizer_says_of_itself(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_now", lambda: 0)  # it grows while the tests go on

    def total(*regularizers: dict[str, Any]) -> tuple[int, int]:
        one = {"sampler": "proportional", "combiner": "sum"}  # a batch at a time, with and without
        recipe = own_recipe(values, batch_size=32, trains="full", regularizers=regularizers, **one)
        shown = trivium.check(recipe, Console(file=StringIO())).memory(recipe.stages[0])
        return shown.total(), 4 * shown.trained

    plain, trained = total()
    alone, _ = total({"kind": "shrink", "passes": 0, "copies": 0})
    assert alone > plain, "in fp32 instead of bf16"
    assert total({"kind": "shrink", "passes": 0, "copies": 2})[0] == alone + 2 * trained
    passes = [total({"kind": "shrink", "passes": n, "copies": 0})[0] for n in (1, 2)]
    assert passes[1] - passes[0] == pytest.approx(passes[0] - alone, abs=1)
    assert passes[0] > alone
    # The loss has all its penalties before backward, so the graphs of all are there together.
    both = total({"kind": "shrink", "passes": 1, "copies": 0}, {"kind": "rdrop"})[0]
    assert both == passes[1]


def test_other_parts_that_nobody_knows_are_previewed_and_trained(
    values: dict[str, Any], tmp_path: Path
) -> None:
    said = StringIO()
    trivium.train(own_recipe(values), tmp_path / "run", console=Console(file=said, width=300))
    assert (
        "a step: 3 batches, the last task's first, sampler backwards, combiner half"
        in said.getvalue()
    )
    assert "note stage train: half halves every loss for 1 epochs" in said.getvalue()
    assert "note stage train: vectors leaves 34 tensors as they are" in said.getvalue()
    steps = [each for each in read_journal(tmp_path / "run") if each["event"] == "step"]
    assert list(steps[0]["losses"]) == ["near", "same", "mood"]
    assert steps[0]["factors"] == {"near": 0.5, "same": 0.5, "mood": 0.5}


# --- nobody asks for a part by name ------------------------------------------------------------

FAMILIES: list[Any] = [
    AnyAdapter, AnyHead, AnyLoss, AnyRegularizer, Combiner, Sampler, Schedule, Trainable,
]  # fmt: skip

CONCRETE = {member.__name__ for family in FAMILIES for member in get_args(get_args(family)[0])}

CONCRETE |= {"MaskedWords", "WordsHead", "WordsModule", "Matching", "SimCSE", "VectorsHead"}

CONCRETE |= {"EMA", "SWA"}

ALLOWED = {
    # A stage's defaults.
    "trivium.recipe.stage: imports Full",
    "trivium.recipe.stage: imports Linear",
    "trivium.recipe.stage: imports Proportional",
    "trivium.recipe.stage: imports Sum",
    # Of a search: its own samplers and pruners, which are no parts of training.
    "trivium.apps.tune.sampling: asks for the kind grid",
    "trivium.recipe.search: asks for the kind none",
    "trivium.recipe.space: asks for the kind grid",
    "trivium.recipe.space: asks for the kind none",
    "trivium.recipe.space: asks for the kind one_at_a_time",
}


def by_name(modules: Mapping[str, str]) -> set[str]:
    """Where modules outside `parts` ask for a part by its kind or its class, in words."""
    return {
        f"{module}: {what}"
        for module, source in modules.items()
        if not module.startswith("trivium.parts")
        for what in (*_imported(ast.parse(source)), *_kinds_asked(ast.parse(source)))
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trivium.parts"):
            yield from (f"imports {each.name}" for each in node.names if each.name in CONCRETE)


def _kinds_asked(tree: ast.AST) -> Iterator[str]:
    """Words that stand in one comparison, or one `match`, with something's kind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            asked: list[ast.AST] = [node.left, *node.comparators]
            about: list[ast.AST] = asked
        elif isinstance(node, ast.Match):
            asked, about = [case.pattern for case in node.cases], [node.subject]
        else:
            continue
        if any(_is_kind(each) for each in about):
            inside = [one for each in asked for one in ast.walk(each)]
            words = [one.value for one in inside if isinstance(one, ast.Constant)]
            yield from (f"asks for the kind {word}" for word in words if isinstance(word, str))


def _is_kind(node: ast.AST) -> bool:
    """Whether it is `part.kind`, or `getattr(part, "kind", …)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        names = [each.value for each in node.args if isinstance(each, ast.Constant)]
        return node.func.id == "getattr" and "kind" in names
    return isinstance(node, ast.Attribute) and node.attr == "kind"


def test_nobody_outside_parts_asks_for_a_part_by_name() -> None:
    assert {"Smart", "PCGrad", "Joint", "Frozen", "LoRA", "CoSENT", "MLPHead"} < CONCRETE
    assert by_name(sources()) == ALLOWED


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rests = stage.trains.kind == 'frozen'", "asks for the kind frozen"),
        ("one = part.kind in ('smart', 'rdrop')", "asks for the kind rdrop"),
        ("one = getattr(part, 'kind', '') != 'smart'", "asks for the kind smart"),
        ("match part.kind:\n    case 'dwa': pass", "asks for the kind dwa"),
        ("from trivium.parts.tasks import MaskedWords, Task", "imports MaskedWords"),
        ("def f():\n    from trivium.parts.regularizers.smart import Smart", "imports Smart"),
    ],
)
def test_one_that_is_asked_for_by_name_is_found(source: str, said: str) -> None:
    assert f"trivium.run.made_up: {said}" in by_name({"trivium.run.made_up": source})
    assert by_name({"trivium.parts.made_up": source}) == set()
