"""Training that updates word vectors when they are read is training that updates all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.facts import facts
from tests.support.passes import values_without_dropout
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.errors import RecipeError
from trivium.model.native.adamw import AdamW
from trivium.model.native.library import SWITCH, library
from trivium.run.train import train
from trivium.run.training import loop
from trivium.run.training import step as steps
from trivium.run.training.state import TrainState
from trivium.run.training.work import Setup

compiled = pytest.mark.skipif(
    library() is None, reason="the compiled kernels are not built, or not for this processor"
)

STAGES: dict[str, dict[str, Any]] = {
    "one task a step": {"sampler": {"kind": "proportional"}},
    "several batches in pieces": {"batches_per_step": 2, "tokens_at_once": 30},
    "an average of all weights": {"regularizers": [{"kind": "bregman"}]},
    "an average that is kept": {"average": {"kind": "swa", "after": 0.2, "every": 3}},
    "weights that are held to their start": {"regularizers": [{"kind": "l2_sp"}]},
    "weights that stand in": {"regularizers": [{"kind": "smart"}]},
    "layers that thaw": {"trains": {"kind": "gradual", "every": 0.5}},
    "masked words": {"sampler": {"kind": "round_robin"}},
}
WORDS = {"kind": "mlm", "of": ["mood"]}


@contextmanager
def whole(setup: Setup, state: TrainState) -> Iterator[None]:
    """In place of reading by rows. The norm is still summed up row by row."""
    assert isinstance(state.optimizer, AdamW)
    state.optimizer.rows_of(state.model.encoder.embeddings.word_embeddings.weight)
    yield


def without_products(found: dict[str, Any]) -> dict[str, Any]:
    """All but cosines, whose sums have another order."""
    found["journal"] = [
        {k: v for k, v in event.items() if "cosines" not in k} for event in found["journal"]
    ]
    return found


@compiled
@pytest.mark.parametrize(
    "name", some_of(STAGES, ("masked words", "weights that stand in").__contains__)
)
def test_a_run_has_the_bits_of_one_that_updates_all_rows_at_every_step(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny, tmp_path)
    if name == "masked words":
        recipe["tasks"]["words"] = WORDS
    stage = recipe["stages"][0] | {"steps": 30, "evaluate_every": 12} | STAGES[name]
    recipe["stages"] = [stage | {"name": "first"}, stage | {"name": "second", "steps": 5}]
    train(recipe, tmp_path / "rows")
    monkeypatch.setattr(steps, "words_by_rows", whole)
    train(recipe, tmp_path / "whole")
    found, expected = (without_products(facts(tmp_path / n)) for n in ("rows", "whole"))
    assert found == expected


@compiled
def test_between_steps_nobody_reads_the_rows_that_no_text_holds(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny, tmp_path)
    kinds: list[torch.layout] = []
    behind: list[bool] = []
    clip = AdamW.clip

    def watched(optimizer: AdamW, most: float) -> float:
        (words,) = optimizer._rows
        assert words.grad is not None
        kinds.append(words.grad.layout)
        behind.append(type(words) is not nn.Parameter)
        return clip(optimizer, most)

    monkeypatch.setattr(AdamW, "clip", watched)
    train(recipe, tmp_path / "run")
    steps = recipe["stages"][0]["steps"]
    assert kinds == [torch.sparse_coo] * steps
    assert behind == [False] + [True] * (steps - 1)


@compiled
@pytest.mark.parametrize("switches", [("1", "0"), ("0", "1")])
def test_a_run_resumes_with_and_without_the_kernels(
    switches: tuple[str, str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = values_without_dropout(tiny, tmp_path)  # each way draws masks of its own
    stage = {"steps": 12, "checkpoint_every": 3, "sampler": {"kind": "proportional"}}
    recipe["stages"][0] |= stage
    train(recipe, tmp_path / "whole")

    def stopped(*given: Any) -> Any:
        if given[-1].counters.step == 7:
            raise RecipeError("enough")
        return steps.train_step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stopped)
        patch.setenv(SWITCH, switches[0])
        with pytest.raises(RecipeError, match="enough"):
            train(recipe, tmp_path / "broken")
    monkeypatch.setenv(SWITCH, switches[1])
    train(recipe, tmp_path / "broken", resume=True)
    found, expected = (losses(tmp_path / name) for name in ("broken", "whole"))
    assert len(found) == 12
    assert found == pytest.approx(expected, rel=1e-4)


def losses(run_dir: Path) -> list[float]:
    journal: Any = facts(run_dir)["journal"]
    return [sum(event["losses"].values()) for event in journal if event["event"] == "step"]
