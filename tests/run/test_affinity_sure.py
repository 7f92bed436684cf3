"""How sure a suggestion of `trivium affinity` is, and recipes of every shape."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trivium
from tests.support.shell import call
from tests.support.tables import make_recipe
from trivium.run.folder.affinity import Affinity, read_affinity, write_affinity
from trivium.run.lookahead.conclude import conclude
from trivium.run.lookahead.follow import Look, Seen
from trivium.run.lookahead.grouping import onto, shares, value
from trivium.run.lookahead.intervals import bounds, resampled_means, student
from trivium.run.lookahead.told import how_sure, print_affinity, told_apart

FRIENDS = [[1.0, 0.5, 0.3], [0.5, 1.0, 0.3], [0.3, 0.3, 1.0]]
APART = [[1.0, 0.5, -0.9], [0.5, 1.0, -0.9], [0.3, 0.3, 1.0]]


def concluded(*gains: Any, encoders: int | None = None) -> Affinity:
    """Of look-aheads, each given as a matrix."""
    found = [np.asarray(gain, dtype=np.float64) for gain in gains]
    tasks = [f"t{place}" for place in range(len(found[0]))]
    return conclude(Seen(tasks, found, 400, 0, stopped=False), Look(), encoders)


def around(gain: Any, count: int, noise: float = 0.05) -> list[Any]:
    draw = np.random.default_rng(0)
    return [np.asarray(gain) + draw.normal(0, noise, np.shape(gain)) for _ in range(count)]


def shown(affinity: Affinity, width: int, *, terminal: bool = True) -> str:
    said = StringIO()
    console = Console(file=said, width=width, force_terminal=terminal, color_system=None)
    print_affinity(affinity, console)
    return said.getvalue()


# --- intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 12, 40])
def test_student_s_quantiles_are_scipy_s(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for share in (0.6, 0.975, 0.9972, 0.9999):
        assert student(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)


@pytest.mark.parametrize("count", [2, 4, 6, 12, 40])
def test_intervals_of_noise_leave_0_out_no_more_often_than_they_say(count: int) -> None:
    gain_MTT = np.random.default_rng(count).normal(size=(count, 40, 40))
    low_TT, high_TT = bounds(gain_MTT.mean(0), resampled_means(gain_MTT, 500), count)
    share = float(((low_TT > 0) | (high_TT < 0)).mean())
    assert share < 0.065  # 1,600 of them: 0.05 and three standard errors


@pytest.mark.thorough
def test_noise_alone_seldom_takes_tasks_apart() -> None:
    seen = [concluded(*np.random.default_rng(seed).normal(size=(40, 9, 9))) for seed in range(8)]
    assert [len(found.groups) for found in seen] == [1] * 8


# --- how sure ----------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [[[0, 1, 2, 3]], [[0, 2], [1, 3]], [[0], [1, 2, 3]]])
def test_shares_make_the_gain_of_every_task_and_their_sum(groups: list[list[int]]) -> None:
    gain_TT = np.random.default_rng(3).normal(size=(4, 4))
    onto_T = (shares(groups) * gain_TT).sum(0)
    for group in groups:
        for task in group:
            assert onto_T[task] == pytest.approx(onto(gain_TT, group, task))
    assert onto_T.sum() == pytest.approx(value(gain_TT, groups))


def test_a_grouping_s_gain_has_an_interval_with_its_mean_in_it() -> None:
    alike = concluded(*[FRIENDS] * 6)
    for each in alike.groupings:
        assert each.low == pytest.approx(each.gain)
        assert each.high == pytest.approx(each.gain)
    noisy = concluded(*around(FRIENDS, 40, noise=0.5))
    one = noisy.groupings[0]
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.gain < one.high
    # The sum over three tasks of means of two others: six gains, each by a half.
    expected = 2 * 2.18 * (6 * 0.25 * 0.5**2 / 40) ** 0.5  # t of 12 degrees: 13 blocks
    assert one.high - one.low == pytest.approx(expected, rel=0.3)


def test_halves_that_agree_are_said_to_and_what_chance_would_do() -> None:
    found = concluded(*around(APART, 40))
    assert found.groups == [["t0", "t1"], ["t2"]]
    assert found.halves == [found.groups] * 2
    assert how_sure(found) == (
        "of 6 gains of one task from another 6 can be told from 0 (by chance alone 0.3 would); "
        "either half of the look-aheads suggests the same"
    )


def test_a_suggestion_that_hangs_on_when_one_looks_says_so() -> None:
    found = concluded(*around(FRIENDS, 20), *around(APART, 20))
    assert found.halves == [[["t0", "t1", "t2"]], [["t0", "t1"], ["t2"]]]
    said = how_sure(found)
    assert "the first half of the look-aheads suggests all tasks on one encoder, " in said or (
        "the first half of the look-aheads suggests the same, the second half t0, t1 | t2" in said
    )
    assert said.endswith("with more --steps it may be another one")


def test_noise_alone_is_told_from_nothing() -> None:
    found = concluded(*around(np.zeros((9, 9)), 40))
    assert len(told_apart(found)) < 20  # of 72, of which 4 would by chance
    assert "(by chance alone 3.6 would)" in how_sure(found)


def test_where_nothing_can_be_told_one_encoder_is_no_finding() -> None:
    found = concluded(*np.random.default_rng(5).normal(size=(8, 2, 2)))
    assert (told_apart(found), found.groups) == ([], [["t0", "t1"]])
    assert how_sure(found).endswith("one encoder but that nothing speaks against it")


def test_a_limit_holds_for_the_halves_too() -> None:
    found = concluded(*around(APART, 40), encoders=1)
    assert found.halves == [[["t0", "t1", "t2"]]] * 2


def test_too_few_look_aheads_are_not_halved() -> None:
    found = concluded(FRIENDS, FRIENDS, APART)
    assert found.halves == []
    assert "too few to be held against one another" in how_sure(found)


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    found = concluded(*around(APART, 8))
    bare = found.model_dump(exclude={"halves": True, "groupings": {"__all__": {"low", "high"}}})
    write_affinity(tmp_path, Affinity.model_validate(bare))
    read = read_affinity(tmp_path)
    assert read is not None
    assert read.groups == found.groups
    assert "too few" in how_sure(read)
    assert "suggested" in shown(read, 100)


def test_a_file_with_numbers_that_are_not_finite_is_said_to_be_damaged(tmp_path: Path) -> None:
    write_affinity(tmp_path, concluded(*around(APART, 8)))
    path = tmp_path / "affinity.json"
    values = json.loads(path.read_text("utf-8"))
    values["gain"][0][1] = float("nan")
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(trivium.RecipeError, match=r"affinity\.json: gain\.0\.1: .*finite") as error:
        read_affinity(tmp_path)
    assert "trivium affinity" in str(error.value)


# --- on a screen -------------------------------------------------------------------------------


def test_a_screen_that_is_too_narrow_for_all_pairs_shows_those_that_can_be_told_apart() -> None:
    gain = np.zeros((10, 10))
    gain[2, 7], gain[4, 1] = -0.9, 0.4
    found = concluded(*around(gain, 40))
    narrow, wide = shown(found, 80), shown(found, 400)
    assert "affinity.json has all" in narrow
    rows = [line.split() for line in narrow.splitlines() if " to " in line]
    assert [[row[1], row[3]] for row in rows[:2]] == [["t2", "t7"], ["t4", "t1"]]
    assert [round(float(row[5]), -1) for row in rows[:2]] == [-90, 40]
    assert all(len(line) <= 80 for line in narrow.splitlines() if line.startswith("│"))
    assert "affinity.json has all" not in wide
    assert "affinity.json has all" not in shown(found, 80, terminal=False)
    for said in (narrow, wide):
        assert "how sure" in said


# --- recipes of every shape --------------------------------------------------------------------


def test_tasks_with_pals_and_without_dev_rows_are_measured(tiny: Path, tmp_path: Path) -> None:
    recipe = make_recipe(tiny, tmp_path)
    for task in recipe["tasks"].values():
        task.pop("dev")
    recipe["adapters"] = [{"kind": "pals", "size": 8, "heads": 2}]
    recipe["stages"] = [{"steps": 8, "batch_size": 8, "lr": 1e-3}]
    said = StringIO()
    found = trivium.affinity(
        recipe, tmp_path / "out", steps=8, every=2, console=Console(file=said, width=200)
    )
    assert found["tasks"] == ["mood", "same", "near"]
    assert np.isfinite(found["gain"]).all()
    assert (np.diag(found["gain"]) > 0).all()  # a step for a task helps it
    assert len(found["halves"]) == 2
    assert "how sure: of 6 gains" in said.getvalue()


def test_tasks_that_share_nothing_that_learns_have_nothing_to_compare(
    tiny: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny, tmp_path)
    recipe["adapters"] = [{"kind": "pals", "size": 8, "heads": 2}]
    recipe["stages"] = [{"steps": 4, "trains": "frozen"}]
    with pytest.raises(trivium.RecipeError, match="trains several tasks on an encoder that learns"):
        trivium.affinity(recipe, tmp_path / "out", steps=4, every=2)


def test_a_training_with_too_few_look_aheads_is_refused_before_it_begins(
    tiny: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny, tmp_path)
    recipe["stages"] = [{"steps": 500, "batch_size": 8, "lr": 1e-3}]
    said = StringIO()
    with pytest.raises(trivium.RecipeError, match="1 look-aheads, but an interval needs 2"):
        trivium.affinity(recipe, tmp_path / "out", every=300, console=Console(file=said))
    assert said.getvalue() == ""  # no step was told of
    assert not (tmp_path / "out").exists()


def test_help_says_how_many_look_aheads_to_take_and_what_is_said_of_them() -> None:
    code, said = call("affinity", "--help")
    words = " ".join(said.split())
    assert code == 0
    assert "40 look-aheads or more" in words
    assert "how sure" in words
