"""Affinity: what a step for one task does to another, and the groups that follow from it."""

import json
import threading
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import trivium
from tests.support.shell import call
from tests.support.tables import make_recipe
from trivium.errors import Interrupted, RecipeError
from trivium.model.multitask import MultiTaskModel
from trivium.recipe import parse_recipe
from trivium.run.affinity import _refuse_too_few, _setup
from trivium.run.lookahead.conclude import conclude
from trivium.run.lookahead.follow import Look, Seen, follow, shortened, stage_to_follow
from trivium.run.lookahead.grouping import best_groups, onto, value
from trivium.run.lookahead.intervals import block_length, bounds, resampled_means
from trivium.run.lookahead.measure import look_ahead
from trivium.run.training.distributed import Processes
from trivium.run.training.pieces import Piece, pieces
from trivium.run.training.work import Setup

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe of a task, its copy, and the same with its labels exchanged."""
    folder = tmp_path_factory.mktemp("affinity")
    recipe = make_recipe(tiny, folder)
    recipe["data"] = str(folder / "data")
    mood = recipe["tasks"]["mood"]
    turned = {"file": "mood-train.tsv", "relabel": {"up": "down", "down": "up"}}
    recipe["tasks"] = {
        "mood": mood, "twin": mood, "turned": mood | {"train": turned, "dev": None}
    }  # fmt: skip
    recipe["stages"] = [{"sampler": "joint", "steps": 6, "batch_size": 8, "lr": 1e-3}]
    return recipe


def setup_of(values: dict[str, Any], steps: int = 6) -> Setup:
    recipe = parse_recipe(values, "test")
    return _setup(shortened(recipe, stage_to_follow(recipe), steps), Console(file=StringIO()))


def drawn(setup: Setup, rows: range = range(12), limit: int = 4096) -> dict[str, list[Piece]]:
    return {
        name: pieces(encoded, np.asarray(rows), limit, Processes(), CPU)
        for name, encoded in setup.encoded.items()
    }


def with_one_head(model: MultiTaskModel) -> None:
    for name in ("twin", "turned"):
        model.heads[name].load_state_dict(model.heads["mood"].state_dict())


def losses(setup: Setup, model: MultiTaskModel, batches: dict[str, list[Piece]]) -> list[Any]:
    tasks = setup.recipe.tasks
    return [tasks[n].compute_loss(model(p.batch), p.batch.target_B) for n, (p,) in batches.items()]


def test_a_look_ahead_is_the_loss_after_a_step_by_hand(values: dict[str, Any]) -> None:
    setup = setup_of(values)
    batches, length = drawn(setup), 0.05
    gain_TT = look_ahead(setup.model, setup.recipe.tasks, batches, length)
    for i in range(3):
        model = setup_of(values).model.eval()
        model.encoder.precision = torch.float32
        before = losses(setup, model, batches)
        torch.autograd.backward(before[i])
        shared = [s.parameter for s in model.shared_parameters() if s.parameter.grad is not None]
        norm = torch.cat([p.grad.flatten() for p in shared if p.grad is not None]).norm()
        with torch.no_grad():
            for p in shared:
                assert p.grad is not None
                p.sub_(length * p.grad / norm)
            after = losses(setup, model, batches)
        expected = [1 - a.item() / b.item() for a, b in zip(after, before, strict=True)]
        assert gain_TT[i] == pytest.approx(expected, abs=1e-5)


def test_a_batch_in_pieces_is_one_batch(values: dict[str, Any]) -> None:
    setup = setup_of(values)
    parts = drawn(setup, limit=20)
    assert len(parts["mood"]) > 1
    tasks = setup.recipe.tasks
    whole_TT = look_ahead(setup.model, tasks, drawn(setup))
    assert look_ahead(setup.model, tasks, parts) == pytest.approx(whole_TT, abs=1e-4)


def test_a_copy_helps_as_the_task_itself_and_turned_labels_harm(values: dict[str, Any]) -> None:
    setup = setup_of(values)
    with_one_head(setup.model)
    gain_TT = look_ahead(setup.model, setup.recipe.tasks, drawn(setup))
    assert gain_TT[0, 0] > 0
    assert gain_TT[0, 1] == pytest.approx(gain_TT[0, 0])
    assert gain_TT[0, 2] < 0
    assert gain_TT[2, 0] < 0 < gain_TT[2, 2]


def trained(values: dict[str, Any], every: int) -> tuple[Setup, int, torch.Tensor]:
    setup = setup_of(values)
    torch.manual_seed(5)
    look = Look(steps=6, every=every)
    console = Console(file=StringIO())
    seen = follow(setup, look, console, threading.Event())
    return setup, len(seen.gains), torch.get_rng_state()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_looking_ahead_changes_no_bit_of_the_training(
    values: dict[str, Any], precision: str
) -> None:
    words = {"kind": "mlm", "of": ["mood"]}  # masks are drawn whenever a batch is made
    values = values | {"precision": precision, "tasks": values["tasks"] | {"words": words}}
    looked, many, noise = trained(values, 2)
    plain, none, same_noise = trained(values, 100)
    assert (many, none) == (3, 0)
    assert torch.equal(noise, same_noise)
    state = plain.model.state_dict()
    assert all(torch.equal(state[n], t) for n, t in looked.model.state_dict().items())
    assert looked.model.training


def test_a_stop_that_was_asked_for_ends_the_training(values: dict[str, Any]) -> None:
    stopping = threading.Event()
    stopping.set()
    seen = follow(setup_of(values), Look(), Console(file=StringIO()), stopping)
    assert (seen.gains, seen.steps, seen.stopped) == ([], 0, True)
    with pytest.raises(Interrupted, match="before there were two look-aheads"):
        _refuse_too_few(0, Look(), stopped=True)


def test_training_is_as_long_as_asked_or_as_the_recipe_but_no_longer_than_need_be(
    values: dict[str, Any],
) -> None:
    recipe = parse_recipe(values, "test")
    lengths = [shortened(recipe, 0, steps).stages[0].steps for steps in (None, 2, 900)]
    assert lengths == [6, 2, 900]
    (stage,) = recipe.stages
    long = recipe.model_copy(
        update={"stages": (stage.model_copy(update={"steps": None, "epochs": 70}),)}
    )
    (short,) = shortened(long, 0, None).stages
    assert (short.steps, short.epochs) == (400, 70)  # whichever comes first


# --- intervals -----------------------------------------------------------------------------------


def test_measurements_that_are_all_alike_leave_no_doubt() -> None:
    gain_MTT = np.tile(np.array([[1.0, -2.0], [3.0, 0.5]]), (9, 1, 1))
    low_TT, high_TT = bounds(gain_MTT[0], resampled_means(gain_MTT, 50), 9)
    assert low_TT == pytest.approx(gain_MTT[0])
    assert high_TT == pytest.approx(gain_MTT[0])


def test_neighbours_are_drawn_together() -> None:
    assert [block_length(n) for n in (1, 8, 27, 64)] == [1, 2, 3, 4]
    # Of 8 measurements, blocks of 2: pairs that cancel leave next to nothing to vary.
    swing = np.array([1.0, -1.0] * 4)[:, None, None]
    assert np.abs(resampled_means(swing, 200)).max() == 0
    steady = np.array([1.0] * 4 + [-1.0] * 4)[:, None, None]
    apart = np.random.default_rng(0).choice(steady[:, 0, 0], (4000, 8)).mean(1).std()
    assert resampled_means(steady, 4000).std() > 1.2 * apart


def test_a_mean_of_independent_measurements_has_its_usual_interval() -> None:
    gain_MTT = np.random.default_rng(1).normal(0.3, 1, (400, 1, 1))
    low_TT, high_TT = bounds(gain_MTT.mean(0), resampled_means(gain_MTT), 400)
    width = float((high_TT - low_TT)[0, 0])
    assert width == pytest.approx(2 * 1.96 * gain_MTT.std() / 20, rel=0.25)


# --- groups --------------------------------------------------------------------------------------


def partitions(tasks: list[int]) -> list[list[list[int]]]:
    """All of them, by where the last task goes."""
    if not tasks:
        return [[]]
    found = []
    for smaller in partitions(tasks[:-1]):
        for place in range(len(smaller)):
            joined = [*smaller[place], tasks[-1]]
            found.append([*smaller[:place], joined, *smaller[place + 1 :]])
        found.append([*smaller, tasks[-1:]])
    return found


@pytest.mark.parametrize("tasks", range(1, 7))
def test_the_best_groups_are_those_of_trying_all(tasks: int) -> None:
    every = partitions(list(range(tasks)))
    for seed in range(5):
        gain_TT = np.random.default_rng(seed).normal(size=(tasks, tasks))
        for count, groups in enumerate(best_groups(gain_TT), 1):
            assert len(groups) == count
            assert sorted(t for group in groups for t in group) == list(range(tasks))
            best = max(value(gain_TT, one) for one in every if len(one) == count)
            assert value(gain_TT, groups) == pytest.approx(best)


def test_what_a_group_is_worth_is_told_by_hand() -> None:
    gain_TT = np.array([[9, 2, -4], [1, 9, 0], [3, 5, 9.0]])
    # Onto the first 1 and 3, onto the second 2 and 5, onto the third -4 and 0: means 2, 3.5, -2.
    assert [onto(gain_TT, [0, 1, 2], task) for task in range(3)] == [2, 3.5, -2]
    assert onto(gain_TT, [1], 1) == 0
    assert value(gain_TT, [[0, 1, 2]]) == pytest.approx(3.5)
    assert value(gain_TT, [[0, 1], [2]]) == pytest.approx(3)
    assert best_groups(gain_TT)[1] == ((0,), (1, 2))  # 5 + 0
    assert value(gain_TT, [[0], [1], [2]]) == 0


def test_many_tasks_are_merged_and_friends_end_together() -> None:
    gain_TT = np.full((12, 12), -1.0)
    for group in (range(4), range(4, 8), range(8, 12)):
        for one, other in combinations(group, 2):
            gain_TT[one, other] = gain_TT[other, one] = 1.0
    found = best_groups(gain_TT)
    assert [len(groups) for groups in found] == list(range(1, 13))
    assert found[2] == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))


def noisy(gain: list[list[float]]) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    noise = np.random.default_rng(0).normal(0, 0.05, (40, len(gain), len(gain)))
    return list(np.asarray(gain) + noise)


def concluded(gain: list[list[float]], encoders: int | None = None) -> list[list[str]]:
    tasks = "abcd"[: len(gain)]
    seen = Seen([*tasks], noisy(gain), steps=400, seed=0, stopped=False)
    found = conclude(seen, Look(), encoders)
    return found.groupings[found.suggested].groups


def test_tasks_that_help_or_do_not_matter_share_one_encoder() -> None:
    assert concluded([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]) == [["a", "b", "c"]]


def test_a_task_that_the_others_harm_has_its_own() -> None:
    assert concluded([[1, 0.5, -1], [0.5, 1, -1], [0, 0, 1]]) == [["a", "b"], ["c"]]


def test_with_a_limit_the_tasks_gain_most() -> None:
    gain = [[1.0, 0.5, -1.0], [0.5, 1.0, -1.0], [0.0, 0.0, 1.0]]
    assert concluded(gain, encoders=1) == [["a", "b", "c"]]
    assert concluded(gain, encoders=3) == [["a", "b"], ["c"]]


# --- the command ---------------------------------------------------------------------------------


def test_a_run_is_measured_and_its_report_shows_it(values: dict[str, Any], tmp_path: Path) -> None:
    recipe = values | {"probe": False}
    trivium.train(recipe, tmp_path / "run")
    code, said = call("affinity", tmp_path / "run", "--steps", "4", "--every", "2")
    assert code == 0, said
    assert "suggested: " in said
    found = json.loads((tmp_path / "run" / "affinity.json").read_text("utf-8"))
    assert found["tasks"] == ["mood", "twin", "turned"]
    assert (found["measurements"], found["steps"], found["stopped"]) == (2, 4, False)
    gain, low, high = (np.asarray(found[key]) for key in ("gain", "low", "high"))
    assert gain.shape == (3, 3)
    assert (low <= gain + 1e-12).all()
    assert (gain <= high + 1e-12).all()
    page = trivium.report(tmp_path / "run", tmp_path / "report.html").read_text("utf-8")
    assert "Task affinity" in page
    damaged = json.dumps(found | {"gain": (gain * np.nan).tolist()})
    (tmp_path / "run" / "affinity.json").write_text(damaged, "utf-8")
    code, said = call("report", tmp_path / "run", "--out", tmp_path / "other.html")
    assert code == 2
    assert "affinity.json: gain.0.0: input should be a finite number, found 'nan'" in said
    assert "measure it again: trivium affinity RUN --overwrite" in said
    with pytest.raises(RecipeError, match="is there already"):
        trivium.affinity(tmp_path / "run", steps=4, every=2)
    with pytest.raises(RecipeError, match="whose recipe stands"):
        trivium.affinity(tmp_path / "run", tmp_path / "other", changes=["seed=1"])


def test_what_cannot_be_measured_is_refused(values: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="name a folder"):
        trivium.affinity(values)
    with pytest.raises(RecipeError, match="--every 0: give a number above 0"):
        trivium.affinity(values, tmp_path / "a", every=0)
    with pytest.raises(RecipeError, match="--encoders 0"):
        trivium.affinity(values, tmp_path / "a", encoders=0)
    alone = values | {"tasks": {"mood": values["tasks"]["mood"]}}
    with pytest.raises(RecipeError, match="no stage of the recipe trains several tasks"):
        trivium.affinity(alone, tmp_path / "a")
    with pytest.raises(RecipeError, match="1 look-aheads, but an interval needs 2"):
        trivium.affinity(values, tmp_path / "a", steps=2, every=2)
    assert not (tmp_path / "a" / "affinity.json").exists()


@pytest.mark.parametrize("length", [float("inf"), float("nan")])
def test_a_length_that_is_not_finite_is_refused(values: dict[str, Any], length: float) -> None:
    with pytest.raises(RecipeError, match=r"--length \S+: give a (finite )?number above 0"):
        trivium.affinity(values, "nowhere", length=length)


def test_a_look_ahead_too_long_for_its_losses_ends_in_one_error_and_nothing_is_kept(
    values: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as error:
        trivium.affinity(values, tmp_path / "far", steps=4, every=2, length=1e30)
    said = str(error.value)
    assert "after a step of length 1e+30 for task 'mood' the loss of task 'mood'" in said
    assert "a shorter --length" in said
    assert not (tmp_path / "far").exists()


def test_a_loss_that_is_not_finite_before_any_step_is_not_blamed_on_the_length(
    values: dict[str, Any],
) -> None:
    setup = setup_of(values)
    with torch.no_grad():
        for parameter in setup.model.heads["twin"].parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(RecipeError, match="the loss of task 'twin' is nan") as error:
        look_ahead(setup.model, setup.recipe.tasks, drawn(setup))
    assert "--length" not in str(error.value)


def test_a_gradient_that_is_not_finite_is_not_taken_for_a_task_that_helps_nobody(
    values: dict[str, Any],
) -> None:
    """Of a loss that is finite: as where a square root meets 0."""
    setup = setup_of(values)
    batches = drawn(setup)
    shared = next(one.parameter for one in setup.model.shared_parameters())
    kept = shared.detach().clone()
    hook = shared.register_hook(lambda it: torch.full_like(it, float("inf")))  # type: ignore[no-untyped-call]
    with pytest.raises(RecipeError, match=r"the gradient of task '\S+' is as long as inf"):
        look_ahead(setup.model, setup.recipe.tasks, batches)
    hook.remove()
    assert torch.equal(shared, kept)


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [("", "is a file; name a folder for what is found"), ("deeper", "no folder can be made in it")],
)
def test_a_file_in_the_place_of_the_folder_is_refused_before_anything_is_built(
    values: dict[str, Any],
    tmp_path: Path,
    inside: str,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trivium.run.affinity.load_data", lambda *_: pytest.fail("rows were read"))
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RecipeError, match=wanted):
        trivium.affinity(values, tmp_path / "taken" / inside, steps=4, every=2)
    assert (tmp_path / "taken").read_text() == "mine"
