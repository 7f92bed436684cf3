"""Surgery's one pass through the encoder: each task's gradients are those of a pass of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import trivium
from tests.support.deaths import dies_in_step
from tests.support.facts import facts
from tests.support.native import kernels, kernels_precision_name, switched
from tests.support.passes import passes, values_without_dropout
from trivium.run.training import batches, step
from trivium.run.training.gradients import Gradient, gram_by_parameter

LORA = {"kind": "lora", "rank": 2}
TRUNK = {"kind": "mlp", "trunk": "t", "width": 8, "dropout": 0.0}
ALIKE: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"adapters": [LORA]},
    "trunk": {"heads": {"mood": TRUNK, "same": TRUNK}},
    "pooler": {"heads": {"mood": {"kind": "linear", "dropout": 0.0, "pooling": "pooler"}}},
    "biases": {"stage": {"trains": "bitfit"}},
    "measured": {"stage": {"combiner": "sum", "conflicts_every": 1}},
}


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    kernels()
    return values_without_dropout(tiny, tmp_path_factory.mktemp("by-task")) | {
        "precision": kernels_precision_name()
    }


def recipe_of(values: dict[str, Any], **stage: Any) -> dict[str, Any]:
    start = {"sampler": "joint", "combiner": "pcgrad", "steps": 3}
    return values | {"stages": [values["stages"][0] | start | stage]}


def ran(recipe: dict[str, Any], folder: Path, **how: Any) -> Path:
    trivium.train(recipe, folder, console=Console(file=StringIO()), **how)
    return folder


@contextmanager
def one_after_another() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "may_go_by_task", lambda *_: False)
        yield


@pytest.mark.parametrize("change", ALIKE.values(), ids=ALIKE.keys())
def test_one_pass_teaches_to_the_bit_what_one_for_each_task_does(
    values: dict[str, Any], change: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(values, **change.get("stage", {}))
    recipe["adapters"] = change.get("adapters", [])
    heads = change.get("heads", {})
    recipe["tasks"] = {
        name: task | ({"head": heads[name]} if name in heads else {})
        for name, task in values["tasks"].items()
    }
    with passes() as few:
        found = facts(ran(recipe, tmp_path / "together"))
    with passes() as many, one_after_another():
        right = facts(ran(recipe, tmp_path / "apart"))
    assert sum(few) == sum(many)
    assert len(few) < len(many) == 9
    assert found == right


@contextmanager
def gradients() -> Iterator[list[list[Gradient]]]:
    """Those that tasks are compared by, step by step."""
    seen: list[list[Gradient]] = []

    def note(found: list[Gradient]) -> Tensor:
        dense = [[None if p is None else p.to_dense().clone() for p in each] for each in found]
        seen.append([*dense])
        return gram_by_parameter(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "gram_by_parameter", note)
        yield seen


@pytest.mark.parametrize(
    "stage",
    [{"batches_per_step": 2}, {"batches_per_step": 2, "tokens_at_once": 140}],
    ids=["one pass", "several"],
)
def test_gradients_of_a_tasks_batches_add_up_to_those_of_passes_of_their_own(
    values: dict[str, Any], stage: dict[str, Any], tmp_path: Path
) -> None:
    words = {"kind": "mlm", "of": ["mood"], "head": {"kind": "words", "dropout": 0.0}}
    recipe = recipe_of(values, steps=1, **stage)
    recipe["tasks"] = values["tasks"] | {"words": words}
    with gradients() as few, passes() as joint:
        ran(recipe, tmp_path / "together")
    with gradients() as many, passes() as single, one_after_another():
        ran(recipe, tmp_path / "apart")
    assert len(joint) < len(single)
    for mine, wanted in zip(few[0], many[0], strict=True):
        for found, right in zip(mine, wanted, strict=True):
            assert (found is None) == (right is None)
            if found is not None and right is not None:
                torch.testing.assert_close(found, right, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("switch", "changes", "each"),
    [
        ("0", {}, 3),
        ("1", {"precision": "another"}, 3),
        ("1", {"adapters": [{"kind": "pals", "size": 8, "heads": 2}]}, 3),
        ("1", {"adapters": [LORA | {"dropout": 0.1}]}, 3),
        ("1", {}, 2),
    ],
    ids=["pytorch", "precision", "sides", "lora that drops", "kernels"],
)
def test_tasks_share_a_pass_only_where_kernels_keep_them_apart(
    values: dict[str, Any], switch: str, changes: dict[str, Any], each: int, tmp_path: Path
) -> None:
    if "precision" in changes:  # which the kernels do not compute in
        changes = {"precision": "fp32" if values["precision"] == "bf16" else "bf16"}
    with switched(switch), passes() as seen:
        ran(recipe_of(values, steps=2) | changes, tmp_path / "run")
    assert len(seen) == 2 * each  # of [CLS] alone, and of all tokens


def test_with_dropout_a_run_goes_on_to_the_bit(
    values: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(values, steps=4, checkpoint_every=2) | {"encoder": str(tiny)}
    whole = facts(ran(recipe, tmp_path / "whole"))
    with dies_in_step(4):
        ran(recipe, tmp_path / "halves")
    assert facts(ran(recipe, tmp_path / "halves", resume=True)) == whole
