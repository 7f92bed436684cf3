"""Averaged weights: those of torch's own class, judged and kept, beside a training that goes on."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import trivium
from tests.support.distributed import weights
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.parts.averaging import EMA, SWA
from trivium.recipe import Stage, parse_recipe
from trivium.run.folder.journal import read_journal
from trivium.run.folder.model import load_weights_into
from trivium.run.training import averaged as module
from trivium.run.training.averaged import averaged, follow
from trivium.run.training.state import Counters, TrainState
from trivium.types import Step

Values = dict[str, Any]

KINDS: dict[str, Values] = {
    "ema": {"kind": "ema", "decay": 0.6},
    "swa": {"kind": "swa", "after": 0.4},
    "swa, every other": {"kind": "swa", "after": 0.4, "every": 2},
}


def step(index: int, total: int = 12) -> Step:
    return Step(index, total, 1, 1, torch.Generator())


def counted(averaging: EMA | SWA, total: int = 12) -> list[int]:
    """The steps whose weights count."""
    return [index for index in range(total) if averaging.share(step(index, total), 1) is not None]


class Oracle:
    """torch's own averages of what `follow` is told of."""

    def __init__(self, averaging: EMA | SWA) -> None:
        self.averaging, self.model = averaging, AveragedModel(nn.Linear(1, 1))
        self.begun = False

    def follow(self, averaging: Any, state: TrainState, now: Step) -> None:
        follow(averaging, state, now)
        if not self.begun:
            average = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
            if isinstance(self.averaging, EMA):
                average = get_ema_multi_avg_fn(self.averaging.decay)  # type: ignore[no-untyped-call]
            self.model = AveragedModel(state.model, multi_avg_fn=average)
            self.begun = True
        if now.index in counted(self.averaging, now.total):
            self.model.update_parameters(state.model)

    @property
    def weights(self) -> dict[str, Tensor]:
        return {n.removeprefix("module."): p for n, p in self.model.named_parameters()}


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Values:
    return make_recipe(tiny, tmp_path_factory.mktemp("average"))


def ran(values: Values, folder: Path, **stage: Any) -> list[Values]:
    stages = [values["stages"][0] | {"steps": 8, "evaluate_every": 4, "select": "last"} | stage]
    recipe = parse_recipe(values | {"stages": stages})
    trivium.train(recipe, folder, console=Console(file=StringIO()))
    return [*read_journal(folder)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", some_of(KINDS, ("ema", "swa").__contains__))
def test_what_is_kept_are_the_averages_of_torchs_own_class(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    average = Stage(average=KINDS[name]).average
    assert average is not None
    oracle = Oracle(average)
    monkeypatch.setattr("trivium.run.training.step.follow", oracle.follow)
    ran(values | {"precision": precision}, tmp_path / "run", average=KINDS[name])
    found = weights(tmp_path / "run")
    for key, wanted in oracle.weights.items():
        group, _, rest = key.partition(".")
        kept = found[rest if group in ("encoder", "heads") else key]
        torch.testing.assert_close(kept, wanted, atol=1e-7, rtol=1e-6, msg=key)


@pytest.mark.parametrize("name", some_of(KINDS, ("ema", "swa").__contains__))
def test_training_goes_on_as_if_nothing_was_averaged(
    values: Values, tmp_path: Path, name: str
) -> None:
    plain, more = (
        [e for e in ran(values | {"precision": "bf16"}, tmp_path / str(average), average=average)
         if e["event"] == "step"]
        for average in (None, KINDS[name])
    )  # fmt: skip
    assert plain == more
    one, two = (weights(tmp_path / str(average)) for average in (None, KINDS[name]))
    assert any(not torch.equal(one[key], two[key]) for key in one)


def test_the_scores_of_a_run_are_those_of_the_averaged_weights(
    values: Values, tmp_path: Path
) -> None:
    journal = ran(values, tmp_path / "run", average=KINDS["ema"])
    last = [e for e in journal if e["event"] == "evaluation"][-1]["scores"]
    again = trivium.evaluate(tmp_path / "run", console=Console(file=StringIO()))["tasks"]
    for task, scores in last.items():
        assert scores["dev"] == pytest.approx(again[task]["dev"])


@pytest.mark.thorough
def test_the_next_stage_starts_from_the_average(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values["stages"][0] | {"steps": 4, "average": "ema"}
    stages = [first | {"name": "one"}, first | {"name": "two", "lr": 0, "average": None}]
    kept: list[dict[str, Tensor]] = []

    def load(model: nn.Module, folder: Path) -> None:
        load_weights_into(model, folder)  # type: ignore[arg-type]
        kept.append(weights(folder.parent))

    monkeypatch.setattr("trivium.run.training.loop.load_weights_into", load)
    recipe = parse_recipe(values | {"stages": stages})
    trivium.train(recipe, tmp_path / "run", console=Console(file=StringIO()))
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])


@pytest.mark.thorough
def test_without_dev_rows_the_average_is_kept_as_well(values: Values, tmp_path: Path) -> None:
    mood = {k: v for k, v in values["tasks"]["mood"].items() if k != "dev"}
    only = values | {"tasks": {"mood": mood}}
    ran(only, tmp_path / "plain", select=None)
    ran(only, tmp_path / "run", average="swa", select=None)
    plain, found = weights(tmp_path / "plain"), weights(tmp_path / "run")
    assert any(not torch.equal(plain[key], found[key]) for key in plain)


def test_the_weights_come_back_to_the_bit_even_after_an_error() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = TrainState(model, optimizer, {}, torch.Generator(), {}, Counters())  # type: ignore[arg-type]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    follow(EMA(decay=0.5), state, step(0))
    with torch.no_grad():
        model.weight.add_(1.0)
    moved = model.weight.detach().clone()
    follow(EMA(decay=0.5), state, step(1))

    def fail() -> None:
        with averaged(state):
            torch.testing.assert_close(model.weight, before["weight"] + 0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert torch.equal(model.weight, moved)
    assert set(state.memory) == {f"{module._WEIGHTS}weight", f"{module._WEIGHTS}bias",
                                 module._TAKEN}  # fmt: skip


def test_which_steps_count_by_hand() -> None:
    assert counted(EMA()) == list(range(12))
    assert counted(SWA()) == [6, 7, 8, 9, 10, 11]
    assert counted(SWA(after=0.75, every=2)) == [9, 11]
    assert counted(SWA(after=0)) == list(range(12))
    assert [SWA().share(step(9), taken) for taken in (0, 1, 3)] == [1.0, 0.5, 0.25]
    assert [EMA(decay=0.9).share(step(9), taken) for taken in (0, 1)] == [1.0, pytest.approx(0.1)]


@pytest.mark.parametrize(
    "average",
    [{"kind": "ema", "decay": 1}, {"kind": "swa", "after": 1}, {"kind": "swa", "every": 0}, "mean"],
)
def test_settings_that_make_no_average_are_refused(average: Any) -> None:
    with pytest.raises(ValidationError):
        Stage(average=average)


def test_an_average_that_does_little_is_told(values: Values) -> None:
    stages = [
        values["stages"][0] | {"name": kind, "average": average}
        for kind, average in {"a": "ema", "b": {"kind": "swa", "every": 99}, "c": "swa"}.items()
    ]
    preview = trivium.check(parse_recipe(values | {"stages": stages}), Console(file=StringIO()))
    notes = [note for note in preview.warnings if "ema" in note or "swa" in note]
    assert len(notes) == 2
    assert "stage a: ema with a decay of 0.999 looks back over some 1,000 steps" in notes[0]
    assert "stage b: swa averages the weights of one step only" in notes[1]
