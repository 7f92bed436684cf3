"""scores.json is read by one reader, written by one writer, and comes back to the byte."""

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.folder.environment import Environment, read_environment, write_environment
from trivium.run.folder.provenance import SplitRows
from trivium.run.folder.records import write_record
from trivium.run.folder.scores import (
    Cost,
    MemberScores,
    Scores,
    Selected,
    Tried,
    read_scores,
    write_scores,
)
from trivium.run.folder.shown import print_scores

TASKS: dict[str, Any] = {
    "mood": {"dev": {"accuracy": 0.75, "f1": 0.0, "rows": 32}, "test": {"accuracy": 1.0}},
    "near": {"dev": {"pearson": float("nan"), "rows": 7}},
}
OVERALL = {"dev": {"leaderboard": 0.7, "mean": 0.65}}
COST = {
    "seconds": 2.0, "rows": 80, "tokens": 1234, "tokens_per_s": 617.0, "peak_memory_bytes": 2**30,
    "parameters": 5, "trained_parameters": 4,
}  # fmt: skip
TRAINED = {
    "tasks": TASKS, "overall": OVERALL, "precision": "bf16", "cost": COST,
    "selected": {"stage": "late", "step": 20, "by": "overall"},
}  # fmt: skip
SOUP = TRAINED | {
    "selected": {"stage": None, "step": None, "by": "soup"},
    "soup": [{"run": "runs/a", "own": 0.5, "soup": 0.5, "kept": True}],
}
ENSEMBLE = {
    "tasks": TASKS, "overall": OVERALL, "precision": "bf16 and fp32", "cost": {"parameters": 10},
    "members": [{"name": "runs/a", "tasks": {"mood": {"dev": {"rows": 32}}}, "overall": {}}],
}  # fmt: skip
ALONE = {"tasks": {"mood": {"dev": {}}}, "overall": {}, "precision": "fp32"}
"""As `evaluate` answers."""


