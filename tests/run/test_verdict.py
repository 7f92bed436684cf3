"""Which runs are one system, what stands against what, and what is said of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.runs import TASKS, Said, moods, split_of, write_run
from trivium.errors import RecipeError
from trivium.run.folder.finished import read_run
from trivium.run.folder.predictions import write_predictions
from trivium.run.screen.grid import MINILM
from trivium.run.verdict.systems import systems_of
from trivium.run.verdict.tables import as_json, as_markdown
from trivium.run.verdict.verdict import verdict

ROWS = 40

TRUE = [row % 2 for row in range(ROWS)]


def right(count: int) -> Said:
    """So many of 40 answers are right."""
    return moods([row < count for row in range(ROWS)], TRUE)


def near(noise: float, seed: int = 0) -> Said:
    random = np.random.default_rng(seed)
    target = [float(row % 6) for row in range(ROWS)]
    said = torch.tensor(target)[:, None] + torch.from_numpy(random.normal(size=(ROWS, 1))) * noise
    return target, said.float()


def names(of: list[Any]) -> list[tuple[str, list[str]]]:
    return [(system.name, [run.folder.name for run in system.runs]) for system in of]


# --- systems -----------------------------------------------------------------------------------


def test_runs_whose_recipes_differ_in_the_seed_only_are_one_system(tmp_path: Path) -> None:
    said = {"mood": right(30)}
    runs = [
        write_run(tmp_path / "joint-s0", said | {"near": near(1)}, seed=0),
        write_run(tmp_path / "alone", said, seed=0),
        write_run(tmp_path / "joint-s1", said | {"near": near(2)}, seed=1),
        write_run(tmp_path / "again", said, seed=5),
        write_run(tmp_path / "slow", said, seed=5, stages=[{"lr": 1e-6}]),
    ]
    systems, notes = systems_of(runs)
    assert names(systems) == [
        ("joint", ["joint-s0", "joint-s1"]),
        ("alone", ["alone", "again"]),
        ("slow", ["slow"]),
    ]
    assert [system.single for system in systems] == [None, "mood", "mood"]
    assert systems[0].seeds == [0, 1]
    assert notes == []


def test_runs_whose_labels_stand_in_another_order_are_two_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_run(tmp_path / "joint-0", {"mood": right(30)}, seed=0)
    monkeypatch.setitem(TASKS, "mood", TASKS["mood"] | {"labels": ["up", "down"]})
    for seed in (0, 1):  # of the same seed it is no run made twice
        other = write_run(tmp_path / f"other-{seed}", {"mood": right(30)}, seed=seed)
        systems, _ = systems_of([one, other])
        assert names(systems) == [("joint-0", ["joint-0"]), (f"other-{seed}", [f"other-{seed}"])]


def test_a_study_stands_for_its_finished_runs(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for name, count in (("sum", 20), ("pcgrad", 30)):
        for seed in (0, 1):
            write_run(study / name / f"seed-{seed}", {"mood": right(count)}, seed=seed)
            (study / name / f"seed-{seed}.log").touch()
    rows = [{"name": n, "runs": [{"seed": seed} for seed in (0, 1, 2)]} for n in ("pcgrad", "sum")]
    (study / "table.json").write_text(json.dumps({"recipes": rows}))
    systems, notes = systems_of([study])
    # Rows of a study stay apart, though these have the same settings.
    assert names(systems) == [("pcgrad", ["seed-0", "seed-1"]), ("sum", ["seed-0", "seed-1"])]
    assert "pcgrad/seed-2, sum/seed-2" in notes[0]
    # What a shell makes of study/*/seed-* holds logs; and a run that is named twice counts once.
    again, _ = systems_of([*sorted(study.glob("*/seed-*"), reverse=True), study])
    assert [(name, len(runs)) for name, runs in names(again)] == [("sum", 2), ("pcgrad", 2)]


def test_seeds_that_each_start_from_their_own_seeds_run_are_one_system(tmp_path: Path) -> None:
    study, said = tmp_path / "study", {"mood": right(30)}
    for seed in (0, 1, 12):
        own = str(study / "base" / f"seed-{seed}")
        teachers = {"kind": "distill", "teachers": {"mood": [f"{own}/model"]}}
        for row, more in (
            ("base", {}),
            ("tuned", {"start": own}),
            ("taught", {"stages": [{"regularizers": [teachers]}]}),
            ("fixed", {"start": str(study / "base" / "seed-12")}),
        ):
            write_run(study / row / f"seed-{seed}", said, seed=seed, **more)
    rows = ["base", "tuned", "taught", "fixed"]
    runs = [study / row / f"seed-{seed}" for row in rows for seed in (0, 1, 12)]
    systems, _ = systems_of(runs)
    assert [(system.name, system.seeds) for system in systems] == [(n, [0, 1, 12]) for n in rows]


def test_runs_that_start_from_other_runs_than_their_own_seeds_stay_apart(tmp_path: Path) -> None:
    said = {"mood": right(30)}
    runs = [
        write_run(tmp_path / f"run-{seed}", said, seed=seed, start=start)
        for seed, start in ((0, "/base/seed-0"), (1, "/base/seed-11"), (2, "/other/seed-2"))
    ]
    assert [len(system.runs) for system in systems_of(runs)[0]] == [1, 1, 1]


def test_systems_of_the_same_name_are_told_apart_by_their_place(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a" / "best", {"mood": right(30)}),
        write_run(tmp_path / "b" / "best", {"mood": right(30)}, stages=[{"lr": 1e-6}]),
    ]
    assert [system.name for system in systems_of(runs)[0]] == ["a/best", "b/best"]


def test_where_a_run_was_trained_and_its_files_lay_make_no_other_system(tmp_path: Path) -> None:
    said = {"mood": right(30)}
    runs = [
        write_run(tmp_path / "run-0", said, seed=0, data="/here", device="cpu"),
        write_run(tmp_path / "run-1", said, seed=1, data="/there"),
        write_run(tmp_path / "other", said, stages=[{"lr": 1e-6}]),
    ]
    assert names(systems_of(runs)[0]) == [("run", ["run-0", "run-1"]), ("other", ["other"])]
    notes = verdict(runs, resamples=200).notes
    assert any(
        note.startswith("run: its runs read their data in /here and in /th") for note in notes
    )


def test_a_seed_on_several_folders_of_data_is_several_systems(tmp_path: Path) -> None:
    said = {"mood": right(30)}
    runs = [
        write_run(tmp_path / name / f"{name}-{seed}", said, seed=seed, data=f"/{name}")
        for seed in (0, 1)
        for name in ("raw", "clean")
    ]
    assert names(systems_of(runs)[0]) == [
        ("raw", ["raw-0", "raw-1"]),
        ("clean", ["clean-0", "clean-1"]),
    ]


def test_a_soup_is_a_system_of_its_own(tmp_path: Path) -> None:
    said = {"mood": right(30)}
    runs = [write_run(tmp_path / f"run-{seed}", said, seed=seed) for seed in (0, 1)]
    runs.append(write_run(tmp_path / "soup", said, seed=0, more={"soup": []}))
    assert names(systems_of(runs)[0]) == [("run", ["run-0", "run-1"]), ("soup", ["soup"])]


def test_the_same_recipe_with_the_same_seed_is_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, {"mood": right(30)}) for name in "ab"]
    with pytest.raises(RecipeError, match=r"a and .*b: have the same recipe and the same seed"):
        systems_of(runs)


def test_all_folders_that_are_no_finished_runs_are_named_at_once(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", {"mood": right(30)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError) as error:
        verdict([good, tmp_path / "empty", tmp_path / "none"])
    assert str(error.value).startswith("2 of the folders cannot be compared:")
    assert f"{tmp_path / 'empty'}: is no run" in str(error.value)
    assert f"{tmp_path / 'none'}: no such folder" in str(error.value)


# --- comparisons -------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> list[Path]:
    """Two single-task models, and one for both, with two seeds each."""
    found = []
    for seed in (0, 1):
        mood, score = {"mood": right(30 + seed)}, {"near": near(2, seed)}
        half = {"parameters": 400, "seconds": 4.0, "peak_memory_bytes": 100 + seed}
        found += [
            write_run(tmp_path / f"m-{seed}", mood, seed=seed, cost=half),
            write_run(tmp_path / f"n-{seed}", score, seed=seed, cost=half | {"seconds": 8.0}),
            write_run(
                tmp_path / f"both-{seed}",
                {"mood": right(26 + seed), "near": near(0.1, seed)},
                seed=seed,
                cost={"parameters": 500, "seconds": 9.0 + 2 * seed},
            ),
        ]
    return found


def test_one_model_for_several_tasks_stands_against_single_task_models(shared: list[Path]) -> None:
    found = verdict(shared, resamples=400)
    assert [(c.system, c.baseline, c.task) for c in found.comparisons] == [
        ("both", "m", "mood"),
        ("both", "n", "near"),
        ("both", "single-task models", "overall"),
    ]
    mood, score, overall = found.comparisons
    assert mood.is_sharing
    assert (mood.before, mood.after) == pytest.approx((30.5 / 40, 26.5 / 40))
    assert mood.difference == pytest.approx(-0.1)
    assert mood.by_seed == {0: pytest.approx(-0.1), 1: pytest.approx(-0.1)}
    assert mood.low < -0.1 < mood.high
    assert score.outcome == "better"
    # A correlation r counts as (r + 1) / 2.
    assert overall.difference == pytest.approx((mood.difference + score.difference / 2) / 2)
    assert overall.low < overall.difference < overall.high
    assert [group.name for group in found.groups] == ["m", "n", "both"]
    assert found.groups[2].scores["mood"].sd == pytest.approx(2**-0.5 / 40)
    told = json.loads(as_json(found))["comparisons"]
    assert [one["sentence"] for one in told] == [one.sentence for one in found.comparisons]


def test_costs_of_single_task_models_are_added_up(shared: list[Path]) -> None:
    found = verdict(shared, resamples=200)
    assert [cost.name for cost in found.costs] == [
        "m", "n", "both", "single-task models together: mood, near",
    ]  # fmt: skip
    both, together = found.costs[2:]
    assert (both.train_seconds, both.parameters) == (10.0, 500)  # means over seeds
    assert (together.train_seconds, together.parameters, together.models) == (12.0, 800, 2)
    assert together.peak_bytes == 100  # 100.5, the largest of means
    assert both.peak_bytes is None  # its scores.json does not tell
    assert both.disk_bytes is None
    (summary,) = found.summaries
    assert (summary.parameters, summary.train_seconds) == (500 / 800, 10 / 12)
    assert summary.better == ["near"]
    assert summary.answer_seconds is None
    text = as_markdown(found)
    assert "| both | 10 | – | 500 | – |" in text
    assert "62 % of the parameters and 83 % of the training time" in text


def test_identical_systems_have_no_difference_at_all(tmp_path: Path) -> None:
    said = {"mood": right(30), "near": near(1)}
    runs = [
        write_run(tmp_path / "a", said),
        write_run(tmp_path / "b", said, stages=[{"lr": 1e-6}]),
    ]
    found = verdict(runs, resamples=200)
    assert [c.task for c in found.comparisons] == ["mood", "near", "overall"]
    for comparison in found.comparisons:
        assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
        assert (comparison.outcome, comparison.baseline) == ("same", "a")
    assert found.comparisons[0].sentence.startswith("b equals a on mood (accuracy 75.0 -> 75.0")


def test_tasks_asked_of_the_same_rows_are_drawn_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two copies of a task the mean is as uncertain as each, not less."""
    monkeypatch.setitem(TASKS, "copy", TASKS["mood"])
    runs = [
        write_run(tmp_path / "a", {"mood": right(30)}),
        write_run(tmp_path / "b", {"copy": right(30)}),
        write_run(tmp_path / "both", {"mood": right(24), "copy": right(24)}),
    ]
    mood, copy, overall = verdict(runs, resamples=400).comparisons
    assert mood.low < mood.difference
    assert (mood.low, mood.high) == (copy.low, copy.high)
    assert (overall.low, overall.high) == pytest.approx((mood.low, mood.high))


