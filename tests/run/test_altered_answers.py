"""Answers that were altered after the run are refused: cells that contradict one another, and
scores that are not those of scores.json."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.support.runs import TASKS, Said, moods, write_run
from trivium.errors import RecipeError
from trivium.run.folder.finished import read_run


def refusal(run: Path, task: str) -> str:
    with pytest.raises(RecipeError) as error:
        read_run(run).answers(task)
    return str(error.value)


def altered(run: Path, task: str, old: str, new: str) -> str:
    """What is said of the run after this change of its file of answers."""
    path = run / "predictions" / f"{task}-dev.csv"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return refusal(run, task).removeprefix(str(path))


def test_a_label_that_its_probabilities_contradict_is_refused_with_its_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"mood": moods([1, 1, 1], [0, 1, 1])})
    said = altered(run, "mood", "3,text 1,up,up,", "3,text 1,up,down,")
    assert said.startswith(":3: answers 'down', whose probability is 0.25, but 'up' has 0.75")
    assert "was altered" in said


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("3,text 1,x,x,", '3,text 1,x,"x,y",', "answers 'y', whose probability of 0.2 is below"),
        ("3,text 1,x,x,", "3,text 1,x,,", "does not answer 'x', whose probability of 0.8 is not"),
    ],
)
def test_of_several_labels_each_must_agree_with_its_probability(
    old: str, new: str, wrong: str, tmp_path: Path
) -> None:
    readout_BK = torch.tensor([[0.8, 0.2, 0.2]] * 2)
    run = write_run(tmp_path / "run", {"tags": ([(0,)] * 2, readout_BK)})
    said = altered(run, "tags", old, new)
    assert said.startswith(f":3: {wrong}")
    assert "the threshold of 0.5" in said


def test_a_score_that_is_not_the_clipped_raw_one_is_refused_with_its_line(tmp_path: Path) -> None:
    said: Said = ([1.0, 2.0, 3.0], torch.tensor([[1.5], [2.5], [7.25]]))
    run = write_run(tmp_path / "run", {"near": said})
    assert read_run(run).answers("near") is not None  # 7.25 is 5 where answers end at 5
    told = altered(run, "near", "2.0,2.5,2.5", "2.0,2.0,2.5")
    assert told.startswith(":3: answers 2, but the score before it was clipped is 2.5")


def test_what_differs_by_the_rounding_of_printed_digits_is_taken(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"mood": moods([1, 1, 1], [0, 1, 1])})
    path = run / "predictions" / "mood-dev.csv"
    path.write_text(path.read_text().replace("0.25,0.75", "0.5,0.499999"))
    answers = read_run(run).answers("mood")
    assert answers is not None
    assert answers.readout_BK.argmax(dim=1).tolist() == [0, 1, 1]
    path.write_text(path.read_text().replace("0.5,0.499999", "0.50001,0.49999"))
    assert "answers 'up', whose probability is 0.49999" in refusal(run, "mood")


def test_a_label_that_was_altered_makes_another_score_than_the_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"mood": moods([1, 1, 0, 1], [0, 1, 1, 1])})
    said = altered(run, "mood", "3,text 1,up,up", "3,text 1,down,up")
    assert re.match(r": its accuracy is 0\.5, but scores\.json tells of 0\.75\. ", said)
    assert "was altered" in said


def test_probabilities_altered_with_their_label_make_another_score(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"mood": moods([1, 1, 0, 1], [0, 1, 1, 1])})
    said = altered(run, "mood", "3,text 1,up,up,0.75,0.25,0.75", "3,text 1,up,down,0.75,0.75,0.25")
    assert "its accuracy is 0.5, but scores.json tells of 0.75" in said


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_score_that_was_altered_with_its_raw_one_makes_another_correlation(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "near", TASKS["near"] | {"metric": metric})
    said: Said = ([1.0, 2.0, 3.0], torch.tensor([[1.5], [2.5], [3.5]]))
    run = write_run(tmp_path / "run", {"near": said})
    told = altered(run, "near", "2.0,2.5,2.5", "2.0,4.5,4.5")
    assert f"its {metric} is 0." in told
    assert "but scores.json tells of 1" in told


def test_scores_without_the_main_one_are_compared_no_further(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"mood": moods([1, 0], [0, 1])})
    told = json.loads((run / "scores.json").read_text())
    del told["tasks"]["mood"]["dev"]["accuracy"]
    (run / "scores.json").write_text(json.dumps(told))
    assert read_run(run).answers("mood") is not None


@pytest.mark.parametrize("kind", ["accuracy", "spearman"])
def test_ranks_that_printing_ties_are_no_alteration(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probabilities that differ behind the sixth decimal rank the rows before they are printed."""
    ordinal = TASKS["mood"] | {"kind": "ordinal", "metric": kind, "labels": ["1", "2", "3"]}
    monkeypatch.setitem(TASKS, "grade", ordinal)
    shift_B = torch.tensor([[0.0], [1e-7], [2e-7], [3e-7]])
    readout_BK = torch.tensor([[0.2, 0.3, 0.5]]) + shift_B * torch.tensor([[-1.0, 0, 1]])
    run = write_run(tmp_path / "run", {"grade": ([0, 1, 2, 2], readout_BK)})
    assert read_run(run).answers("grade") is not None
    said = altered(run, "grade", "5,text 3,3,3", "5,text 3,1,3")
    assert "its accuracy is 0.25, but scores.json tells of 0.5" in said
