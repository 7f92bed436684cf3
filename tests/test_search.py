"""A search is refused at the door: where it is wrong by itself, and where its recipe refuses it."""

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.recipe import dump_recipe, load_recipe, load_recipe_file, parse_recipe
from trivium.recipe.change import change_recipe
from trivium.recipe.dumping import dump_file
from trivium.recipe.parse import parse_file
from trivium.recipe.plain_yaml import read_yaml
from trivium.recipe.search import Choice, Range, Search, label
from trivium.recipe.space import points_of, search_in_words, search_of, trials_of
from trivium.run.folder.objectives import Objective, check_metrics, objectives_of
from trivium.run.folder.scores import Cost, Scores
from trivium.run.rows.load import load_data

RATE = {"stages.0.lr.encoder": {"low": 1e-5, "high": 2e-4, "log": True}}


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


def write(tmp_path: Path, values: dict[str, Any], search: Any) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values | {"search": search}, sort_keys=False))
    return path


def refusal(tmp_path: Path, values: dict[str, Any], search: Any) -> str:
    """What is said of the search, without the file's name, which stands in each line."""
    path = write(tmp_path, values, search)
    with pytest.raises(RecipeError) as error:
        search_of(load_recipe_file(path), path)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}: search") for line in lines)
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


WRONG: dict[str, tuple[Any, str]] = {
    "no space": ({"trials": 3}, "search.space: is missing"),
    "an empty space": ({"space": {}}, "search.space: should have 1 or more"),
    "an unknown key": ({"space": RATE, "trails": 3}, "search.trails: no such setting"),
    "a single value": ({"space": {"seed": 3}}, "search.space.seed: is a list of values or a table"),
    "a list of one": ({"space": {"seed": [1]}}, "search.space.seed: a choice needs two"),
    "a value twice": ({"space": {"seed": [1, 2, 1]}}, "search.space.seed: 1 stands twice"),
    "no high": ({"space": {"seed": {"low": 1}}}, "search.space.seed.high: is missing"),
    "text for a number": ({"space": {"seed": {"low": "1", "high": 2}}}, "search.space.seed.low: "),
    "a step that is lost in its numbers": (
        {"space": {"tasks.mood.weight": {"low": 0.1, "high": 1e10, "step": 7e-33}}},
        "search.space.tasks.mood.weight: high 10000000000.0 ends no step",
    ),
    "whole numbers beyond all": (
        {"space": {"seed": {"low": 1, "high": 10**400}}},
        "search.space.seed.high: input should be less than or equal to 1000000000000000",
    ),
    "low above high": (
        {"space": {"seed": {"low": 3, "high": 3}}},
        "search.space.seed: low 3 is not below high 3",
    ),
    "log from zero": (
        {"space": {"stages.0.lr.encoder": {"low": 0.0, "high": 1e-4, "log": True}}},
        "search.space.stages.0.lr.encoder: log: needs low above 0, found 0.0",
    ),
    "log with steps": (
        {"space": {"seed": {"low": 1, "high": 9, "log": True, "step": 2}}},
        "search.space.seed: log and step exclude each other",
    ),
    "a step that misses high": (
        {"space": {"tasks.mood.weight": {"low": 0.1, "high": 0.5, "step": 0.3}}},
        "search.space.tasks.mood.weight: high 0.5 ends no step; the last one is 0.4",
    ),
    "a step of zero": (
        {"space": {"seed": {"low": 1, "high": 9, "step": 0}}},
        "search.space.seed: step: must be above 0",
    ),
    "a part of another": (
        {"space": {"stages.0.lr": [1e-4, 1e-3], **RATE}},
        "stages.0.lr.encoder is a part of stages.0.lr",
    ),
    "itself": ({"space": {"search.trials": [1, 2]}}, "search.trials: a search does not change"),
    "an unknown sampler": ({"space": RATE, "sampler": "tpee"}, "search.sampler: no such kind"),
    "an unknown pruner": ({"space": RATE, "pruner": "mean"}, "search.pruner: no such kind 'mean'"),
    "no trials": ({"space": RATE, "trials": 0}, "search.trials: input should be greater"),
    "no time": ({"space": RATE, "timeout": 0}, "search.timeout: input should be greater"),
    "no objective": ({"space": RATE, "maximize": []}, "there is nothing to be after"),
    "an objective twice": ({"space": RATE, "maximize": ["mood", "mood"]}, "'mood' stands twice"),
    "an unknown cost": ({"space": RATE, "minimize": "watts"}, "search.minimize.0: "),
    "an unknown score": (
        {"space": RATE, "maximize": "moood"},
        "search.maximize.0: no objective 'moood'; did you mean 'mood'?",
    ),
    "pruning by several": (
        {"space": RATE, "minimize": "seconds", "pruner": "median"},
        "pruner: median compares trials by one score, but there are several objectives",
    ),
    "pruning by a cost": (
        {"space": RATE, "maximize": [], "minimize": "seconds", "pruner": "hyperband"},
        "pruner: hyperband compares dev scores, but none is an objective",
    ),
    "an unknown path": (
        {"space": {"stages.0.lr.encodre": [1e-4, 1e-3]}},
        "search.space.stages.0.lr.encodre: 0.0001 is refused: stages.0.lr.encodre: no such "
        "setting; did you mean 'encoder'?",
    ),
    "a stage that is not there": (
        {"space": {"stages.3.steps": [4, 8]}},
        "search.space.stages.3.steps: 4 is refused: stages.3.steps: '3' is not one of 0…0",
    ),
    "a value out of bounds": (
        {"space": {"stages.0.batch_size": [8, 0]}},
        "search.space.stages.0.batch_size: 0 is refused: stages.0.batch_size: must be at least 1",
    ),
    "a high that is out of bounds": (
        {"space": {"tasks.mood.weight": {"low": -0.5, "high": 2.0}}},
        "search.space.tasks.mood.weight: -0.5 is refused",
    ),
    "fractions of a whole number": (
        {"space": {"seed": {"low": 0.0, "high": 4.0}}},
        "is refused: seed: should be a whole number",
    ),
    "a setting of a head that is not chosen": (
        {"space": {"tasks.mood.head.dropout": [0.1, 0.2]}},
        "search.space.tasks.mood.head.dropout: 0.1 is refused: tasks.mood.head: says no `kind`",
    ),
    "a grid without an end": (
        {"space": RATE, "sampler": "grid"},
        "search.space.stages.0.lr.encoder: grid tries every value, and these are too many",
    ),
    "a grid too large": (
        {"space": {"seed": {"low": 0, "high": 999}, "stages.0.epochs": {"low": 1, "high": 20}},
         "sampler": "grid"},
        "search.sampler: a grid of 20,000 points",
    ),
    "one at a time from nowhere": (
        {"space": {"tasks.mood.head.kind": ["linear", "mlp"]}, "sampler": "one_at_a_time"},
        "search.space.tasks.mood.head.kind: one_at_a_time starts from the recipe's own value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_search_is_refused_by_its_path(
    values: dict[str, Any], tmp_path: Path, name: str
) -> None:
    search, said = WRONG[name]
    assert said in refusal(tmp_path, values, search)


def test_every_problem_has_a_line_and_each_reason_only_one(
    values: dict[str, Any], tmp_path: Path
) -> None:
    space = {"stages.0.stepz": {"low": 1, "high": 9}, "tasks.mood.weight": [1, -1, -2, "much"]}
    said = refusal(tmp_path, values, {"space": space, "maximize": ["near", "far"]}).splitlines()
    places = [line.split(": ")[0] for line in said]
    assert places == [
        "search.maximize.1",
        "search.space.stages.0.stepz",  # alike for all of its nine values
        *["search.space.tasks.mood.weight"] * 3,
    ]


def test_a_task_without_dev_rows_is_no_objective(values: dict[str, Any], tmp_path: Path) -> None:
    values["tasks"]["mood"]["dev"] = None
    assert "overall: 'mood' has no `dev`" in refusal(tmp_path, values, {"space": RATE})
    said = refusal(tmp_path, values, {"space": RATE, "maximize": "mood.macro_f1"})
    assert "'mood.macro_f1' has no `dev` file" in said


def test_without_a_search_its_form_is_shown(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(RecipeError, match="search: is missing; it says what to try, such as"):
        search_of(load_recipe_file(path), path)


def test_a_metric_is_known_by_the_data(values: dict[str, Any]) -> None:
    search = {"space": RATE, "maximize": ["mood.macro_f1", "near.spearman", "same"]}
    recipe = parse_recipe(values)
    objectives = objectives_of(recipe, Search.model_validate(search))
    assert [(o.task, o.metric) for o in objectives] == [
        ("mood", "macro_f1"),
        ("near", "spearman"),
        ("same", "accuracy"),
    ]
    found, data = load_data(recipe)
    check_metrics(objectives, found, data, Path("r.yaml"))
    wrong = [Objective("near.spearmann", "near", "spearmann")]
    with pytest.raises(RecipeError, match="no metric 'spearmann'; did you mean 'spearman'"):
        check_metrics(wrong, found, data, Path("r.yaml"))


def test_objectives_are_read_from_scores_and_journal() -> None:
    dev = {"mood": {"dev": {"accuracy": 0.5, "macro_f1": 0.25}}}
    scores = Scores(
        tasks=dev,
        overall={"dev": {"leaderboard": 0.75, "mean": 0.5}},
        cost=Cost(seconds=9.5, trained_parameters=1234, peak_memory_bytes=2**31),
    )
    told = {
        Objective("overall"): (0.75, "0.7500"),
        Objective("mood", "mood", "accuracy"): (0.5, "0.5000"),
        Objective("mood.f1", "mood", "f1"): (None, ""),
        Objective("seconds"): (9.5, "9.5"),
        Objective("parameters"): (1234.0, "1,234"),
        Objective("peak_memory"): (2.0**31, "2.00"),
    }
    for objective, (value, shown) in told.items():
        assert objective.final(scores) == value
        assert value is None or objective.shown(value) == shown
    event = {"scores": dev, "overall": 0.625}
    assert Objective("overall").now(event) == 0.625
    assert Objective("mood.macro_f1", "mood", "macro_f1").now(event) == 0.25
    assert Objective("near", "near", "pearson").now(event) is None
    assert Objective("overall").final(Scores(tasks={})) is None
    astray = {"dev": {"leaderboard": math.nan, "mean": math.nan}}
    assert Objective("overall").final(Scores(tasks={}, overall=astray)) is None


# --- values ------------------------------------------------------------------------------------


@given(
    low=st.integers(-50, 50),
    count=st.integers(1, 60),
    step=st.sampled_from([0.1, 0.05, 0.25, 0.3, 1e-5, 1.0]),
)
def test_steps_are_the_numbers_as_they_are_written(low: int, count: int, step: float) -> None:
    start = float(f"{low * step:.5f}")
    end = float(f"{(low + count) * step:.5f}")
    setting = Range(low=start, high=end, step=step)
    assert setting.values == [float(f"{(low + k) * step:.5f}") for k in range(count + 1)]


def test_a_range_of_very_many_steps_has_no_list_of_values() -> None:
    assert Range(low=0.0, high=1.0, step=1e-33).values is None
    assert Range(low=1e-15, high=1e15, log=True).probes[2] == pytest.approx(1)


def test_whole_ends_mean_whole_numbers() -> None:
    assert Range(low=0, high=4).values == [0, 1, 2, 3, 4]
    assert Range(low=0, high=4, step=2).values == [0, 2, 4]
    assert Range(low=1, high=8, log=True).values == list(range(1, 9))
    assert Range(low=0.0, high=4).values is None
    assert Range(low=0, high=1, step=0.5).values == [0.0, 0.5, 1.0]
    assert all(isinstance(value, int) for value in Range(low=0, high=4).values or [])


def test_labels_tell_apart_what_yaml_does() -> None:
    different = [1, 1.0, True, "1", "true", None, "null", [1], ["1"], {"a": 1}, "", "sum", 1e-5]
    assert len({label(value) for value in different}) == len(different)
    assert label({"b": 1, "a": 2}) == label({"a": 2, "b": 1})
    assert label("round_robin") == "round_robin"
    with pytest.raises(ValueError, match="stands twice"):
        Choice(values=({"b": 1, "a": 2}, {"a": 2, "b": 1}))


def test_a_search_survives_its_file(values: dict[str, Any], tmp_path: Path) -> None:
    search = {
        "space": {**RATE, "adapters": [[], ["lora"], [{"kind": "lora", "rank": 2}]]},
        "sampler": {"kind": "tpe", "startup_trials": 4},
        "pruner": "hyperband",
        "trials": 7,
    }
    file = parse_file(values | {"search": search})
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_file(file))
    assert parse_file(read_yaml(path)) == file
    assert parse_file(file.table()) == file
    assert list(read_yaml(path)) == [*yaml.safe_load(dump_recipe(file.recipe)), "search"]


def test_values_go_where_set_would_put_them_and_find_every_setting_written_out(
    values: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, values, {"space": RATE})
    recipe = load_recipe(path)
    point = {"stages.0.lr.encoder": 1e-4, "stages.0.sampler": "joint", "adapters": ["lora"]}
    changed = change_recipe(recipe, point, path)
    by_set = [
        "stages.0.lr={encoder: 1e-4, heads: 1e-3}",
        "stages.0.sampler=joint",
        "adapters=[lora]",
    ]
    assert changed == load_recipe(path, by_set)
    assert json.loads(json.dumps(load_recipe_file(path).table()))["search"]["space"]


def test_folders_among_the_values_start_at_the_recipe(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "other").symlink_to(values["data"])
    path = write(tmp_path, values, {"space": {"data": ["data", "other"]}})
    file = load_recipe_file(path)
    search_of(file, path)
    changed = change_recipe(file.recipe, {"data": "other"}, path)
    assert changed.data == str((tmp_path / "other").resolve())


# --- lists of points ---------------------------------------------------------------------------


def points(values: dict[str, Any], tmp_path: Path, search: dict[str, Any]) -> list[dict[str, Any]]:
    path = write(tmp_path, values, search)
    file = load_recipe_file(path)
    found = search_of(file, path)
    listed = points_of(file.recipe, found, path)
    assert trials_of(found, listed) == len(listed)
    return listed


def test_a_grid_is_every_combination_once(values: dict[str, Any], tmp_path: Path) -> None:
    space = {"seed": {"low": 0, "high": 2}, "stages.0.sampler": ["joint", "sqrt"]}
    listed = points(values, tmp_path, {"space": space, "sampler": "grid"})
    pairs = [(point["seed"], point["stages.0.sampler"]) for point in listed]
    assert sorted(pairs) == [(s, n) for s in (0, 1, 2) for n in ("joint", "sqrt")]


def test_one_at_a_time_starts_from_the_recipe_and_changes_one_thing(
    values: dict[str, Any], tmp_path: Path
) -> None:
    space = {"seed": [0, 5], "stages.0.batch_size": [4, 8, 16], "stages.0.lr": [1e-3, 1e-4]}
    listed = points(values, tmp_path, {"space": space, "sampler": "one_at_a_time"})
    # The recipe's own values: its rate is told in the search's words, a number for all.
    own = {"seed": 0, "stages.0.batch_size": 8, "stages.0.lr": 1e-3}
    assert listed == [
        own,
        own | {"seed": 5},
        own | {"stages.0.batch_size": 4},
        own | {"stages.0.batch_size": 16},
        own | {"stages.0.lr": 1e-4},
    ]


def test_trials_are_no_more_than_there_are_points() -> None:
    search = Search.model_validate({"space": RATE})
    assert trials_of(search, []) == 30
    assert trials_of(search.model_copy(update={"trials": 7}), []) == 7
    assert trials_of(search.model_copy(update={"trials": 7}), [{"a": 1}, {"a": 2}]) == 2
    assert trials_of(search.model_copy(update={"trials": 1}), [{"a": 1}, {"a": 2}]) == 1


# --- beside the search -------------------------------------------------------------------------


def test_check_tells_of_a_search_and_a_run_has_none(values: dict[str, Any], tmp_path: Path) -> None:
    search = {"space": RATE, "maximize": "mood", "minimize": "seconds", "trials": 5}
    path = write(tmp_path, values | {"stages": [{"steps": 1}]}, search)
    said = StringIO()
    console = Console(file=said, width=200)
    trivium.check(path, console)
    words = search_in_words(load_recipe(path), Search.model_validate(search), path)
    assert words == (
        "high mood and low seconds in 5 trials by tpe: stages.0.lr.encoder 1e-05 to 0.0002, log"
    )
    assert words in said.getvalue()
    trivium.train(path, tmp_path / "run", console=console)
    assert "search" not in yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    spoilt = write(tmp_path, values, search | {"maximize": "mood.f2"})
    with pytest.raises(RecipeError, match="no metric 'f2'"):
        trivium.check(spoilt, console)