def test_the_verdict_on_the_same_runs_is_the_same(shared: list[Path]) -> None:
    first = verdict([read_run(run) for run in shared], resamples=200)
    assert first == verdict(shared, resamples=200)


def test_with_more_seeds_that_disagree_the_interval_is_wider(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "alone", {"mood": right(30)})]
    for seed, count in enumerate((20, 30, 40)):
        said = {"mood": right(count), "near": near(1)}
        runs.append(write_run(tmp_path / f"both-{seed}", said, seed=seed))
    one = verdict([runs[0], runs[2]], resamples=1000).comparisons[0]
    three = verdict(runs, resamples=1000).comparisons[0]
    assert (one.low, one.high) == (0, 0)  # the same answers
    assert three.difference == pytest.approx(0)
    assert three.low < -0.1 < 0.1 < three.high
    assert three.seeds == (3, 1)


def test_the_first_single_task_model_is_the_baseline_and_that_is_said(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "both", {"mood": right(30), "near": near(1)}),
        write_run(tmp_path / "one", {"mood": right(20)}),
        write_run(tmp_path / "two", {"mood": right(40)}, stages=[{"lr": 1e-6}]),
    ]
    found = verdict(runs, resamples=200)
    assert [(c.system, c.baseline, c.is_sharing) for c in found.comparisons] == [
        ("both", "one", True),
        ("two", "one", False),
    ]
    assert any("the first that was given, one, is the baseline" in note for note in found.notes)
    assert any(note.startswith("One seed only: both, one, two") for note in found.notes)


