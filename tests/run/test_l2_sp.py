"""L2-SP: the gradient of the paper's penalty, whose reference is the run's own checkpoint."""

import math
import shutil
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import nn

import trivium
from tests.support.deaths import dies_in_step
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.model.pretrained import load_encoder, save_encoder
from trivium.model.weights import read_weights
from trivium.parts.regularizers import L2SP
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.journal import read_journal
from trivium.run.rows.load import load_data
from trivium.run.training.start import start_of
from trivium.types import Step

Values = dict[str, Any]

HELD: Values = {"kind": "l2_sp", "alpha": 30.0, "beta": 0.0}


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Values:
    return make_recipe(tiny, tmp_path_factory.mktemp("l2_sp"))


def recipe_of(values: Values, *stages: Values, **settings: Any) -> Any:
    plain = values["stages"][0] | {"steps": 6, "optimizer": {"kind": "adamw", "weight_decay": 0}}
    named = [plain | {"name": f"stage{n}"} | stage for n, stage in enumerate(stages)]
    return parse_recipe(values | settings | {"stages": named})


def ran(folder: Path, recipe: Any, **more: Any) -> list[Values]:
    trivium.train(recipe, folder, console=Console(file=StringIO()), **more)
    return [each for each in read_journal(folder) if each["event"] == "step"]


def moved(tiny: Path, run_dir: Path) -> float:
    """How far the encoder is from its checkpoint."""
    before, after = read_weights(tiny), read_weights(run_dir / "model")
    return math.sqrt(sum(float((after[n] - before[n]).square().sum()) for n in before))


def reached(model: nn.Module) -> dict[str, nn.Parameter]:
    """Two thirds of the parameters, moved and with a gradient; the others no batch has reached."""
    generator, found = torch.Generator().manual_seed(0), {}
    for index, (name, parameter) in enumerate(model.named_parameters()):
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        if index % 3 == 0:
            found[name] = parameter
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    return found


@pytest.mark.parametrize("adapters", [[], ["lora"], ["houlsby"]], ids=["none", "lora", "houlsby"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_is_that_of_the_papers_penalty(
    values: Values, adapters: list[str], sparse: bool
) -> None:
    part = L2SP(alpha=0.3, beta=0.07, weight=2)
    recipe, _ = load_data(recipe_of(values, {"regularizers": [part]}, adapters=adapters))
    model, _ = build(recipe)
    start = start_of(recipe, model.encoder).weights
    assert set(start) == set(read_weights(Path(recipe.encoder)))
    found = reached(model)
    plain = {name: p.grad.clone() for name, p in found.items() if p.grad is not None}
    words = model.encoder.embeddings.word_embeddings.weight
    assert words.grad is not None
    words.grad = words.grad.to_sparse(1) if sparse else words.grad
    total = torch.zeros(())
    for name, parameter in found.items():
        own = start.get(name.removeprefix("encoder.")) if name.startswith("encoder.") else None
        weight = 0.07 if own is None else 0.3
        away = parameter if own is None else parameter - own
        total = total + 2 * weight / 2 * away.square().sum()
    wanted = torch.autograd.grad(total, [*found.values()])
    told = part.pull(model, start, Step(0, 1, 1, 1, torch.Generator()))
    assert told == pytest.approx(total.item(), rel=1e-5)
    for (name, parameter), added in zip(found.items(), wanted, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, plain[name] + added, msg=name)
    assert all(p.grad is None for n, p in model.named_parameters() if n not in found)


def test_by_hand() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.heads = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    model = Model()
    for parameter, number in zip(model.parameters(), (5.0, 4.0), strict=True):
        nn.init.constant_(parameter, number)
        parameter.grad = torch.ones(1, 1)
    part, now = L2SP(alpha=0.5, beta=0.25), Step(0, 1, 1, 1, torch.Generator())
    told = part.pull(cast(Any, model), {"weight": torch.tensor([[2.0]])}, now)
    assert told == 0.5 / 2 * 9 + 0.25 / 2 * 16
    assert [float(p.grad) for p in model.parameters() if p.grad is not None] == [2.5, 2.0]


def test_weights_stay_nearer_to_the_checkpoint_also_in_a_later_stage(
    values: Values, tiny: Path, tmp_path: Path
) -> None:
    held = {"regularizers": [HELD], "select": "last"}
    free = {"select": "last"}
    told = ran(tmp_path / "held", recipe_of(values, free, held))
    ran(tmp_path / "free", recipe_of(values, free, free))
    ran(tmp_path / "one", recipe_of(values, free))
    distances = [moved(tiny, tmp_path / name) for name in ("held", "one", "free")]
    assert distances[0] < distances[1] < distances[2]
    pulls = [each["pulls"]["l2_sp"] for each in told if "pulls" in each]
    assert len(pulls) == 6
    assert pulls[0] == pytest.approx(HELD["alpha"] / 2 * distances[1] ** 2, rel=1e-3)
    assert pulls[-1] < pulls[0]


def test_a_frozen_encoder_is_not_pulled(values: Values, tiny: Path, tmp_path: Path) -> None:
    held = {"regularizers": [HELD], "trains": "frozen"}
    told = ran(tmp_path / "run", recipe_of(values, held))
    assert [each["pulls"] for each in told] == [{"l2_sp": 0.0}] * 6
    assert moved(tiny, tmp_path / "run") == 0


@pytest.mark.thorough
def test_a_run_resumes_to_the_bit_in_its_second_stage_and_refuses_another_checkpoint(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(values["encoder"], folder)
    held = {"regularizers": [HELD], "checkpoint_every": 2, "steps": 4}
    recipe = recipe_of(values, held, held, encoder=str(folder))
    ran(tmp_path / "whole", recipe)
    with dies_in_step(7):
        ran(tmp_path / "halves", recipe)
    shutil.copytree(tmp_path / "halves", tmp_path / "other")
    ran(tmp_path / "halves", recipe, resume=True)
    whole, halves = (read_weights(tmp_path / n / "model") for n in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)

    encoder = load_encoder(folder)
    with torch.no_grad():
        encoder.embeddings.LayerNorm.bias.add_(1e-3)
    save_encoder(encoder, folder)
    with pytest.raises(RecipeError, match=r"--resume: the encoder's checkpoint changed"):
        ran(tmp_path / "other", recipe, resume=True)


def test_the_preview_says_that_it_is_about_weights(values: Values) -> None:
    said = StringIO()
    trivium.check(recipe_of(values, {"regularizers": ["l2_sp"]}), Console(file=said, width=200))
    assert "regularizer l2_sp: the model's weights x 1" in said.getvalue()


@pytest.mark.parametrize(
    "settings",
    [{"tasks": ["mood"]}, {"weight": {"mood": 2.0}}, {"alpha": -1}, {"beta": -1}],
)
def test_settings_that_make_no_sense_are_refused(settings: Values) -> None:
    with pytest.raises(ValidationError):
        L2SP.model_validate(settings)
