"""A search loses no trial and does none twice, whatever stops it; its best can be run again."""

import csv
import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.facts import facts
from tests.support.forks import Forks
from tests.support.processes import newest, wait_until
from tests.support.searches import (
    SPACE,
    finish,
    run_by_hand,
    worker,
)
from tests.support.shell import spoken
from tests.support.tables import make_recipe
from trivium.apps.tune import board, plots, results
from trivium.apps.tune.claims import REASON, SEEN, VOID, Claim, tell
from trivium.apps.tune.rows import Overview, short_names
from trivium.apps.tune.trial import Following, settle
from trivium.apps.tune.worker import Worker
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.folder.names import JOURNAL
from trivium.run.jobs.child import Outcome, Stop
from trivium.run.jobs.follow import Progress


def write(folder: Path, values: dict[str, Any], **settings: Any) -> Path:
    path = folder / "recipe.yaml"
    told = {"space": SPACE, "trials": 4, **settings}
    path.write_text(yaml.safe_dump(values | {"search": told}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def values(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path_factory.mktemp("tune"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of children are tiny, and threads of parallel tests would fight."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


CLAIMED: list[Claim] = []


@pytest.fixture(autouse=True)
def no_lock_is_left() -> Iterator[None]:
    yield
    while CLAIMED:
        CLAIMED.pop().log.close()


def claimed(one: Worker) -> Claim:
    claim = one.claims.next()
    assert claim is not None
    CLAIMED.append(claim)
    return claim


# --- which trial is next -----------------------------------------------------------------------


@pytest.mark.thorough
def test_draws_depend_on_the_seed_and_what_went_before_only(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, values, trials=8, sampler={"kind": "tpe", "startup_trials": 3})

    def score(number: int) -> float:
        return number * 0.37 % 1.0

    whole = run_by_hand(worker(path, tmp_path / "whole"), score)
    assert len(whole) == 8
    assert len({str(point) for point in whole}) > 6
    broken = []
    for _ in range(8):  # a worker of its own for each trial, as after many breaks
        one = worker(path, tmp_path / "broken")
        claim = claimed(one)
        broken.append(claim.point)
        finish(one, claim, score(claim.number))
    assert broken == whole
    other = run_by_hand(worker(path, tmp_path / "other", seed=1), score)
    assert all(a != b for a, b in zip(other, whole, strict=True))


def test_values_are_those_of_the_space(values: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, values, trials=12, sampler="random")
    one = worker(path, tmp_path / "out")
    while claim := one.claims.next():
        point = claim.point
        assert 1e-5 <= point["stages.0.lr.encoder"] <= 1e-2
        assert point["stages.0.batch_size"] in (4, 8)
        assert point["tasks.mood.weight"] in [
            k / 10 for k in range(1, 10)
        ]  # no 0.30000000000000004
        assert point["seed"] in range(10)
        recipe = load_recipe(claim.job.path)
        assert recipe == claim.job.recipe
        assert "search" not in yaml.safe_load(claim.job.path.read_text())
        assert recipe.stages[0].lr.encoder == point["stages.0.lr.encoder"]
        assert recipe.tasks["mood"].weight == point["tasks.mood.weight"]
        assert recipe.seed == point["seed"]
        finish(one, claim, 0.5)


def test_a_trial_belongs_to_one_worker_until_its_lock_is_gone(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, values, trials=3)
    first, second = (worker(path, tmp_path / "out") for _ in range(2))
    mine, yours = claimed(first), claimed(second)
    assert (mine.number, yours.number) == (0, 1)
    mine.trial.report(0.5, 1)
    mine.log.close()  # as the kernel does when a worker and its child are killed
    again = claimed(second)
    assert (again.number, again.is_resumed, again.point) == (0, True, mine.point)
    assert again.job.folder == mine.job.folder
    assert again.reported == {1}
    assert claimed(first).number == 2
    assert second.claims.next() is None  # all three are given out
    finish(second, again, 0.5)
    finish(second, yours, 0.5)
    assert [trial.number for trial in first.claims.running()] == [2]


def test_a_trial_that_failed_makes_room_for_another(values: dict[str, Any], tmp_path: Path) -> None:
    one = worker(write(tmp_path, values, trials=2), tmp_path / "out")
    claim = claimed(one)
    with claim.log:
        tell(one.claims.study, claim.trial, state=TrialState.FAIL)
    assert len(run_by_hand(one)) == 2
    assert [trial.number for trial in one.claims.finished()] == [1, 2]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["grid", "one_at_a_time"])
def test_listed_points_are_shared_out_once_each(
    values: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    space = {"seed": [0, 1, 2], "stages.0.batch_size": [4, 8]}
    path = write(tmp_path, values, space=space, sampler=kind, trials=None)
    url = f"sqlite:///{tmp_path}/shared.db"
    workers = [worker(path, tmp_path / name, storage=url) for name in ("a", "b")]
    found = []
    while claims := [(one, claim) for one in workers if (claim := one.claims.next())]:
        for one, claim in claims:
            found.append((claim.point["seed"], claim.point["stages.0.batch_size"]))
            finish(one, claim, 0.5)
    grid = [(seed, size) for seed in (0, 1, 2) for size in (4, 8)]
    wanted = {"grid": grid, "one_at_a_time": [(0, 8), (1, 8), (2, 8), (0, 4)]}[kind]
    assert sorted(found) == sorted(wanted)


def fail(one: Worker, claim: Claim) -> None:
    with claim.log:
        claim.trial.set_user_attr(REASON, "the disk was full")
        tell(one.claims.study, claim.trial, state=TrialState.FAIL)


@pytest.mark.parametrize("kind", ["grid", "one_at_a_time"])
def test_a_point_of_a_list_that_failed_is_tried_again_by_another_call(
    values: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    space = {"seed": [0, 1, 2]}
    path, out = write(tmp_path, values, space=space, sampler=kind, trials=None), tmp_path / "out"
    one = worker(path, out)
    lost = claimed(one)
    fail(one, lost)
    again = worker(path, out)  # what was never tried comes first
    points = [claimed(again) for _ in range(3)]
    assert points[2].point == lost.point not in [points[0].point, points[1].point]
    assert again.claims.next() is None
    for claim in points[:2]:
        finish(again, claim, 0.5)
    fail(again, points[2])
    assert again.claims.next() is one.claims.next() is None  # once a call
    assert (again.claims.failed(), "time is up" in again.unfinished()) == ([0, 3], False)
    assert "trials that failed: 0, 3; to try their points again: triv" in again.unfinished()
    third = worker(path, out)
    assert run_by_hand(third) == [lost.point]
    assert (third.claims.failed(), len(third.view().ended)) == ([], 3)
    assert worker(path, out).claims.next() is None


def test_points_that_failed_are_tried_again_however_often_the_search_is_stopped(
    values: dict[str, Any], tmp_path: Path
) -> None:
    space = {"seed": [0, 1, 2]}
    path, out = write(tmp_path, values, space=space, sampler="grid", trials=None), tmp_path / "out"
    one = worker(path, out)
    for _ in range(2):
        fail(one, claimed(one))
    one = worker(path, out)
    for _ in range(2):  # the last point, and the first again; then it is stopped
        finish(one, claimed(one), 0.5)
    assert one.claims.failed() == [1]
    assert len(run_by_hand(worker(path, out))) == 1
    assert len(worker(path, out).view().ended) == 3


def test_a_point_of_a_list_that_the_recipe_refuses_is_tried_once(
    values: dict[str, Any], tmp_path: Path
) -> None:
    space = {  # LoRA leaves nothing of the encoder to these
        "adapters": [[], [{"kind": "lora", "rank": 1}]],
        "stages.0.trains": ["full", "bitfit"],
    }
    path, out = write(tmp_path, values, space=space, sampler="grid", trials=None), tmp_path / "out"
    one = worker(path, out)
    refused = 0
    while claim := one.claims.next():
        refused += bool(claim.wrong)
        (fail if claim.wrong else lambda w, c: finish(w, c, 0.5))(one, claim)
    assert refused > 0
    again = worker(path, out)
    assert again.claims.next() is None
    assert again.unfinished().startswith("all was tried; what the recipe refuses is told in ")


def test_a_grid_goes_on_with_another_seed(values: dict[str, Any], tmp_path: Path) -> None:
    space = {"seed": [0, 1, 2], "stages.0.batch_size": [4, 8]}
    path, out = write(tmp_path, values, space=space, sampler="grid", trials=None), tmp_path / "out"
    first, found = worker(path, out, seed=0), []
    # As a search that an earlier version began, whose choices had the order of its first points.
    for dotted, known in first.claims.space.distributions.items():
        assert isinstance(known, CategoricalDistribution)
        turned = CategoricalDistribution([*reversed(known.choices)])
        first.claims.space.distributions[dotted] = turned
    for seed in (0, 1, 2):
        one = first if seed == 0 else worker(path, out, seed=seed)
        claim = claimed(one)
        found.append(claim.point)
        finish(one, claim, 0.5)
    found += run_by_hand(worker(path, out, seed=3))
    points = {(point["seed"], point["stages.0.batch_size"]) for point in found}
    assert len(found) == len(points) == 6


def test_choices_of_a_grid_have_one_order_whatever_the_seed(
    values: dict[str, Any], tmp_path: Path
) -> None:
    space = {"seed": [0, 1, 2], "stages.0.batch_size": [4, 8]}
    path = write(tmp_path, values, space=space, sampler="grid", trials=None)
    url = f"sqlite:///{tmp_path}/shared.db"
    # Both look before either has drawn anything.
    for one in [worker(path, tmp_path / str(seed), storage=url, seed=seed) for seed in range(4)]:
        finish(one, claimed(one), 0.5)


def test_workers_in_other_folders_neither_take_nor_repeat_what_is_alive(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, values, trials=2)
    url = f"sqlite:///{tmp_path}/shared.db"
    here, there = (worker(path, tmp_path / name, storage=url) for name in ("here", "there"))
    left = claimed(there)
    left.log.close()  # no lock, but its home is another folder
    mine = claimed(here)
    assert (mine.number, here.claims.next()) == (1, None)
    finish(here, mine, 0.5)
    left.trial.set_user_attr(SEEN, time.time() - 3600)  # silent for an hour
    instead = claimed(here)
    assert (instead.number, instead.point, instead.is_resumed) == (2, left.point, False)
    assert not tell(there.claims.study, left.trial, values=[0.9])  # too late
    finish(here, instead, 0.5)
    assert here.claims.next() is None
    assert [trial.number for trial in here.claims.trials()] == [1, 2]
    assert here.claims.study.trials[0].user_attrs[REASON] == "its worker was lost"


def test_a_trial_that_ends_while_it_is_given_up_counts(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = worker(write(tmp_path, values, trials=1), tmp_path / "out")
    claim = claimed(one)
    claim.trial.set_user_attr(VOID, True)  # by another worker, which now is about to tell it
    finish(one, claim, 0.5)
    assert not one.claims._void(claim.trial, "its worker was lost")
    assert [trial.number for trial in one.claims.finished()] == [0]
    assert one.claims.next() is None


@pytest.mark.thorough
def test_one_trial_too_many_gives_way(values: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, values, trials=2)
    url = f"sqlite:///{tmp_path}/shared.db"
    here, there = (worker(path, tmp_path / name, storage=url) for name in ("here", "there"))
    claimed(here)
    # What both would do at the same moment, one after another.
    trials = [claimed(there).trial, here.claims.study.ask(here.claims.space.distributions)]
    assert [here.claims._is_too_many(trial) for trial in trials] == [False, True]


def test_a_trial_whose_worker_died_while_it_drew_is_replaced(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = worker(write(tmp_path, values, trials=1), tmp_path / "out")
    name, half = next(iter(one.claims.space.distributions.items()))
    one.claims.study.ask({name: half})
    assert one.view().rows[0].settings == {}  # others can look at it meanwhile
    assert results.as_csv(one.view()).splitlines()[1].startswith("0,running,,")
    assert claimed(one).number == 1
    assert one.claims.next() is None


# --- pruning -----------------------------------------------------------------------------------


def journal(folder: Path, scores: list[float], steps: int = 40) -> None:
    """As of a run that evaluates every ten steps."""
    folder.mkdir(parents=True, exist_ok=True)
    events: list[dict[str, Any]] = [{"event": "stage", "stage": "train", "steps": steps}]
    for number, score in enumerate(scores, start=1):
        place = {"stage": "train", "step": 10 * number}
        events += [{"event": "step", **place}]
        events += [{"event": "evaluation", **place, "scores": {}, "overall": score}]
    (folder / JOURNAL).write_text("".join(json.dumps(event) + "\n" for event in events))


def following(one: Worker, claim: Claim) -> Following:
    progress = Progress(claim.job.folder, ["train"])
    return Following(claim, one.objectives, Stop(), progress, lambda _: None, Stop())


def test_the_pruner_stops_the_child_but_not_at_its_end(
    values: dict[str, Any], tmp_path: Path
) -> None:
    pruner = {"kind": "median", "startup_trials": 2, "warmup_evaluations": 1}
    one = worker(write(tmp_path, values, trials=9, pruner=pruner), tmp_path / "out")
    for score in (0.6, 0.7):
        claim = claimed(one)
        journal(claim.job.folder, [score, score, score, score])
        following(one, claim).watch(0, "")
        assert claim.reported == {1, 2, 3, 4}
        finish(one, claim, score)
    claim = claimed(one)
    watch = following(one, claim)
    journal(claim.job.folder, [0.1])
    watch.watch(0, "")
    assert (watch.is_pruned, watch.child.asked) == (False, 0)  # its first evaluation is free
    journal(claim.job.folder, [0.1, 0.69])
    watch._looked = 0.0
    watch.watch(0, "")
    assert not watch.is_pruned
    journal(claim.job.folder, [0.1, 0.69, 0.1])
    later = following(one, claim)  # as after a break: what was reported is not reported again
    later.watch(0, "")
    assert (later.is_pruned, claim.reported) == (False, {1, 2, 3})  # its best is above the median
    with claim.log:
        tell(one.claims.study, claim.trial, state=TrialState.PRUNED)
    for scores, is_pruned in (([0.1, 0.1], True), ([0.1, 0.1, 0.1, 0.1], False)):
        claim = claimed(one)
        claim.reported = set(range(1, len(scores)))
        journal(claim.job.folder, scores)
        watch = following(one, claim)
        watch.watch(0, "")
        assert (watch.is_pruned, watch.child.asked) == (is_pruned, int(is_pruned))


def test_a_child_whose_trial_was_given_to_another_is_stopped(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = worker(write(tmp_path, values), tmp_path / "out")
    claim = claimed(one)
    one.claims.study.tell(claim.number, state=TrialState.FAIL)
    watch = following(one, claim)
    watch.watch(0, "")
    assert (watch.is_taken, watch.child.asked) == (True, 1)


@pytest.mark.parametrize("state", ["failed", "pruned", "stopped"])
def test_a_worker_whose_trial_was_given_to_another_says_so_and_goes_on(
    values: dict[str, Any], tmp_path: Path, state: str
) -> None:
    one = worker(write(tmp_path, values), tmp_path / "out")
    claim = claimed(one)
    assert one.claims._void(claim.trial, "its worker was lost")
    watch = following(one, claim)
    watch.is_pruned = state == "pruned"
    outcome = Outcome("failed" if state == "failed" else "stopped", "trained", 3.0, "lost its disk")
    console, said = spoken()
    with board.Board(console, one.view()) as lines:
        ended, outcome = settle(one.claims.study, watch, outcome)
        lines.end(claim, ended, outcome, one.view())
    assert ended == "stopped"
    assert "trial 0: another worker took it up" in said.getvalue()
    assert claimed(one).number == 1


def test_a_wish_to_stop_is_seen_before_the_child_hears_of_it(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = worker(write(tmp_path, values), tmp_path / "out")
    watch = following(one, claimed(one))
    seen: list[int] = []
    watch.look = lambda _: seen.append(watch.child.asked)
    watch.watch(0, "")
    watch.stop.asked = 1
    watch.watch(0, "")  # at once: a child that has saved is gone before the next look
    watch.watch(0, "")
    assert seen == [0, 1]


@pytest.mark.thorough
def test_hyperband_lets_only_the_better_ones_go_on(values: dict[str, Any], tmp_path: Path) -> None:
    pruner = {"kind": "hyperband", "reduction_factor": 2}
    one = worker(write(tmp_path, values, trials=20, pruner=pruner), tmp_path / "out")
    pruned = []
    while claim := one.claims.next():  # noqa: PLR1702
        score = 0.9 - 0.01 * claim.number  # each is worse than all before
        watch = following(one, claim)
        for evaluations in (1, 2, 3, 4):
            journal(claim.job.folder, [score] * evaluations)
            watch._looked = 0.0
            watch.watch(0, "")
            if watch.is_pruned:
                pruned.append(evaluations)
                with claim.log:
                    tell(one.claims.study, claim.trial, state=TrialState.PRUNED)
                break
        else:
            finish(one, claim, score)
    assert 5 < len(pruned) < 20
    assert 4 not in pruned


# --- what is refused ---------------------------------------------------------------------------


def refusal(path: Path, out: Path, **options: Any) -> str:
    """What is said of a search that cannot start; it writes nothing."""
    before = {p: p.is_file() and p.read_bytes() for p in out.parent.rglob("*")}
    with pytest.raises(RecipeError) as error:
        trivium.tune(path, out, console=spoken()[0], **options)
    after = {p: p.is_file() and p.read_bytes() for p in out.parent.rglob("*")}
    assert after == before
    return str(error.value)


def test_other_settings_are_refused_but_for_how_long(
    values: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    worker(write(tmp_path, values), out)
    path = write(tmp_path, values | {"seed": 3}, trials=9, timeout=5)
    said = refusal(path, out, storage="journal")
    assert "began with another recipe: seed was 0 and is now 3." in said
    path = write(tmp_path, values, space=SPACE | {"seed": [1, 2]})
    assert "and is now [1, 2]." in refusal(path, out, storage="journal")
    said = refusal(write(tmp_path, values), out, storage="sqlite")
    assert "began with --storage journal, not sqlite" in said
    assert worker(write(tmp_path, values, trials=9, timeout=5), out).claims.total == 9
    assert worker(write(tmp_path, values), out, trials=6).claims.total == 6


def test_a_database_keeps_searches_apart_by_their_recipes(
    values: dict[str, Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    worker(write(tmp_path, values), tmp_path / "a", storage=url)
    with pytest.raises(RecipeError, match="'recipe' in it began with another recipe: seed was 0"):
        worker(write(tmp_path, values | {"seed": 3}), tmp_path / "b", storage=url)


def test_a_folder_of_another_thing_is_refused(values: dict[str, Any], tmp_path: Path) -> None:
    path, out = write(tmp_path, values), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("")
    assert "holds 'thesis.txt' but no search" in refusal(path, out)
    (out / "recipe.yaml").write_text("")
    assert "holds a run, not a search" in refusal(path, out)
    assert "is a file" in refusal(path, out / "thesis.txt")


@pytest.mark.thorough
def test_trials_that_the_storage_does_not_know_are_not_overwritten(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path, out = write(tmp_path, values), tmp_path / "out"
    one = worker(path, out, storage="sqlite")
    finish(one, claimed(one), 0.5)
    (out / "study.db").unlink()
    with pytest.raises(RecipeError, match="holds trials that the storage sqlite knows nothing of"):
        worker(path, out, storage="sqlite")


@pytest.mark.parametrize("text", ["", "[]", '{"home": 7, "storage": "journal"}', None])
def test_a_damaged_file_of_the_search_is_named(
    values: dict[str, Any], tmp_path: Path, text: str | None
) -> None:
    path, out = write(tmp_path, values), tmp_path / "out"
    worker(path, out)
    (out / "study.json").unlink()
    if text is not None:
        (out / "study.json").write_text(text)
    assert re.search(r"out/study\.json: .*damaged", refusal(path, out))


def test_a_url_is_no_folder_of_a_search(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"s3://bucket/out: is a URL, .* --on ray --store URL"):
        trivium.tune(values, "s3://bucket/out")


def test_a_recipe_that_cannot_be_trained_is_refused_before_the_folder_is_made(
    values: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    mood = values["tasks"]["mood"] | {"train": "nowhere.tsv"}
    wrong = write(tmp_path, values | {"tasks": values["tasks"] | {"mood": mood}})
    assert "nowhere.tsv" in refusal(wrong, out)
    assert "no metric 'f2'" in refusal(write(tmp_path, values, maximize="mood.f2"), out)
    assert "--trials 0" in refusal(write(tmp_path, values), out, trials=0)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("somewhere", "is neither sqlite, journal, nor the URL of a database"),
        ("postgresql+nonesuch://me:secret@host/db", "nonesuch"),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
        ("mssql+pymssql://me:secret@host/db", "pip install pymssql"),
    ],
)
def test_a_storage_that_cannot_be_had_is_explained_without_its_password(
    values: dict[str, Any], tmp_path: Path, storage: str, said: str
) -> None:
    told = refusal(write(tmp_path, values), tmp_path / "out", storage=storage)
    assert said in told
    assert "secret" not in told


def test_without_its_extra_the_command_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from trivium.cli import app\n"
        "app(['tune', 'recipe.yaml'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'trivium[tune]'" in " ".join(done.stderr.split())


# --- results -----------------------------------------------------------------------------------


def ended(values: dict[str, Any], folder: Path, **settings: Any) -> Worker:
    """A search of twelve trials: nine done, two pruned, one failed; the best is number 6."""
    one = worker(write(folder, values, trials=11, sampler="random", **settings), folder / "out")
    several = len(one.objectives) > 1
    while claim := one.claims.next():
        score = 0.9 - 0.05 * abs(claim.number - 6)
        if not several:
            claim.trial.report(score / 2, 1)
            claim.trial.report(score, 2)
        if claim.number in (3, 4) and not several:
            with claim.log:
                tell(one.claims.study, claim.trial, state=TrialState.PRUNED)
        elif claim.number == 5:
            with claim.log:
                claim.trial.set_user_attr(REASON, "exit code 2")
                tell(one.claims.study, claim.trial, state=TrialState.FAIL)
        else:
            finish(one, claim, score, *([float(claim.number)] if several else []))
    return one


def test_the_table_and_the_file_of_trials_say_it_all(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = ended(values, tmp_path)
    one.write()
    view, out = one.view(), tmp_path / "out"
    assert view.best == [6]
    text = (out / "table.md").read_text()
    for words in (
        "11 of 11 trials: 9 done, 2 pruned, 1 failed. Wanted: high overall.",
        f"Best: trial 6 with overall 0.9000; {view.in_words(view.row(6))}.",
        "- trial 5: exit code 2",
        "in part the luckiest",
        "the last score that it had",
    ):
        assert words in text
    assert "QQP" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| **6** | **done** | **0.9000** |")
    assert [line.split(" | ")[1] for line in lines[11:]] == ["pruned", "pruned", "failed"]
    rows = list(csv.DictReader(io.StringIO((out / "trials.csv").read_text())))
    assert [int(row["trial"]) for row in rows] == list(range(12))
    assert [row["state"] for row in rows[3:7]] == ["pruned", "pruned", "failed", "done"]
    assert (rows[6]["overall"], rows[6]["mood.accuracy"]) == ("0.9", "0.9")
    assert float(rows[6]["stages.0.lr.encoder"]) == view.row(6).settings["stages.0.lr.encoder"]
    assert rows[5]["reason"] == "exit code 2"
    assert rows[6]["place"].endswith(str(out))


def test_the_best_recipe_is_whole_and_rewritten_with_each_new_best(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = worker(write(tmp_path, values, trials=3), tmp_path / "out")
    best = tmp_path / "out" / "best.yaml"
    one.write()
    assert not best.exists()
    for score, wanted in ((0.4, 0), (0.3, 0), (0.5, 2)):
        claim = claimed(one)
        finish(one, claim, score)
        one.write()
        job = one.folder.job(wanted, claim.job.recipe)
        assert load_recipe(best) == load_recipe(job.path)
        assert best.read_text().startswith(f"# Trial {wanted} of ")
    assert "search" not in yaml.safe_load(best.read_text())


@pytest.mark.thorough
def test_several_objectives_leave_their_pareto_front(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = ended(values, tmp_path, minimize=["seconds"])
    one.write()
    front = sorted(path.name for path in (tmp_path / "out" / "pareto").iterdir())
    # Scores rise up to trial 6 and seconds with every trial, so that none after it is on the front.
    assert front == [f"{number:04d}.yaml" for number in (0, 1, 2, 3, 4, 6)]
    assert not (tmp_path / "out" / "best.yaml").exists()
    assert "Pareto front: trial 0, 1, 2, 3, 4, 6." in (tmp_path / "out" / "table.md").read_text()
    (tmp_path / "out" / "pareto" / "0009.yaml").write_text("")  # on the front of an hour ago
    one.write()
    assert sorted(path.name for path in (tmp_path / "out" / "pareto").iterdir()) == front


def pictures(out: Path) -> list[str]:
    found = sorted(out.glob("*.png"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in found)
    return [path.stem for path in found]


def test_pictures_are_drawn_where_there_is_something_to_see(
    values: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    one = worker(write(tmp_path, values), out)
    assert one.draw() == ["no pictures: no trial is finished"]
    finish(one, claimed(one), 0.5)
    notes = one.draw()
    assert pictures(out) == ["history"]
    assert notes == [
        "no curves.png: no trial was evaluated on its way",
        "no importance.png: it wants 10 trials that are done, and there are 1",
    ]


@pytest.mark.thorough
def test_importances_are_told_by_enough_trials_that_vary(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = ended(values, tmp_path)
    assert "there are 9" in one.draw()[0]
    one.claims.total = 14
    run_by_hand(one, lambda number: 0.01 * number)
    assert one.draw() == []
    assert pictures(tmp_path / "out") == ["curves", "history", "importance"]
    (tmp_path / "two").mkdir()
    several = ended(values, tmp_path / "two", minimize=["peak_memory"])
    assert several.draw() == ["no curves.png: with several objectives Optuna keeps no evaluations"]
    assert pictures(tmp_path / "two" / "out") == ["history", "importance", "pareto"]
    (tmp_path / "flat").mkdir()
    flat = worker(write(tmp_path / "flat", values, trials=10), tmp_path / "flat" / "out")
    run_by_hand(flat)
    assert "overall is the same in all trials" in flat.draw()[-1]
    assert plots.ENOUGH == 10


def test_short_names_are_as_long_as_they_must_be() -> None:
    assert short_names(["stages.0.lr.encoder", "stages.0.batch_size", "seed", "tasks.a.head"]) == {
        "stages.0.lr.encoder": "lr.encoder",
        "stages.0.batch_size": "batch_size",
        "seed": "seed",
        "tasks.a.head": "a.head",
    }
    paths = ["tasks.a.head.dropout", "tasks.b.head.dropout", "stages.0.steps", "stages.1.steps"]
    names = ["a.head.dropout", "b.head.dropout", "stages.0.steps", "stages.1.steps"]
    assert list(short_names(paths).values()) == names


def plain(said: StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.getvalue())


def shown(view: Overview) -> tuple[board.Board, StringIO]:
    said = StringIO()
    return board.Board(Console(file=said, force_terminal=True, width=120, height=40), view), said


def test_a_terminal_shows_the_trials_and_the_present_one(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = ended(values, tmp_path)
    one.claims.total = 20
    claim = claimed(one)
    progress = Progress(claim.job.folder, ["train"])
    table, said = shown(one.view())
    with table:
        table.begin(claim, progress, one.view())
        journal(claim.job.folder, [0.25])
        progress.look(0.0)
        claim.trial.report(0.25, 1)
        claim.job.log.write_text("train 10/40 · mood loss 1.2\n")
        table.view = one.view()
        table.look(0)
    text = plain(said)
    for words in (
        "11 of 20 trials: 9 done, 2 pruned, 1 failed, 1 running · best overall 0.9000 (trial 6)",
        "lr.encoder",
        "(0.2500)",
        "trial 12: stage train 10/40",
        "dev overall 0.2500",
        "train 10/40 · mood loss 1.2",
    ):
        assert words in text


def test_elsewhere_a_trial_is_a_line(values: dict[str, Any], tmp_path: Path) -> None:
    one = worker(write(tmp_path, values, trials=2), tmp_path / "out")
    console, said = spoken()
    with board.Board(console, one.view()) as lines:
        claim = claimed(one)
        lines.begin(claim, Progress(claim.job.folder, ["train"]), one.view())
        lines.look(0)
        finish(one, claim, 0.5)
        lines.end(claim, "done", Outcome("done", "trained", 3.0), one.view())
        claim = claimed(one)
        with claim.log:
            claim.trial.set_user_attr(REASON, "killed by SIGKILL")
            tell(one.claims.study, claim.trial, state=TrialState.FAIL)
        end = Outcome("failed", "trained", 3.0, "killed by SIGKILL", ["what it said last"])
        lines.end(claim, "failed", end, one.view())
    text = said.getvalue()
    assert "1/2 trial 0: done · overall 0.5000, best so far · lr.encoder " in text
    assert "1/2 trial 1: failed, killed by SIGKILL · lr.encoder " in text
    assert "what it said last" in text
    assert "0001.log" in text


def test_after_its_time_a_search_begins_no_trial(values: dict[str, Any], tmp_path: Path) -> None:
    console, said = spoken()
    path = write(tmp_path, values, timeout=1e-9)
    assert trivium.tune(path, tmp_path / "out", console=console)["trials"] == []
    assert "time is up; go on with: trivium tune" in said.getvalue()


def test_a_search_whose_first_trials_fail_gives_up(values: dict[str, Any], tmp_path: Path) -> None:
    space = {  # what is not the recipe's own does not go together
        "adapters": [[], *([{"kind": "lora", "rank": rank}] for rank in (1, 2, 4, 8))],
        "stages.0.trains": ["full", "bitfit", *({"kind": "top", "layers": n} for n in (1, 2))],
    }
    path, out = write(tmp_path, values, space=space, sampler="grid", trials=None), tmp_path / "out"
    result = CliRunner().invoke(app, words(path, out, "--seed", "1"), env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.split())
    assert said.count("0/20 trial ") == said.count(": failed, ") == 3
    assert "3 trials failed, one after another: stages.0.trains: " in said
    assert "but lora freezes them all" in said
    assert "Once the cause is gone, go on with: trivium tune" in said
    assert "no trial is finished" in said
    assert "- trial 2: stages.0.trains: " in (out / "table.md").read_text()


# --- whole searches ----------------------------------------------------------------------------

LONG = {"steps": 160, "evaluate_every": 40, "checkpoint_every": 4}


def words(path: Path, out: Path, *more: str) -> list[str]:
    return ["tune", str(path), "--out", str(out), *more]


def is_free(log: Path) -> bool:
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("tune")
def test_a_search_that_was_stopped_and_killed_goes_on_and_its_best_can_be_rerun(  # noqa: PLR0915
    values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    stage = values["stages"][0] | LONG
    path = write(tmp_path, values | {"stages": [stage]}, trials=2)  # pruned, one would not resume
    out = tmp_path / "out"
    first, second = (out / "trials" / number for number in ("0000", "0001"))

    def press_ctrl_c() -> None:
        wait_until(lambda: newest(first / "resume") >= 3)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    result = CliRunner().invoke(app, words(path, out), env={"COLUMNS": "200"})
    presser.join()
    assert result.exit_code == 130, result.output
    said = " ".join(result.output.split())
    assert "stopping: trial 0 saves" in said
    assert "0 of 2 trials: 1 running. Go on with: trivium tune" in said
    assert "Traceback" not in said + first.with_suffix(".log").read_text()
    recipe = first.with_suffix(".yaml").read_bytes()

    process = forks.start(*words(path, out))  # it ends the first, and is killed in the second
    wait_until(lambda: newest(second / "resume") >= 3, process)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert "trial 0: was interrupted, goes on" in errors
    drawn = second.with_suffix(".yaml").read_bytes()
    wait_until(lambda: is_free(second.with_suffix(".log")))  # its child saves and stops by itself

    console, last = spoken()
    found = trivium.tune(path, out, console=console)
    assert "trial 1: was interrupted, goes on" in last.getvalue()
    assert first.with_suffix(".yaml").read_bytes() == recipe
    assert second.with_suffix(".yaml").read_bytes() == drawn
    for trial in (first, second):
        assert trial.with_suffix(".log").read_text().count("resumed at stage train") == 1
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    assert {trial["state"] for trial in found["trials"]} == {"done"}
    best = found["trials"][found["best"][0]]
    # In a process of its own, as the trials were: as many threads, so sums in fp32 are the same.
    again = forks.start("train", str(out / "best.yaml"), "--out", str(tmp_path / "again"))
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    scores = json.loads((tmp_path / "again" / "scores.json").read_text())
    assert [scores["overall"]["dev"]["leaderboard"]] == best["values"]
    assert facts(tmp_path / "again") == facts(out / "trials" / f"{best['number']:04d}")
    for trial in found["trials"]:
        folder = out / "trials" / f"{trial['number']:04d}"
        assert (folder / "scores.json").is_file()
        assert not (folder / "resume").exists()
    (again,) = trivium.tune(path, out, console=console)["best"]  # there is nothing left to do
    assert again == best["number"]


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("tune")
def test_two_workers_share_a_search_and_a_trial_that_fails_stops_no_one(
    values: dict[str, Any], forks: Forks, tmp_path: Path
) -> None:
    settings = {
        "space": {
            "tasks.mood.train": ["mood-train.tsv", "nowhere.tsv"],
            "adapters": [[], ["lora"]],
        },
        "sampler": "one_at_a_time",
        "trials": None,
        "minimize": "parameters",
    }
    path = write(tmp_path, values, **settings)
    out = tmp_path / "out"
    process = forks.start(*words(path, out))
    wait_until(lambda: (out / "trials" / "0000.log").is_file(), process)
    console, said = spoken()
    found = trivium.tune(path, out, console=console)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(found["trials"]) == 3
    view = worker(path, out, storage="sqlite").view()
    assert len({json.dumps(row.settings) for row in view.rows}) == 3
    for row in view.rows:
        is_there = row.settings["tasks.mood.train"] == "mood-train.tsv"
        assert (row.state, row.reason) == (("done", "") if is_there else ("failed", "exit code 2"))
    everything = " ".join((said.getvalue() + errors).split())
    assert everything.count("failed, exit code 2 · ") == 1
    assert everything.count("nowhere.tsv: no such file") == 1  # the end of its log
    logs = [(out / "trials" / f"{row.number:04d}.log").read_text() for row in view.done]
    assert all(log.count("$ ") == 1 for log in logs)  # each was trained once
    scores = [
        json.loads((out / "trials" / f"{row.number:04d}" / "scores.json").read_text())
        for row in view.done
    ]
    told = [(s["overall"]["dev"]["leaderboard"], s["cost"]["trained_parameters"]) for s in scores]
    assert [row.values for row in view.done] == told
    front = [
        row.number
        for row in view.done
        if not any(
            other.values[0] >= row.values[0] and other.values[1] <= row.values[1]
            for other in view.done
            if other.values != row.values
        )
    ]
    assert sorted(view.best) == front
    assert sorted(path.stem for path in (out / "pareto").iterdir()) == [f"{n:04d}" for n in front]