def as_ensemble(folder: Path) -> Path:
    (folder / "ensemble.json").touch()
    return folder


def test_an_ensemble_is_the_baseline_only_where_there_is_no_other(tmp_path: Path) -> None:
    runs = [
        as_ensemble(write_run(tmp_path / "moods", {"mood": right(36)})),
        as_ensemble(write_run(tmp_path / "all", {"mood": right(36), "near": near(1)})),
        write_run(tmp_path / "both", {"mood": right(30), "near": near(1)}),
    ]
    found = verdict(runs, resamples=200)
    # Of mood's single-task systems an ensemble is the only one; of near's two it comes last.
    assert [(c.system, c.baseline, c.task) for c in found.comparisons] == [
        ("all", "moods", "mood"),
        ("all", "both", "near"),
        ("both", "moods", "mood"),
    ]
    # What several models lose together, no sharing has cost.
    assert not any(c.is_sharing for c in found.comparisons)
    assert "both lost 15.0 points on mood over moods" in found.comparisons[2].sentence


def test_an_auxiliary_task_is_neither_compared_nor_makes_a_model_a_shared_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "help", TASKS["mood"] | {"auxiliary": True})
    helped = {"mood": right(30), "help": right(20)}
    runs = [
        write_run(tmp_path / "helped", helped),
        write_run(tmp_path / "both", {"mood": right(30), "near": near(1)}),
    ]
    assert systems_of(runs)[0][0].single == "mood"
    assert [c.baseline for c in verdict(runs, resamples=200).comparisons] == ["helped"]


