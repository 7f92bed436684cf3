"""Where heads start from a linear probe, the model before the first step may be what is kept."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.deaths import dies_in_step
from tests.support.facts import facts
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.apps.report import curves
from trivium.apps.report.runs import open_runs
from trivium.model.weights import read_tensors
from trivium.recipe import Stage, parse_recipe
from trivium.recipe.probed import judges_start
from trivium.run.folder.below import below_probe
from trivium.run.folder.journal import read_journal
from trivium.run.folder.scores import read_scores
from trivium.run.jobs.follow import Progress
from trivium.run.training import in_time, judge
from trivium.run.training.pace import Pace
from trivium.run.training.state import Counters

Values = dict[str, Any]

WORSE: Values = {"steps": 3, "evaluate_every": 1, "lr": {"encoder": 0.5, "heads": 5.0}}
"""Rates at which nothing is learned but that everything was wrong."""
RATES = {"encoder": 3e-3, "heads": 5e-2}
BETTER: Values = {"steps": 12, "evaluate_every": 4, "lr": RATES}


def from_probe(tiny: Path, folder: Path, *stages: Values, also: tuple[str, ...] = ()) -> Values:
    """A recipe whose task `mood` starts from its probe, beside the tasks `also`."""
    values = make_recipe(tiny, folder)
    values["tasks"] = {name: values["tasks"][name] for name in ("mood", *also)}
    # Judged where it was fitted, so that the probe is not at chance.
    values["tasks"]["mood"] |= {"dev": "mood-train.tsv"}
    values["tasks"]["mood"]["head"] = {"kind": "linear", "start": "probe"}
    return values | {"stages": [{"batch_size": 8, **stage} for stage in stages]}


def train(values: Values, folder: Path, **more: Any) -> str:
    """What was said on the way."""
    console = Console(file=StringIO(), width=200)
    trivium.train(values, folder, console=console, **more)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def judged(folder: Path) -> list[tuple[str, int, bool]]:
    """Stage and step of every evaluation, and whether it was kept."""
    events = [event for event in read_journal(folder) if event["event"] == "evaluation"]
    return [(event["stage"], event["step"], event["kept"]) for event in events]


@pytest.fixture(scope="module")
def worse(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Values, Path, str]:
    """A recipe whose training makes its probe worse, its run, and what that said."""
    home = tmp_path_factory.mktemp("worse")
    values = from_probe(tiny, home, WORSE)
    return values, home / "run", train(values, home / "run")


def test_a_training_that_makes_its_probe_worse_ends_as_the_probe(
    worse: tuple[Values, Path, str],
) -> None:
    values, run, said = worse
    scores = read_scores(run)
    assert judged(run)[0] == ("train", 0, True)
    assert scores.selected is not None
    assert (scores.selected.stage, scores.selected.step) == ("train", 0)
    assert scores.of("mood", "dev") == scores.baselines["mood"].probe.scores["dev"]
    # It was worth something: the last step's model is below.
    last = [event for event in read_journal(run) if event["event"] == "evaluation"][-1]
    assert last["scores"]["mood"]["dev"]["accuracy"] < scores.of("mood", "dev")["accuracy"]
    assert below_probe(parse_recipe(values), scores) == []
    assert "step 0 dev: mood accuracy" in said


def test_a_training_that_gets_better_keeps_what_it_learned(tiny: Path, tmp_path: Path) -> None:
    longer = {"steps": 80, "evaluate_every": 20}  # long enough whatever masks dropout draws
    train(from_probe(tiny, tmp_path, BETTER | longer), tmp_path / "run")
    scores = read_scores(tmp_path / "run")
    assert scores.selected is not None
    assert scores.selected.step in (20, 40, 60, 80)
    probe = scores.baselines["mood"].probe.scores["dev"]["accuracy"]
    assert scores.of("mood", "dev")["accuracy"] > probe


def test_steps_are_those_of_a_training_whose_start_was_not_judged(
    worse: tuple[Values, Path, str], tmp_path: Path
) -> None:
    values, run, _ = worse
    unasked = {**values, "stages": [{**values["stages"][0], "select": "last"}]}
    train(unasked, tmp_path / "run")
    assert [place for _, place, _ in judged(tmp_path / "run")] == [1, 2, 3]

    def steps(folder: Path) -> list[Values]:
        return [event for event in read_journal(folder) if event["event"] == "step"]

    assert steps(tmp_path / "run") == steps(run)


@pytest.mark.thorough
def test_the_start_counts_where_patience_is_lost(tiny: Path, tmp_path: Path) -> None:
    said = train(from_probe(tiny, tmp_path, WORSE | {"patience": 2}), tmp_path / "run")
    assert [place for _, place, _ in judged(tmp_path / "run")] == [0, 1, 2]
    assert "no better model in 2 evaluations: stage ends" in said


def test_a_run_that_died_resumes_to_the_byte(
    worse: tuple[Values, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, whole, _ = worse
    values = {**values, "stages": [{**values["stages"][0], "checkpoint_every": 1}]}
    with dies_in_step(2):
        train(values, tmp_path / "run")
    assert "resumed at stage train, step 1" in train(values, tmp_path / "run", resume=True)
    assert facts(tmp_path / "run") == facts(whole)


@pytest.mark.thorough
def test_of_several_stages_the_first_that_trains_has_a_start_to_keep(
    tiny: Path, tmp_path: Path
) -> None:
    names = ("probe", "first", "second")
    stages: list[Values] = [{"steps": 0}, WORSE | {"steps": 1}, WORSE | {"steps": 1}]
    named = [{"name": name, **stage} for name, stage in zip(names, stages, strict=True)]
    train(from_probe(tiny, tmp_path, *named), tmp_path / "run")
    assert [(stage, place) for stage, place, _ in judged(tmp_path / "run")] == [
        ("probe", 0), ("first", 0), ("first", 1), ("second", 1),
    ]  # fmt: skip


# --- where it is judged -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "is_judged"),
    [
        ({}, True),
        ({"select": "any"}, True),
        ({"select": "mood"}, True),
        ({"select": "near"}, False),
        ({"select": "last"}, False),
        ({"tasks": ["near"]}, False),
        ({"steps": 0}, False),
    ],
    ids=str,
)
def test_a_start_is_judged_where_what_chooses_begins_as_a_probe(
    tiny: Path, tmp_path: Path, stage: Values, is_judged: bool
) -> None:
    recipe = parse_recipe(from_probe(tiny, tmp_path, stage, also=("near",)))
    assert judges_start(recipe, recipe.stages[0]) == is_judged


def test_no_start_is_judged_where_heads_are_drawn_or_nothing_judges_the_probe(
    tiny: Path, tmp_path: Path
) -> None:
    values = from_probe(tiny, tmp_path, BETTER, also=("near",))
    without = values["tasks"]["mood"] | {"dev": None}
    unjudged = parse_recipe(values | {"tasks": values["tasks"] | {"mood": without}})
    assert not judges_start(unjudged, unjudged.stages[0])
    del values["tasks"]["mood"]["head"]
    drawn = parse_recipe(values)
    assert not judges_start(drawn, drawn.stages[0])
    train(values, tmp_path / "run")
    assert [place for _, place, _ in judged(tmp_path / "run")] == [4, 8, 12]


def test_a_stage_with_floors_goes_back_to_the_model_before_it_as_ever(
    tiny: Path, tmp_path: Path
) -> None:
    floors = BETTER | {"name": "then", "guard": 0.9, "select": "overall"}
    recipe = parse_recipe(from_probe(tiny, tmp_path, {"steps": 0}, floors))
    assert [judges_start(recipe, stage) for stage in recipe.stages] == [False, False]


# --- heads that are drawn, and fall back on their probe -----------------------------------------


def falling_back(values: Values) -> Values:
    """The recipe with a drawn head, and the probe to fall back on."""
    mood = {key: value for key, value in values["tasks"]["mood"].items() if key != "head"}
    return values | {"fallback": "probe", "tasks": values["tasks"] | {"mood": mood}}


def test_a_drawn_head_whose_training_makes_things_worse_ends_as_the_probe(
    tiny: Path, tmp_path: Path
) -> None:
    values = falling_back(from_probe(tiny, tmp_path, WORSE))
    said = train(values, tmp_path / "run")
    scores = read_scores(tmp_path / "run")
    assert judged(tmp_path / "run")[0] == ("train", 0, True)
    assert scores.of("mood", "dev") == scores.baselines["mood"].probe.scores["dev"]
    assert "also the start, with a probe for mood" in said
    assert "no step was better on dev (overall) than the start" in said
    assert "with a linear probe for mood. Start its head from the probe" in said
    answers = trivium.load(tmp_path / "run").predict("mood", ["good", "bad"])
    assert len(answers) == 2  # it is a model like any other


@pytest.mark.parametrize(
    "pair", some_of([False, True], lambda pair: not pair), ids=["text", "pair"]
)
def test_falling_back_changes_no_step_and_no_model_that_is_better(
    tiny: Path, tmp_path: Path, pair: bool
) -> None:
    values = falling_back(from_probe(tiny, tmp_path, BETTER | {"steps": 80, "evaluate_every": 20}))
    if pair:
        mood = values["tasks"]["mood"]
        values["tasks"] = {"mood": mood | {"text": ["text", "text"], "encode": "separate"}}
    train(values, tmp_path / "run")
    train(values | {"fallback": None}, tmp_path / "without")
    assert [place for _, place, _ in judged(tmp_path / "run")] == [0, 20, 40, 60, 80]
    with_, without = facts(tmp_path / "run"), facts(tmp_path / "without")
    assert read_scores(tmp_path / "run").selected == read_scores(tmp_path / "without").selected
    assert (with_["encoder"], with_["heads"]) == (without["encoder"], without["heads"])


def test_a_trained_model_that_is_as_good_as_its_fallback_is_preferred() -> None:
    stage, counters = Stage(), Counters()
    values = {"overall": 0.75, "mood": 0.75}
    assert judge.weigh(stage, counters, values, broken=False, fallback=True)
    assert not judge.weigh(stage, counters, {"overall": 0.7}, broken=False, fallback=False)
    assert judge.weigh(stage, counters, values, broken=False, fallback=False)
    assert not judge.weigh(stage, counters, values, broken=False, fallback=False)
    assert counters.waited == 1


@pytest.mark.thorough
def test_patience_is_lost_as_without_a_fallback(tiny: Path, tmp_path: Path) -> None:
    """A drawn head that begins below the probe, and gets better, is waited for."""
    rates = {"encoder": 1e-2, "heads": 1e-2}
    late: Values = {"steps": 120, "evaluate_every": 10, "patience": 2, "lr": rates}
    values = falling_back(from_probe(tiny, tmp_path, late))
    train(values, tmp_path / "run")
    train(values | {"fallback": None}, tmp_path / "without")
    with_, without = judged(tmp_path / "run"), judged(tmp_path / "without")
    assert [place for _, place, _ in with_] == [0, *(place for _, place, _ in without)]
    below = [place for (_, place, kept), (_, _, alone) in zip(with_[1:], without, strict=True)
             if alone and not kept]  # fmt: skip
    assert below, "some step was better than those before it, and below the probe"


def test_a_head_that_only_a_later_stage_trains_is_as_it_was_drawn(
    tiny: Path, tmp_path: Path
) -> None:
    first = WORSE | {"name": "first", "tasks": ["mood"]}
    then: Values = {"name": "then", "tasks": ["same"], "steps": 1, "lr": 0.0, "select": "last"}
    values = falling_back(from_probe(tiny, tmp_path, first, then, also=("same",)))
    train(values, tmp_path / "run")
    train(values | {"fallback": None}, tmp_path / "without")
    assert judged(tmp_path / "run")[0] == ("first", 0, True)
    heads, drawn = (
        read_tensors(tmp_path / name / "model" / "heads.safetensors") for name in ("run", "without")
    )
    own = [name for name in heads if name.startswith("same")]
    assert own
    assert all(torch.equal(heads[name], drawn[name]) for name in own)


def test_a_fallback_is_advised_only_where_it_would_have_a_say(tiny: Path, tmp_path: Path) -> None:
    values = falling_back(from_probe(tiny, tmp_path, WORSE)) | {"fallback": None}
    assert "fallback=probe" in train(values, tmp_path / "run")
    last = {**values, "stages": [{**values["stages"][0], "select": "last"}]}
    assert "fallback=probe" not in train(last, tmp_path / "last")


def test_heads_that_learned_nothing_are_named_beside_the_probes(tiny: Path, tmp_path: Path) -> None:
    chosen = WORSE | {"select": "mood"}
    said = train(from_probe(tiny, tmp_path, chosen, also=("near",)), tmp_path / "run")
    assert "a linear probe for mood (and for near heads that learned nothing)." in said


def test_a_run_that_fell_back_resumes_to_the_byte(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = falling_back(from_probe(tiny, tmp_path, WORSE | {"checkpoint_every": 1}))
    train(values, tmp_path / "whole")
    with dies_in_step(3):
        train(values, tmp_path / "run")
    train(values, tmp_path / "run", resume=True)
    assert facts(tmp_path / "run") == facts(tmp_path / "whole")


def test_without_a_head_that_could_be_a_probe_there_is_nothing_to_fall_back_on(
    tiny: Path, tmp_path: Path
) -> None:
    values = falling_back(from_probe(tiny, tmp_path, BETTER, also=("near",)))
    del values["tasks"]["mood"]
    recipe = parse_recipe(values)
    assert not judges_start(recipe, recipe.stages[0])
    assert "`fallback` has no say here" in train(values, tmp_path / "run")
    assert [place for _, place, _ in judged(tmp_path / "run")] == [4, 8, 12]


# --- who hears of it ----------------------------------------------------------------------------


def test_a_preview_tells_of_the_start_and_counts_the_time_it_takes(
    tiny: Path, tmp_path: Path
) -> None:
    console = Console(file=StringIO(), width=200)
    trivium.check(from_probe(tiny, tmp_path, BETTER), console, time=True)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    assert "keeps the model by: overall, also the start, with a probe for mood" in said
    assert "12 steps of" in said
    assert "4 evaluations of" in said  # three, and the start


def test_a_report_marks_a_kept_start(worse: tuple[Values, Path, str]) -> None:
    (run,) = open_runs([worse[1]])
    assert run.story.kept == 0
    line, star = curves._dev_traces(run, "mood", "accuracy")
    assert line["x"] == [0, 1, 2, 3]
    assert (star["x"], star["y"]) == ([0], line["y"][:1])


def test_a_report_joins_no_line_to_a_fallback_which_is_another_model(
    tiny: Path, tmp_path: Path
) -> None:
    train(falling_back(from_probe(tiny, tmp_path, WORSE)), tmp_path / "run")
    (run,) = open_runs([tmp_path / "run"])
    line, star = curves._dev_traces(run, "mood", "accuracy")
    assert line["x"] == [1, 2, 3]
    accuracy = read_scores(tmp_path / "run").of("mood", "dev")["accuracy"]
    assert (star["x"], star["y"]) == ([0], [pytest.approx(accuracy, abs=1e-4)])


def test_who_prunes_trials_by_the_number_of_evaluations_does_not_count_a_start(
    worse: tuple[Values, Path, str],
) -> None:
    progress = Progress(worse[1], ["train"])
    progress.look(0.0)
    assert [event["step"] for event in progress.evaluations] == [1, 2, 3]


def test_time_that_is_short_leaves_some_for_the_start(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_time, "paces", lambda *_: [Pace(step_s=1.0, judge_s=300.0)])
    values = from_probe(tiny, tmp_path, BETTER | {"steps": 2, "evaluate_every": 2})
    with pytest.raises(trivium.RecipeError, match="give more minutes"):
        train(values, tmp_path / "run", minutes=10)  # 600 s: two evaluations, and no step


# --- from a model that was trained before ------------------------------------------------------
@pytest.fixture(scope="module")
def before(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Values, Path]:
    """A recipe that has learned something, and its run."""
    home = tmp_path_factory.mktemp("before")
    values = make_recipe(tiny, home)
    # Judged by what it is trained on, so that it has something to lose.
    values["tasks"]["near"] |= {"dev": values["tasks"]["near"]["train"]}
    stage = {"batch_size": 8, "steps": 60, "evaluate_every": 20, "lr": RATES}
    values |= {"stages": [stage], "probe": False}
    train(values, home / "run")
    return values, home / "run"


def after(before: tuple[Values, Path], stage: Values, **more: Any) -> Values:
    """What goes on from there: adapters for `near` alone, while what others read is frozen."""
    values, run = before
    sides = [{"kind": "houlsby", "size": 4, "zero_start": True, "freeze_base": True,
              "tasks": ["near"]}]  # fmt: skip
    stages = [{"batch_size": 8, "tasks": ["near"], **stage}]
    return {**values, "start": str(run), "adapters": sides, "stages": stages, **more}


def test_adapters_that_learn_nothing_good_leave_the_model_that_was_started_from(
    before: tuple[Values, Path], tmp_path: Path
) -> None:
    values = after(before, {**WORSE, "lr": {"heads": 5.0}}, fallback="start")
    said = train(values, tmp_path / "run")
    was, now = read_scores(before[1]), read_scores(tmp_path / "run")
    assert now.selected is not None
    assert (now.selected.stage, now.selected.step) == ("train", 0)
    assert judged(tmp_path / "run")[0] == ("train", 0, True)
    for name in was.tasks:
        assert now.of(name, "dev") == pytest.approx(was.of(name, "dev"), abs=1e-6)
    assert f"What is kept is the model as it began, from {before[1]}:" in " ".join(said.split())
    unasked = train(after(before, {**WORSE, "lr": {"heads": 5.0}}), tmp_path / "unasked")
    assert "as it began" not in unasked
    lost = read_scores(tmp_path / "unasked").metric("near", "dev", "pearson")
    kept = was.metric("near", "dev", "pearson")
    assert lost is not None
    assert kept is not None
    assert lost < kept


def test_adapters_that_learn_something_are_kept(
    before: tuple[Values, Path], tmp_path: Path
) -> None:
    stage = {"steps": 60, "evaluate_every": 20, "lr": {"heads": 1e-2}}
    values = after(before, stage, fallback="start")
    values["tasks"] = {
        **values["tasks"],
        "near": {**values["tasks"]["near"], "dev": "near-train.tsv"},
    }
    train(values, tmp_path / "run")
    scores = read_scores(tmp_path / "run")
    assert scores.selected is not None
    assert scores.selected.step in (20, 40, 60)
    (first, *_) = [e for e in read_journal(tmp_path / "run") if e["event"] == "evaluation"]
    assert first["step"] == 0
    assert scores.of("near", "dev")["pearson"] > first["scores"]["near"]["dev"]["pearson"]


def test_a_mean_over_some_tasks_is_not_drawn_beside_one_over_all(
    before: tuple[Values, Path], tmp_path: Path
) -> None:
    train(after(before, BETTER), tmp_path / "alone")
    runs = open_runs([before[1], tmp_path / "alone"])
    overall, *others = curves.time(runs).panels
    assert overall.title == "Overall"
    assert overall.note.endswith(curves.LEFT_OUT)
    assert overall.figure is not None
    assert [trace["name"] for trace in overall.figure.traces] == [runs[0].name]
    (near,) = (panel.figure for panel in others if panel.title == "near")
    assert near is not None
    assert [trace["name"] for trace in near.traces] == [run.name for run in runs]
    (panel, *_) = curves.time(runs[:1]).panels
    assert curves.LEFT_OUT not in panel.note


def test_where_nothing_was_trained_before_there_is_no_start_to_fall_back_on(
    tiny: Path, tmp_path: Path
) -> None:
    values = make_recipe(tiny, tmp_path) | {"fallback": "start"}
    (stage,) = parse_recipe(values).stages
    assert not judges_start(parse_recipe(values), stage)
    console = Console(file=StringIO(), width=200)
    trivium.check(values, console=console)
    assert isinstance(console.file, StringIO)
    assert "`fallback` has no say here" in console.file.getvalue()