def text_of(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


@pytest.mark.parametrize("content", [TRAINED, SOUP, ENSEMBLE, ALONE, {"tasks": {}}])
def test_what_was_read_is_written_again_to_the_byte(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content = content | {"tasks": content["tasks"] | {"near": {"dev": {"pearson": -0.5}}}}
    (tmp_path / "scores.json").write_text(text_of(content))
    scores = read_scores(tmp_path)
    assert text_of(scores.as_dict()) == text_of(content)
    write_scores(tmp_path, scores)
    assert (tmp_path / "scores.json").read_text() == text_of(content)


def strictly(text: str) -> Any:
    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_number_as_in_older_runs_are_read_and_written_as_json(
    number: float, tmp_path: Path
) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text_of({"tasks": {"near": {"dev": {"pearson": number, "rows": 7}}}}))
    write_scores(tmp_path, read_scores(tmp_path))
    assert strictly(path.read_text())["tasks"]["near"]["dev"] == {"pearson": None, "rows": 7}
    again = read_scores(tmp_path).metric("near", "dev", "pearson")
    assert again is not None
    assert math.isnan(again)


def test_no_record_is_written_with_what_is_no_json(tmp_path: Path) -> None:
    rows = SplitRows(files=["a"], rows=1, drawn={"share": float("nan"), "of": [float("inf"), 1]})
    write_record(tmp_path / "some.json", rows)
    assert strictly((tmp_path / "some.json").read_text())["drawn"] == {
        "share": None, "of": [None, 1]
    }  # fmt: skip


@given(st.dictionaries(st.text(), st.integers(0, 2**53) | st.floats()))
def test_whole_numbers_stay_whole_and_others_keep_every_digit(metrics: dict[str, float]) -> None:
    scores = Scores.model_validate({"tasks": {"t": {"dev": metrics}}})
    assert json.dumps(scores.as_dict()["tasks"]["t"]["dev"]) == json.dumps(metrics)


def test_a_record_made_in_code_has_the_file_s_order_and_nothing_that_was_not_told() -> None:
    soup = Scores(
        soup=[Tried(kept=True, soup=0.5, own=0.5, run="runs/a")],
        selected=Selected(by="soup", step=None, stage=None),
        cost=Cost.model_validate(dict(reversed(COST.items()))),
        precision="bf16",
        overall=OVERALL,
        tasks=TASKS,
    )
    assert text_of(soup.as_dict()) == text_of(SOUP)
    member = MemberScores(overall={}, tasks={"mood": {"dev": {"rows": 32}}}, name="runs/a")
    made = Scores(
        members=[member], cost=Cost(parameters=10), precision="bf16 and fp32", overall=OVERALL,
        tasks=TASKS,
    )  # fmt: skip
    assert text_of(made.as_dict()) == text_of(ENSEMBLE)


def test_the_common_questions_have_an_answer_or_none() -> None:
    scores = Scores.model_validate(TRAINED)
    assert scores.metric("mood", "dev", "accuracy") == 0.75
    assert scores.metric("mood", "dev", "f1") == 0.0
    assert scores.metric("mood", "dev", "rows") == 32
    assert scores.metric("mood", "dev", "pearson") is None
    assert scores.metric("near", "test", "pearson") is None
    assert scores.metric("gone", "dev", "accuracy") is None
    assert scores.of("mood", "test") == {"accuracy": 1.0}
    assert scores.of("gone", "dev") == {}
    assert (scores.overall_of("dev"), scores.overall_of("dev", "mean")) == (0.7, 0.65)
    assert scores.overall_of("test") is None
    (member,) = Scores.model_validate(ENSEMBLE).members
    assert member.scores.metric("mood", "dev", "rows") == 32
    assert member.scores.overall_of("dev") is None


def test_what_older_files_lack_is_not_told_and_what_newer_ones_add_is_passed_over(
    tmp_path: Path,
) -> None:
    content = {"tasks": {}, "cost": {"seconds": 3.0, "hope": "?"}, "horoscope": [1]}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    scores = read_scores(tmp_path)
    assert scores.cost == Cost(seconds=3.0)
    assert (scores.precision, scores.selected, scores.members, scores.soup) == ("", None, [], None)
    said = StringIO()
    print_scores(content, Console(file=said, width=200))
    assert "3 s of training in –, – tokens/s, – parameters, peak memory – GiB" in said.getvalue()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no scores.json; the run is not finished."),
        ("{", "scores.json: is damaged: "),
        ("[]", "scores.json: is damaged: wanted a table, found list."),
        ("{}", "scores.json: tasks: field required. The file is damaged; copy the whole folder"),
        ('{"tasks": {"a": {"dev": {"f1": true}}}}', "tasks.a.dev.f1: input should be a valid num"),
        ('{"tasks": {}, "cost": null}', "cost: input should be a valid dictionary, found 'None'"),
        ('{"tasks": {}, "selected": {"step": "9"}}', "selected.step: input should be a valid int"),
        ('{"tasks": {}, "soup": [{"run": "a"}]}', "soup.0.own: field required."),
    ],
)
def test_the_reader_says_where_a_file_is_damaged(
    text: str | None, said: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    with pytest.raises(RecipeError) as error:
        read_scores(tmp_path)
    assert said in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_the_environment_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_environment(tmp_path) is None
    write_environment(tmp_path)
    made = read_environment(tmp_path)
    assert made is not None
    text = (tmp_path / "environment.json").read_text()
    keys = ["python", "platform", "cpu", "cpus", "threads", "gpu", "packages", "command"]
    assert list(json.loads(text)) == keys
    assert list(made.packages)[:2] == ["trivium", "torch"]
    write_record(tmp_path / "environment.json", made)
    assert (tmp_path / "environment.json").read_text() == text
    (tmp_path / "environment.json").write_text("{}")  # of a run that tells nothing
    assert read_environment(tmp_path) == Environment()