def test_other_rows_are_refused_with_how_many_are_the_same(tmp_path: Path) -> None:
    alone = write_run(tmp_path / "alone", {"mood": right(30)})
    moved = write_run(tmp_path / "moved", {"mood": right(30), "near": near(1)}, first=10)
    with pytest.raises(RecipeError) as error:
        verdict([alone, moved])
    said = str(error.value)
    assert f"task 'mood': {alone} and {moved}: " in said
    assert "of their 40 and 40 dev rows 30 are in common" in said
    assert "Train both with the same `dev` file" in said
    other = moods([1] * ROWS, [1 - label for label in TRUE])
    relabelled = write_run(tmp_path / "relabelled", {"mood": other, "near": near(1)})
    with pytest.raises(RecipeError, match="0 are in common, 40 if labels are left aside"):
        verdict([alone, relabelled])


@pytest.mark.parametrize(
    ("metric", "turned", "said"),
    [
        ("f1", "yx", "are judged by f1 of 'y' and of 'x'"),
        ("macro_f1", "yx", None),
        ("one_off", "yxz", "are judged by one_off of x < y < z and of y < x < z"),
        ("one_off", "zyx", None),
    ],
)
def test_a_metric_that_hangs_on_the_labels_order_is_compared_in_one_order_only(
    metric: str, turned: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"kind": "ordinal"} if metric == "one_off" else {}
    runs = []
    for labels in (sorted(turned), list(turned)):
        task = TASKS["mood"] | {"labels": labels, "metric": metric} | kind
        monkeypatch.setitem(TASKS, "mood", task)
        answers = [labels.index(name) for name in "xyyxyxxy"]
        targets = [labels.index(name) for name in "xyxyxyxy"]
        folder = tmp_path / "".join(labels)
        runs.append(write_run(folder, {"mood": (targets, torch.eye(len(labels))[answers])}))
    if said:
        with pytest.raises(RecipeError, match=said):
            verdict(runs, resamples=100)
        return
    (comparison,) = verdict(runs, resamples=100).comparisons
    assert (comparison.outcome, comparison.differing) == ("same", 0)


