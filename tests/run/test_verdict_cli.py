"""`trivium compare` on runs that were trained: two models for one task each, and one for both."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.ensemble import ensemble
from trivium.run.train import train
from trivium.run.verdict import answering


@pytest.fixture(scope="module")
def runs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mood, near, both: a few steps each; and an ensemble of the first two."""
    home = tmp_path_factory.mktemp("compared")
    values = make_recipe(tiny, home)
    del values["tasks"]["same"]
    values["stages"] = [{"steps": 4, "batch_size": 8, "lr": 1e-3}]
    for name, tasks in {"mood": ["mood"], "near": ["near"], "both": ["mood", "near"]}.items():
        chosen = values | {"tasks": {task: values["tasks"][task] for task in tasks}}
        path = home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(chosen))
        train(load_recipe(path), home / "runs" / name)
    ensemble([home / "runs" / "mood", home / "runs" / "near"], home / "runs" / "pair")
    return home / "runs"


def test_the_whole_verdict_is_shown_and_written(runs: Path, tmp_path: Path) -> None:
    folders = [str(runs / name) for name in ("mood", "near", "both", "pair")]
    out = tmp_path / "deep" / "verdict.md"
    found = CliRunner().invoke(
        app, ["compare", *folders, "--out", str(out), "--resamples", "200"], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    text = out.read_text()
    for said in (found.output, text):
        assert "Scores on dev, in points" in said
        assert re.search(r"both: sharing (cost|gained|changed) .* on mood \(accuracy", said)
        assert re.search(r"both: sharing .* overall \(leaderboard mean", said)
        # The ensemble is those models, and shares nothing.
        assert "pair equals mood on mood (accuracy" in said
        assert "pair equals single-task models overall" in said
        assert re.search(
            r"both, one model in place of 2 .* at \d+ % of the parameters, \d+ %", said
        )
        assert re.search(r"s for \d+ rows of each task", said)
        assert "single-task models together: mood, near" in said
    assert f"verdict: {out}" in found.output
    again = CliRunner().invoke(app, ["compare", *folders, "--out", str(out)])
    assert again.exit_code == 2
    assert "is there already. Replace it (--overwrite)" in again.output


def test_a_verdict_without_times_is_the_same_every_time(runs: Path, tmp_path: Path) -> None:
    folders = [runs / "near", runs / "both"]
    told = []
    for name in ("a.json", "b.json"):
        trivium.compare(folders, out=tmp_path / name, resamples=200, time=False)
        told.append(json.loads((tmp_path / name).read_text()))
    assert told[0] == told[1]
    assert [one["task"] for one in told[0]["comparisons"]] == ["near"]
    assert told[0]["groups"][1]["scores"]["near"]["mean"] == pytest.approx(
        json.loads((runs / "both" / "scores.json").read_text())["tasks"]["near"]["dev"]["pearson"],
        abs=1e-5,
    )
    assert all(cost["answer_seconds"] is None for cost in told[0]["costs"])
    trivium.compare(folders, out=tmp_path / "a.json", resamples=200, time=False, overwrite=True)


def test_models_that_are_too_large_together_are_not_timed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "MOST_BYTES", 1000)
    found = trivium.compare([runs / "mood", runs / "both"], resamples=200)
    told = "Answers were not timed: these models take"
    assert any(note.startswith(told) for note in found.notes)
    with pytest.raises(RecipeError, match="cuda:99"):
        trivium.compare([runs / "mood", runs / "both"], resamples=200, device="cuda:99")


@pytest.mark.parametrize(
    ("name", "said"),
    [("verdict.txt", "ends in .md or .json"), ("folder.md", "is a folder")],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(RecipeError, match=said):
        trivium.compare([tmp_path / "no run"], out=tmp_path / name)
