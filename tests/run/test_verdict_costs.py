"""Costs are set against each other only where they are those of the same work."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.support.runs import COST, Said, moods, write_run
from trivium.run.verdict.answering import Timing
from trivium.run.verdict.costs import cost_of, costs_of
from trivium.run.verdict.systems import systems_of
from trivium.run.verdict.verdict import verdict

TRUE = [row % 2 for row in range(20)]

SAID: dict[str, Said] = {
    "mood": moods([row < 15 for row in range(20)], TRUE),
    "near": ([float(row % 6) for row in range(20)], torch.arange(20.0)[:, None] / 4),
    "tags": ([(row % 3,) for row in range(20)], torch.eye(3)[[row % 2 for row in range(20)]]),
}


def run(folder: Path, tasks: Sequence[str], more: Any = None, **environment: Any) -> Path:
    write_run(folder, {task: SAID[task] for task in tasks}, more=more, stages=[{"lr": 1e-6}])
    if environment:
        (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def test_shares_are_told_where_a_single_system_is_for_the_same_tasks(tmp_path: Path) -> None:
    one = run(tmp_path / "one", ["mood", "near"])
    said = {name: SAID[name] for name in ("near", "mood")}
    two = write_run(tmp_path / "two", said, cost=COST | {"seconds": 5.0})
    (summary,) = verdict([one, two], resamples=100).summaries
    assert (summary.parameters, summary.train_seconds) == (1, 0.5)


def test_runs_that_had_unequal_shares_of_the_processor_are_named(tmp_path: Path) -> None:
    def busy(name: str, cores: float) -> Path:
        cost = COST | {"cpu_seconds": 10 * cores}
        return write_run(tmp_path / name, SAID, cost=cost, stages=[{"lr": cores}])

    free, alike, beside = busy("a", 1.9), busy("bb", 1.2), busy("ccc", 1.1)
    word = "unequal numbers of cores busy"
    assert not any(word in note for note in verdict([free, alike], resamples=100).notes)
    (note,) = [n for n in verdict([free, beside], resamples=100).notes if word in n]
    assert "1.1 to 1.9" in note or "a 1.9; ccc 1.1" in note


def test_of_a_run_that_goes_on_from_another_the_seconds_are_said_to_be_of_its_own_stages(
    tmp_path: Path,
) -> None:
    plain = run(tmp_path / "plain", ["mood", "near"])
    said = {name: SAID[name] for name in ("mood", "near")}
    after = write_run(tmp_path / "after", said, start="runs/plain")
    teach = {"kind": "distill", "teachers": "runs/plain"}
    taught = write_run(tmp_path / "taught", said, stages=[{"regularizers": [teach]}])
    word = "seconds of training are of their own stages"
    (note,) = [n for n in verdict([plain, after, taught], resamples=100).notes if word in n]
    assert note.startswith("after, taught: ")
    other = write_run(tmp_path / "other", said, stages=[{"lr": 1e-5}])
    assert not any(word in n for n in verdict([plain, other], resamples=100).notes)


def test_no_shares_are_told_where_what_is_replaced_does_more_or_the_same_twice(
    tmp_path: Path,
) -> None:
    single = run(tmp_path / "single", ["mood"])
    some = run(tmp_path / "some", ["near", "tags"])
    every = run(tmp_path / "every", ["mood", "near", "tags"])
    (mixed,) = verdict([single, some, every], resamples=100).summaries
    assert mixed.baselines == ["single", "some"]
    assert (mixed.parameters, mixed.train_seconds) == (None, None)
    assert "%" not in mixed.sentence
    (smaller,) = verdict([every, some], resamples=100).summaries
    assert (smaller.baselines, smaller.parameters) == (["every"], None)


def test_the_same_single_task_models_are_added_up_once(tmp_path: Path) -> None:
    singles = [run(tmp_path / name, [name]) for name in ("mood", "near")]
    joint = run(tmp_path / "joint", ["mood", "near"])
    turned = write_run(tmp_path / "turned", {name: SAID[name] for name in ("near", "mood")})
    found = verdict([*singles, joint, turned], resamples=100)
    assert [cost.name for cost in found.costs[4:]] == ["single-task models together: mood, near"]
    assert [summary.parameters for summary in found.summaries] == [0.5, 0.5]


def test_rows_a_second_are_those_that_were_answered(tmp_path: Path) -> None:
    joint = run(tmp_path / "joint", ["mood", "near", "tags"])
    scores = json.loads((joint / "scores.json").read_text())
    del scores["tasks"]["tags"]  # it had no dev rows
    (joint / "scores.json").write_text(json.dumps(scores))
    (joint / "predictions" / "tags-dev.csv").unlink()
    singles = [run(tmp_path / name, [name]) for name in ("mood", "near")]
    systems, _ = systems_of([joint, *singles])
    timing = Timing(10, {"joint": [2.0], "mood": [2.0], "near": [3.0]}, {})
    whole, *_ = costs_of(systems, {}, timing)
    assert (whole.rows_per_s, whole.tasks) == (10.0, ["mood", "near", "tags"])
    assert cost_of(systems[1:], timing).rows_per_s == 4.0


def test_seconds_of_different_machines_are_neither_divided_nor_added(tmp_path: Path) -> None:
    here = {"cpu": "here", "threads": 2, "gpu": None}
    bf16, fp32 = {"precision": "bf16"}, {"precision": "fp32"}
    mood = run(tmp_path / "mood", ["mood"], bf16, **here)
    near = run(tmp_path / "near", ["near"], bf16, **here)

    def against(name: str, more: Any, **environment: Any) -> Any:
        both = run(tmp_path / name, ["mood", "near"], more, **environment)
        return verdict([mood, near, both], resamples=100)

    alike = against("alike", bf16, **here)
    assert alike.summaries[0].train_seconds == 0.5
    assert alike.costs[-1].train_seconds == 20
    assert not any(note.startswith("Machine,") for note in alike.notes)
    others = {
        "cpu": (bf16, here | {"cpu": "there"}),
        "threads": (bf16, here | {"threads": 4}),
        "gpu": (bf16, here | {"gpu": "card"}),
        "precision": (fp32, here),
    }
    for name, (more, environment) in others.items():
        found = against(name, more, **environment)
        (summary,) = found.summaries
        assert (summary.parameters, summary.train_seconds) == (0.5, None), name
        assert "training time" not in summary.sentence
        (note,) = [note for note in found.notes if note.startswith("Machine,")]
        assert f"mood, near (here, 2 threads, bf16); {name} (" in note
        assert found.costs[-1].train_seconds == 20  # the single-task models' own are alike

    far = run(tmp_path / "far", ["near"], bf16, cpu="there", threads=2)
    both = tmp_path / "alike"
    together = verdict([mood, far, both], resamples=100).costs[-1]
    assert (together.train_seconds, together.peak_bytes, together.parameters) == (None, None, 2000)


def test_a_card_that_a_run_did_not_use_makes_no_difference(tmp_path: Path) -> None:
    runs = [run(tmp_path / "mood", ["mood"], cpu="here")]
    runs.append(
        write_run(tmp_path / "both", {"mood": SAID["mood"], "near": SAID["near"]}, device="cpu")
    )
    (runs[1] / "environment.json").write_text('{"cpu": "here", "gpu": "card"}')
    assert not any(note.startswith("Machine,") for note in verdict(runs, resamples=100).notes)