def test_answers_on_test_are_compared_on_demand(tmp_path: Path) -> None:
    def judged(name: str, right: Sequence[int], lr: float) -> Path:
        run = write_run(tmp_path / name, {"mood": moods([1] * 8, TRUE[:8])}, stages=[{"lr": lr}])
        task = read_run(run).recipe.tasks["mood"]
        targets, readout_BK = moods(right, TRUE[:8])
        split = replace(split_of(task, targets), name="test")
        write_predictions(run / "predictions" / "mood-test.csv", task, readout_BK, split)
        return run

    half, most = judged("half", [1, 0] * 4, 1e-6), judged("most", [1] * 7 + [0], 1e-5)
    with pytest.raises(RecipeError, match="--split 'train'"):
        verdict([half, most], split="train", resamples=100)
    found = verdict([half, most], split="test", resamples=100)
    (comparison,) = [c for c in found.comparisons if c.task == "mood"]
    assert (found.split, comparison.before, comparison.after) == ("test", 0.5, 7 / 8)
    on_dev = verdict([half, most], resamples=100)
    assert {c.difference for c in on_dev.comparisons} == {0}


def probed(dev: float, test: float | None) -> dict[str, Any]:
    scores = {"dev": {"accuracy": dev, "rows": 8}}
    scores |= {} if test is None else {"test": {"accuracy": test, "rows": 8}}
    probe = {"scores": scores, "rows": 8, "of_rows": 8, "features": 4, "penalty": 0.1}
    told = {"metric": "accuracy", "answer": "up", "majority": scores, "probe": probe}
    return {"baselines": {"mood": told}}


@pytest.mark.parametrize("test", [0.65, 0.95, None])
def test_probes_are_told_of_the_rows_that_are_compared(test: float | None, tmp_path: Path) -> None:
    runs = []
    for name, lr in (("a", 1e-6), ("b", 1e-5)):
        run = write_run(
            tmp_path / name, {"mood": right(30)}, stages=[{"lr": lr}], more=probed(0.85, test)
        )
        runs.append(run)
        dev = run / "predictions" / "mood-dev.csv"
        dev.with_name("mood-test.csv").write_bytes(dev.read_bytes())
        told = json.loads((run / "scores.json").read_text())
        told["tasks"]["mood"]["test"] = told["tasks"]["mood"]["dev"]
        (run / "scores.json").write_text(json.dumps(told))
    on_dev, on_test = (verdict(runs, split=split, resamples=100).notes for split in ("dev", "test"))
    assert any("0.7500 is below the 0.8500" in n or "0.7500 is no better" in n for n in on_dev)
    assert any("has mood accuracy 0.8500 (0.8500)" in note for note in on_dev)
    assert not any("0.8500" in note for note in on_test)
    shown = [note for note in on_test if "has mood accuracy" in note]
    assert [f"has mood accuracy {test:.4f}" in note for note in shown] == [True] * 2 * (
        test is not None
    )
    low = [note for note in on_test if "of a linear probe on the encoder" in note]
    assert len(low) == (2 if test == 0.95 else 0)
    assert not any("--set" in note for note in low)  # nothing is chosen by test rows


def test_a_run_whose_answers_are_gone_is_refused(shared: list[Path]) -> None:
    (shared[2] / "predictions" / "mood-dev.csv").unlink()
    with pytest.raises(RecipeError, match=r"both-0: task 'mood': its answers .* are gone"):
        verdict(shared)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    mood = write_run(tmp_path / "mood", {"mood": right(30)})
    score = write_run(tmp_path / "near", {"near": near(1)})
    with pytest.raises(RecipeError, match=r"no task is answered on dev by two .*mood: mood; near:"):
        verdict([mood, score])
    with pytest.raises(RecipeError, match="is a single system"):
        verdict([mood])
    with pytest.raises(RecipeError, match="name the folders of two or more"):
        verdict([])
    with pytest.raises(RecipeError, match="--resamples 5"):
        verdict([mood, score], resamples=5)


def test_scores_of_the_packaged_encoder_carry_its_note(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", {"mood": right(30)}, encoder="minilm"),
        write_run(tmp_path / "b", {"mood": right(30)}),
    ]
    notes = verdict(runs, resamples=200).notes
    assert MINILM in notes
    assert any("b has the encoder none, its baseline minilm" in note for note in notes)
