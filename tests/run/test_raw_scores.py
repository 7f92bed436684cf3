"""Correlations are of scores as the model has them; only what is answered is clipped."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

import trivium
from tests.support.runs import NEAR, split_of, write_run
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.answering.says import Score, probabilities
from trivium.apps.serve.sayings import scored
from trivium.parts.tasks import Regression
from trivium.recipe import parse_recipe
from trivium.run.compare import compare
from trivium.run.folder.finished import read_run
from trivium.run.folder.panels import Panel
from trivium.run.folder.predictions import read_answers, write_predictions
from trivium.run.predictor.ensemble import combine
from trivium.run.predictor.trained import load_trained

TASK = Regression(**NEAR)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


RAW_BK = torch.tensor([[0.0], [5.0], [10.0]])
TRUE = [0.0, 2.5, 5.0]


def test_what_lies_beyond_the_range_counts_in_a_correlation_by_hand() -> None:
    """0, 5, 10 against 0, 2.5, 5 is a line, r = 1. Clipped to 0, 5, 5, with deviations -10/3, 5/3,
    5/3 against -5/2, 0, 5/2, r would be (25/3 + 25/6) / (sqrt(50/3) sqrt(25/2)) = sqrt(3) / 2."""
    readout_BK = TASK.readout(torch.tensor([[0.0], [1.0], [2.0]]))
    torch.testing.assert_close(readout_BK, RAW_BK)
    target_B = TASK.targets(TRUE)
    assert TASK.scores(readout_BK, target_B)["pearson"] == pytest.approx(1)
    assert TASK.scores(readout_BK, target_B)["spearman"] == pytest.approx(1)
    clipped = TASK.scores(readout_BK.clamp(0, 5), target_B)
    assert clipped["pearson"] == pytest.approx(math.sqrt(3) / 2)
    assert TASK.answers(readout_BK) == [0, 5, 5]


def test_all_beyond_one_end_is_ranked_as_well() -> None:
    scores = TASK.scores(torch.tensor([[6.0], [7.0], [9.0]]), TASK.targets([1, 2, 3]))
    assert scores["spearman"] == pytest.approx(1)  # clipped, all would be 5, and nothing ranked


def test_a_file_of_predictions_holds_both_and_gives_the_scores_again(tmp_path: Path) -> None:
    path = tmp_path / "p" / "near-dev.csv"
    write_predictions(path, TASK, RAW_BK, split_of(TASK, TRUE))
    rows = table(path)
    assert [float(row["prediction"]) for row in rows] == [0, 5, 5]
    assert [float(row["raw"]) for row in rows] == [0, 5, 10]
    found = read_answers(path, TASK)
    assert TASK.scores(found.readout_BK, found.target_B)["pearson"] == pytest.approx(1)
    assert found.predictions == ["0.0", "5.0", "5.0"]


def test_a_file_without_raw_scores_gives_the_scores_that_its_run_wrote(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"near": (TRUE, RAW_BK)})
    path = folder / "predictions" / "near-dev.csv"
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{line}\n" for line in lines))
    found = read_run(folder).answers("near")
    assert found is not None
    assert found.readout_BK.flatten().tolist() == [0, 5, 5]
    scores = TASK.scores(found.readout_BK, found.target_B)
    assert scores["pearson"] == pytest.approx(math.sqrt(3) / 2)


def test_an_ensemble_averages_raw_scores_and_clips_their_mean() -> None:
    each = torch.tensor([[[6.0]], [[4.5]]])
    mean_BK = combine(TASK, Panel(how="mean", members=(0, 1)), each)
    assert mean_BK.item() == pytest.approx(5.25)
    assert TASK.answers(mean_BK) == [5]


def test_teachers_teach_what_they_answer() -> None:
    assert TASK.settled(RAW_BK).tolist() == [0, 5, 5]
    output_BK = torch.tensor([[0.0], [1.0], [1.0]])
    assert TASK.imitation(output_BK, RAW_BK, 1.0).item() == 0


def test_every_way_of_saying_a_score_keeps_to_its_range() -> None:
    says = Score(range=(0, 5))
    readout_BK = np.array([[-0.5], [7.25]], dtype=np.float32)
    assert says.answers(readout_BK) == [0, 5]
    assert [one["prediction"] for one in probabilities(says, readout_BK)] == [0, 5]
    assert [one[0]["score"] for one in scored(says, readout_BK, None)] == [0, 5]


@pytest.fixture(scope="module")
def wild(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and their ensemble, whose scores mostly leave the range."""
    home = tmp_path_factory.mktemp("wild")
    values: dict[str, Any] = make_recipe(tiny, home)
    near = values["tasks"]["near"] | {"head": {"kind": "concat", "features": "uv"}}
    values |= {"tasks": {"near": near}, "stages": [{"steps": 3, "batch_size": 8, "lr": 0.3}]}
    for seed in (0, 1):
        trivium.train(parse_recipe(values | {"seed": seed}), home / str(seed))
    trivium.ensemble([home / "0", home / "1"], home / "both")
    return home


def told(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())["tasks"]["near"]
    return scores


@pytest.mark.parametrize("name", some_of(["0", "1", "both"], "both".__eq__))
def test_a_run_its_evaluation_and_its_files_agree_on_raw_correlations(
    wild: Path, name: str
) -> None:
    folder = wild / name
    rows = table(folder / "predictions" / "near-dev.csv")
    raw = [float(np.float32(row["raw"])) for row in rows]
    true = [float(row["label"]) for row in rows]
    answered = [float(row["prediction"]) for row in rows]
    assert answered == pytest.approx([min(max(score, 0), 3) for score in raw])
    assert answered != pytest.approx(raw)
    texts = [(row["first"], row["second"]) for row in rows]
    assert load_trained(folder).predict("near", texts) == answered
    dev = told(folder)["dev"]
    assert dev["pearson"] == pytest.approx(pearsonr(raw, true).statistic, abs=1e-9)
    assert dev["spearman"] == pytest.approx(spearmanr(raw, true).statistic, abs=1e-9)
    assert trivium.evaluate(folder)["tasks"]["near"]["dev"] == dev
    answers = read_run(folder).answers("near")
    assert answers is not None
    again = answers.task.scores(answers.readout_BK, answers.target_B)
    assert again | {"rows": len(rows)} == dev


def test_the_journal_and_a_comparison_agree_with_them(wild: Path) -> None:
    lines = (wild / "0" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    last = next(event for event in events if event["event"] == "evaluation")
    assert last["scores"]["near"]["dev"] == told(wild / "0")["dev"]
    verdict = compare([wild / "0", wild / "both"], time=False)
    means = [one.scores["near"].mean for one in verdict.groups]
    wanted = [told(wild / name)["dev"]["pearson"] for name in ("0", "both")]
    assert means == pytest.approx(wanted, abs=1e-12)
