"""What one pass over the same texts saves: which texts, who is asked, and what is told of it."""

from pathlib import Path

import pytest
import torch
import yaml

import trivium
from tests.support.runs import MOOD, TASKS, Said, moods, write_run
from tests.support.tables import make_recipe
from trivium.recipe import load_recipe
from trivium.run.train import train
from trivium.run.verdict.answering import Timing
from trivium.run.verdict.systems import System, systems_of
from trivium.run.verdict.together import SameTexts, same_texts

SAID: dict[str, Said] = {
    "mood": moods([1] * 6, [0, 1] * 3),
    "tone": moods([1] * 4, [0, 1] * 2),
    "near": ([1.0, 2.0, 3.0], torch.zeros(3, 1)),
}


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[System]:
    monkeypatch.setitem(TASKS, "tone", MOOD)
    runs = [write_run(tmp_path / name, {name: SAID[name]}) for name in ("mood", "tone", "near")]
    runs.append(write_run(tmp_path / "all", SAID))
    return systems_of(runs)[0]


def test_texts_are_those_of_all_tasks_that_read_equally_many_each_once(
    systems: list[System],
) -> None:
    found = same_texts(systems)
    assert found.tasks == ("mood", "tone")
    # Both tasks' rows have the same six texts, of which one has but four.
    assert found.texts == tuple((f"text {row}",) for row in range(6))
    assert found.asked(systems[0], 2) == {"mood": [("text 0",), ("text 1",)]}
    assert list(found.asked(systems[3], 2)) == ["mood", "tone"]
    assert found.asked(systems[2], 2) == {}


def test_nothing_is_asked_together_where_no_two_tasks_read_equally_many_texts(
    tmp_path: Path,
) -> None:
    said = {name: SAID[name] for name in ("mood", "near")}
    runs = [
        write_run(tmp_path / "both", said),
        write_run(tmp_path / "mood", {"mood": said["mood"]}),
    ]
    assert same_texts(systems_of(runs)[0]) == SameTexts()


def test_single_task_models_take_turns_over_the_same_texts(systems: list[System]) -> None:
    mood, tone, near, shared = systems
    same = same_texts(systems)
    seconds = {"mood": [1.0, 2.0, 9.0], "tone": [1.0, 3.0, 1.0], "all": [2.0, 2.5, 1.0]}
    timing = Timing(3, {}, {}, same, 5, seconds)
    timed = timing.timed(shared, [mood, tone, near])
    assert timed is not None
    assert (timed.tasks, timed.texts) == (("mood", "tone"), 5)
    assert (timed.seconds, timed.seconds_apart) == (2.0, 5.0)
    assert timing.timed(shared, [mood, near]) is None  # one of the tasks has no model of its own
    assert Timing(3, {}, {}, same, 5, {"all": [1.0]}).timed(shared, [mood, tone]) is None


def test_models_that_were_trained_are_timed_on_the_same_texts(tiny: Path, tmp_path: Path) -> None:
    values = make_recipe(tiny, tmp_path)
    values["stages"] = [{"steps": 2, "batch_size": 8, "lr": 1e-3}]
    for name, tasks in {"near": ["near"], "same": ["same"], "both": ["near", "same"]}.items():
        path = tmp_path / f"{name}.yaml"
        chosen = values | {"tasks": {task: values["tasks"][task] for task in tasks}}
        path.write_text(yaml.safe_dump(chosen))
        train(load_recipe(path), tmp_path / "runs" / name)
    runs = [tmp_path / "runs" / name for name in ("near", "same", "both")]
    found = trivium.compare(runs, resamples=100, out=tmp_path / "verdict.md")
    (saved,) = found.one_pass
    assert saved.asked == ["near", "same"]
    assert saved.ms is not None
    assert saved.ms_apart is not None
    assert saved.ms > 0
    texts = same_texts(systems_of(runs)[0]).texts
    assert saved.texts == min(found.costs[0].timed_rows or 0, len(texts))
    assert saved.disk_bytes is not None
    assert saved.disk_bytes < (saved.disk_bytes_apart or 0)
    assert "asked about the same texts in one pass" in (tmp_path / "verdict.md").read_text()
