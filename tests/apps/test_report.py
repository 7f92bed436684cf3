"""What a report is made of: numbers, sections, refusals."""

import html
import importlib
import json
import math
import re
import shutil
import statistics
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
import yaml
from rich.console import Console
from sklearn.calibration import calibration_curve
from torch import Tensor
from typer.testing import CliRunner

import trivium
from tests.support.reported import HOSTILE, STARS, answers_in, write_run
from tests.support.tables import make_recipe
from trivium.apps.report import answers, browser, report, write
from trivium.apps.report import runs as runs_module
from trivium.apps.report.answers import hover_text
from trivium.apps.report.figure import smoothed, thinned
from trivium.apps.report.quality import (
    Calibration,
    calibrated,
    calibration,
    is_ordered,
    one_off,
    order_in_doubt,
)
from trivium.apps.report.story import tell
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.pages.safe import as_data
from trivium.parts.tasks import Classification, Multilabel, Ordinal, Regression, Task
from trivium.run.ensemble import ensemble
from trivium.run.folder.predictions import Answers
from trivium.run.folder.scores import Selected
from trivium.run.train import train
from trivium.run.verdict.forest import ranked
from trivium.run.verdict.verdict import verdict

pytestmark = pytest.mark.xdist_group("report")  # its run is trained once

SECTIONS = [
    "scores", "learning", "time", "confusion", "scatter", "errors", "calibration", "labels",
    "conflicts", "data", "cost", "recipe",
]  # fmt: skip


def quiet() -> Console:
    return Console(file=StringIO())


def block(page: str, name: str) -> Any:
    """The data in one of the page's blocks."""
    found = re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


def words(page: str) -> str:
    """What a reader sees, without scripts, styles and markup."""
    page = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


def bold(page: str) -> list[str]:
    """Cells that stand out as the best of their column."""
    return re.findall('<td class="number best">([^<]*)', page)


def traces_of(figure: dict[str, Any]) -> set[int]:
    """The runs that a figure draws."""
    each = [trace.get("meta", {}).get("run") for trace in figure["data"]]
    return {run for run in each if run is not None}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that were asked the same."""
    home = tmp_path_factory.mktemp("runs")
    return [write_run(home / "first"), write_run(home / "second", seed=1)]


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, also on masked words; a dev row of it also stands in training."""
    home = tmp_path_factory.mktemp("trained")
    values = make_recipe(tiny, home)
    mood = Path(values["data"]) / "mood-train.tsv"
    first = mood.read_text().splitlines()[1]
    with mood.with_name("mood-dev.tsv").open("a") as file:
        file.write(f"{first}\n")
    values["tasks"]["mood"]["max_length"] = 4
    values["tasks"]["near"]["train"] = {"file": "near-train.tsv", "rows": 40}
    values["tasks"]["words"] = {"kind": "mlm", "of": ["mood"]}
    values["stages"][0] |= {"steps": 4, "sampler": "joint", "conflicts_every": 2}
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    train(path, home / "run", console=quiet())
    return home / "run"


def by_likeliest(probability_BK: Tensor, label_B: Tensor) -> Calibration:
    """Of answers that are the likeliest label."""
    confidence_B, predicted_B = probability_BK.max(dim=1)
    return calibrated(confidence_B, predicted_B == label_B)


def page_of(runs: list[Path], out: Path) -> str:
    return report(runs, out, console=quiet()).read_text(encoding="utf-8")


# --- numbers -----------------------------------------------------------------------------------


def test_the_calibration_error_is_the_one_found_by_hand() -> None:
    """Answers by 0.9, half of them right, and by 0.6, all right: both bins are 0.4 off."""
    probability_BK = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = by_likeliest(probability_BK, torch.tensor([0, 1, 1, 1]))
    assert found.error == pytest.approx(0.4)
    assert [(each.rows, each.accuracy) for each in found.bins] == [(2, 1.0), (2, 0.5)]


def test_certain_answers_share_a_bin_with_nearly_certain_ones() -> None:
    probability_BK = torch.tensor([[1.0, 0.0], [0.98, 0.02]])
    found = by_likeliest(probability_BK, torch.tensor([1, 0]))
    assert [each.rows for each in found.bins] == [2]
    assert found.error == pytest.approx(0.99 - 0.5)


def test_the_bins_of_a_calibration_agree_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    probability_BK = torch.randn(500, 4, generator=generator).softmax(-1)
    label_B = torch.randint(4, (500,), generator=generator)
    found = by_likeliest(probability_BK, label_B)
    confidence_B, predicted_B = probability_BK.double().max(dim=1)
    accuracy, confidence = calibration_curve(predicted_B == label_B, confidence_B, n_bins=15)
    assert [each.accuracy for each in found.bins] == pytest.approx(accuracy, abs=1e-12)
    assert [each.confidence for each in found.bins] == pytest.approx(confidence, abs=1e-12)


def test_the_calibration_of_several_labels_goes_by_the_tasks_threshold() -> None:
    """From 0.3 on it is a yes: by 0.4 a right one, by 0.8 a no that is wrong."""
    task = Multilabel(text="a", label="b", labels=["x", "y"], threshold=0.3)
    readout_BK, target_B = torch.tensor([[0.4, 0.2]]), torch.tensor([[1.0, 1.0]])
    found = calibration(task, Answers(task, [2], [("a",)], ["x,y"], ["x"], target_B, readout_BK))
    told = [(round(each.confidence, 6), each.accuracy) for each in found.bins]
    assert told == [(0.4, 1.0), (0.8, 0.0)]
    assert found.error == pytest.approx((0.6 + 0.8) / 2)


def test_smoothing_is_a_weighted_mean_that_is_fair_to_the_first_values() -> None:
    assert smoothed([1.0, 3.0], span=3) == pytest.approx([1, (0.5 * 1 + 3) / 1.5])
    assert smoothed([2.0] * 9, span=5) == pytest.approx([2.0] * 9)
    assert smoothed([1.0, 7.0, 4.0], span=1) == [1, 7, 4]


def test_what_is_no_number_leaves_the_smoothed_line_as_it_was() -> None:
    odd = [math.nan, 1.0, math.nan, 3.0, math.inf]
    found = smoothed(odd, 3)
    assert math.isnan(found[0])
    assert found[1:] == [1, 1, *[smoothed([1.0, 3.0], 3)[1]] * 2]


@pytest.mark.parametrize(("last", "told"), [(2, "2 +0.500 0.0 %"), (0, "0 – –")])
def test_cosines_that_are_no_numbers_are_left_out(last: int, told: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    journal = run / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in (each for each in lines if "cosines" in each and each["step"] > last):
        for cosines in (line["cosines"], *line["layer_cosines"].values()):
            cosines.update(dict.fromkeys(cosines, math.nan))
    journal.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    said = words(page_of([run], tmp_path / "report.html"))
    assert f"stars and near {told}" in said
    assert "+nan" not in said


def test_the_axis_of_a_score_goes_no_further_than_the_score(tmp_path: Path) -> None:
    figures = block(page_of([write_run(tmp_path / "run")], tmp_path / "report.html"), "figures")
    clips = [
        figures[f"learning-{place}"]["layout"]["yaxis2"]["autorangeoptions"] for place in range(3)
    ]
    assert [clip["clipmin"] for clip in clips] == [0, 0, -1]
    assert {clip["clipmax"] for clip in clips} == {1}
    assert figures["time-0"]["layout"]["yaxis"]["autorangeoptions"] == {"clipmin": 0, "clipmax": 1}


def test_a_single_row_is_one_row(tmp_path: Path) -> None:
    said = words(page_of([write_run(tmp_path / "run", rows=1)], tmp_path / "report.html"))
    assert "1 row of dev" in said
    assert "over all 1 row." in said
    assert "1 rows" not in said


def test_a_thinned_curve_keeps_its_ends() -> None:
    assert thinned(range(10), 4) == [0, 3, 6, 9]
    assert thinned([5, 6], 4) == [5, 6]


def test_the_one_off_rate_counts_neighbours() -> None:
    found = one_off([0, 1, 2, 3], [0, 2, 0, 2])  # right, one, two, one off
    assert (found.exactly, found.within) == (0.5, 0.75)
    assert found.of_mistakes == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("task", "ordered"),
    [
        (Classification(text="a", label="b", labels=dict(enumerate(STARS))), True),
        (Classification(text="a", label="b", labels={"0": "no", "1": "yes"}), False),
        (Classification(text="a", label="b", labels={"1": "x", "3": "y", "5": "z"}), False),
        (Classification(text="a", label="b", labels={"x": "x", "y": "y", "z": "z"}), False),
        (Ordinal(text="a", label="b", labels={"low": "low", "high": "high"}), True),
        (Regression(text="a", label="b"), False),
    ],
)
def test_labels_have_an_order_where_the_column_counts(task: Task, ordered: bool) -> None:
    assert is_ordered(task) is ordered


@pytest.mark.parametrize(
    ("task", "doubt"),
    [
        (
            Classification(
                text="a", label="b", labels={"0": "entailment", "1": "neutral", "2": "other"}
            ),
            "if 0, 1, 2 are an order",
        ),
        (
            Classification(text="a", label="b", labels=dict(enumerate(STARS))),
            "if 0, 1, 2 … are an order",
        ),
        (Classification(text="a", label="b", labels=["1", "2", "3"]), ""),
        (Ordinal(text="a", label="b", labels=dict(enumerate(STARS))), ""),
    ],
)
def test_numbers_that_stand_for_names_are_an_order_only_if_the_reader_knows_so(
    task: Classification, doubt: str
) -> None:
    assert is_ordered(task)
    assert order_in_doubt(task) == doubt


def test_steps_are_counted_through_all_stages() -> None:
    events = [
        {"event": "stage", "stage": "one", "steps": 2, "tasks": ["a"]},
        {"event": "step", "step": 1, "losses": {"a": 3.0}},
        {"event": "step", "step": 2, "losses": {"a": 2.0}, "cosines": {"b|a": 0.5}},
        {"event": "stage", "stage": "two", "steps": 9, "tasks": ["a"]},
        {"event": "step", "step": 1, "losses": {"a": 1.0}, "cosines": {"a|b": -0.5}},
        {"event": "evaluation", "step": 1, "scores": {"a": {"dev": {"accuracy": 0.5}}}},
    ]
    story = tell(events, ["a", "b"], Selected(stage="two", step=1))
    assert story.stages == [("one", 0), ("two", 2)]
    assert story.losses["a"].steps == [1, 2, 3]
    assert story.cosines == {("a", "b"): story.cosines["a", "b"]}
    assert story.cosines["a", "b"].values == [0.5, -0.5]
    assert story.kept == 3
    assert story.evaluations[0].step == 3
    assert story.evaluations[0].seconds is None


# --- nothing of a table becomes a part of the page ----------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_data_stays_data(text: str) -> None:
    found = as_data([text])
    assert json.loads(found) == [text]
    assert not set(found) & set("<>&\u2028\u2029")
    assert "<b>" not in hover_text([text])
    assert "<a" not in hover_text([text])


def test_hostile_texts_and_labels_are_escaped_everywhere(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>run", texts=HOSTILE)
    recipe = run / "recipe.yaml"
    label = "<i>great</i>"
    recipe.write_text(recipe.read_text().replace("great", label))
    answers = run / "predictions" / "stars-dev.csv"
    answers.write_text(answers.read_text().replace("great", label))
    page = page_of([run], tmp_path / "report.html")
    style, _, body = page.partition("<body>")
    visible = body[: body.index('<script type="application/json"')]
    assert "&lt;i&gt;great" in visible
    assert "&lt;b&gt;run" in style  # the title
    for found in (style.partition("<style>")[0], visible):
        assert "<i>" not in found
        assert "<b>" not in found
    texts = [row["t"][0] for row in block(page, "rows")["sets"][0]["rows"]]
    assert set(HOSTILE) <= set(texts)


def test_no_label_and_no_text_turns_what_stands_beside_it_round(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", texts=["\u202eevil", "\u2066live", "\u05e9\u05dc\u05d5\u05dd"]
    )
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("great", '"gr\\u202eeat"'))
    answers = run / "predictions" / "stars-dev.csv"
    answers.write_text(answers.read_text().replace("great", "gr\u202eeat"))
    page = page_of([run], tmp_path / "report.html")
    assert not set(page) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert "gr\ufffdeat" in page
    assert "\u05e9\u05dc\u05d5\u05dd" in page


# --- the page ----------------------------------------------------------------------------------


def test_a_page_on_one_run_has_every_section_with_a_line_on_how_to_read_it(
    trained: Path, tmp_path: Path
) -> None:
    page = page_of([trained], tmp_path / "report.html")
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert page.count('<p class="hint">') >= len(SECTIONS)
    said = words(page)
    assert "mood: 1 row of dev also stands in train" in said
    assert "training texts are cut to 4 word pieces, special ones included (kept: start)" in said
    assert "cosine" in said
    assert "near 40 of 96 32" in said  # a sample of its training rows, and dev rows
    assert "conflicts-1" in block(page, "figures")
    assert "trivium train recipe.yaml" in said
    assert "words is not here, since it answers no questions" in said


def test_every_figure_is_one_that_plotly_accepts(
    pair: list[Path], trained: Path, tmp_path: Path
) -> None:
    page = page_of([*pair, trained], tmp_path / "report.html")
    figures = block(page, "figures")
    assert len(figures) > 20
    for figure in figures.values():
        go.Figure(figure)  # refuses what it does not know


def test_a_run_of_a_gpu_has_its_page_where_there_is_none(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = shutil.copytree(trained, tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"(?m)^device: .*", "device: cuda", recipe))
    assert "device: cuda" in (run / "recipe.yaml").read_text()
    page = page_of([run], tmp_path / "page.html")
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert re.search(r"of dev also stands? in train", words(page))


def test_the_recipe_of_tables_that_python_held_says_where_they_lie(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    recipe = run / "recipe.yaml"
    recipe.write_text(re.sub(r"(?m)^data: .*", "data: tables", recipe.read_text()))
    page = page_of([run], tmp_path / "page.html")
    shown = next(t for t in re.findall(r"(?s)<pre[^>]*>(.*?)</pre>", page) if "seed: 0" in t)
    told = yaml.safe_load(html.unescape(re.sub("<[^>]+>", "", shown)))
    assert told == yaml.safe_load(recipe.read_text()) | {"data": str(run.resolve() / "tables")}


def test_files_that_are_gone_are_said_to_be(pair: list[Path], tmp_path: Path) -> None:
    said = words(page_of(pair[:1], tmp_path / "report.html"))
    assert "first: the recipe's files cannot be read (any more)" in said


def test_the_headline_tells_scores_seeds_one_off_and_the_note_on_minilm(
    pair: list[Path], tmp_path: Path
) -> None:
    said = words(page_of(pair[:1], tmp_path / "report.html"))
    scores = json.loads((pair[0] / "scores.json").read_text())
    for name, metric in (("stars", "accuracy"), ("tags", "micro_f1"), ("near", "pearson")):
        assert f"{scores['tasks'][name]['dev'][metric]:.4f}" in said
    assert f"{scores['overall']['dev']['leaderboard']:.4f}" in said
    assert "One seed (0)" in said
    assert "Quora question pairs" in said
    rows = answers_in(pair[0], "stars")
    away = [abs(STARS.index(row["label"]) - STARS.index(row["prediction"])) for row in rows]
    rate = f"{100 * away.count(1) / len(away):.1f} %"
    assert f"exactly one class off, if 0, 1, 2 … are an order {rate}" in said
    assert f"If 0, 1, 2 … are an order: {rate} of answers are exactly one label off" in said
    assert "labels have an order" not in said


def test_several_runs_stand_side_by_side(pair: list[Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path / "report.html")
    said = words(page)
    assert "2 runs compared" in said
    assert "No verdict: " in said  # they differ in their seeds only
    values = [json.loads((run / "scores.json").read_text()) for run in pair]
    each = [told["tasks"]["stars"]["dev"]["accuracy"] for told in values]
    assert f"0, 1 {statistics.fmean(each):.4f} ± {statistics.stdev(each):.4f}" in said
    curves = block(page, "figures")["learning-0"]["data"]
    assert {trace["meta"]["run"] for trace in curves} == {0, 1}
    rows = block(page, "rows")
    assert [each["task"] for each in rows["sets"]] == ["stars", "tags", "near"]
    assert [each["runs"] for each in rows["sets"]] == [[0, 1]] * 3


def test_a_studys_folder_stands_for_its_finished_runs(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed in (0, 1):
        write_run(study / "plain" / f"seed-{seed}", seed=seed)
    (study / "plain" / "seed-0.log").touch()
    seeds = [{"seed": seed} for seed in (0, 1, 2)]
    (study / "table.json").write_text(json.dumps({"recipes": [{"name": "plain", "runs": seeds}]}))
    once = study / "plain" / "seed-0"  # named again
    said = words(page_of([study, once, study], tmp_path / "report.html"))
    assert "2 runs compared" in said
    assert said.count("left out, since they are not finished: plain/seed-2") == 1
    globbed = sorted((study / "plain").glob("seed-*"))
    assert len(globbed) == 3  # with the log
    assert "2 runs compared" in words(page_of(globbed, tmp_path / "globbed.html"))


def test_systems_are_compared_in_words_and_drawn(pair: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "slower", seed=1)
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("weight_decay: 0.01", "weight_decay: 0.0"))
    runs = [pair[0], other]
    page = page_of(runs, tmp_path / "report.html")
    found = verdict(runs)
    assert len(found.comparisons) == 4  # three tasks, and overall
    for line in found.comparisons:
        assert line.sentence in words(page)
    drawn = next(f for n, f in block(page, "figures").items() if n.startswith("verdict"))["data"][0]
    lines = ranked(found.comparisons)
    assert drawn["x"] == [round(100 * line.difference, 3) for line in lines]
    ends = [x + more for x, more in zip(drawn["x"], drawn["error_x"]["array"], strict=True)]
    assert ends == pytest.approx([100 * line.high for line in lines], abs=0.002)


def test_runs_that_were_asked_other_rows_are_kept_apart(pair: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", rows=50)
    rows = block(page_of([pair[0], other], tmp_path / "report.html"), "rows")
    assert [each["runs"] for each in rows["sets"]] == [[0], [1]] * 3


def test_the_list_holds_the_worst_mistakes_where_not_all_fit(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "MOST_ANSWERS", 5)
    monkeypatch.setattr(browser, "FEWEST_ROWS", 3)
    page = page_of(pair[:1], tmp_path / "report.html")
    wrong = [row for row in answers_in(pair[0], "stars") if row["label"] != row["prediction"]]
    worst = sorted(wrong, key=lambda row: -float(row["confidence"]))[:5]
    found = block(page, "rows")["sets"][0]
    assert [row["l"] for row in found["rows"]] == [int(row["line"]) for row in worst]
    assert found["total"] == 60
    assert "stars: 5 of 60 dev rows are here" in words(page)
    sets = block(page_of(pair, tmp_path / "both.html"), "rows")["sets"]
    assert [len(each["rows"]) for each in sets] == [3, 3, 3]  # 5 answers of two runs are but 2 rows


def test_of_many_runs_the_answers_of_one_per_system_are_drawn(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "MOST_DRAWN", 2)
    other = write_run(tmp_path / "other", seed=1)
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("weight_decay: 0.01", "weight_decay: 0.0"))
    page = page_of([*pair, other], tmp_path / "report.html")
    said = words(page)
    names = f"{pair[0].parent.name}/first, {other.parent.name}/other"
    note = f"Of 3 runs, one of each system is drawn here, the first: {names}."
    assert said.count(note) == 5
    assert re.findall(r'class="confusion" data-task="stars" data-run="(\d)"', page) == ["0", "2"]
    assert [each["runs"] for each in block(page, "rows")["sets"]] == [[0, 2]] * 3
    figures = block(page, "figures")
    drawn = {name: traces_of(figures[name]) for name in ("scatter-0", "calibration-0", "labels-0")}
    assert drawn == {"scatter-0": {0}, "calibration-0": {0, 2}, "labels-0": {0, 2}}
    assert traces_of(figures["learning-0"]) == {0, 1, 2}
    assert "drawn here" not in words(page_of(pair, tmp_path / "pair.html"))


def test_figures_of_many_runs_name_them_where_one_points(tmp_path: Path) -> None:
    many = [write_run(tmp_path / "many" / f"run-{seed}", seed) for seed in range(9)]
    notes = []
    for runs in (many[:6], many):
        page = page_of(runs, tmp_path / f"of-{len(runs)}.html")
        curves = [f for name, f in block(page, "figures").items() if name.startswith("learning")]
        hovers = {trace.get("hovertemplate", "").split("<br>")[0] for trace in curves[0]["data"]}
        assert {f"run-{seed}" for seed in range(len(runs))} <= hovers
        notes.append(
            [curves[0]["layout"]["showlegend"], "point at a line to see whose it is" in words(page)]
        )
    assert notes == [[True, False], [False, True]]


def test_scores_are_ranked_only_where_all_runs_were_asked_the_same_rows(
    pair: list[Path], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=1)
    assert len(bold(page_of([pair[0], other], tmp_path / "same.html"))) == 5
    answers = other / "predictions" / "stars-dev.csv"
    answers.write_text(answers.read_text().replace("word1 ", "word2 "))
    assert len(bold(page_of([pair[0], other], tmp_path / "texts.html"))) == 2  # tags, near
    third = write_run(tmp_path / "third", seed=2)
    page = page_of([pair[0], other, third], tmp_path / "three.html")
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*)', page)
    assert headings.count("stars accuracy · b.csv, 60 rows") == 2
    assert len(bold(page)) == 3  # stars of first and third; and tags, near
    for path in (other / "predictions").iterdir():
        path.unlink()
    assert bold(page_of([pair[0], other], tmp_path / "gone.html")) == []


def test_every_training_set_has_bars_that_say_whose_they_are(trained: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(trained, tmp_path / name) for name in ("half", "again")]
    recipe = copies[0] / "recipe.yaml"
    values = yaml.safe_load(recipe.read_text())
    values["tasks"]["near"]["train"] = {"file": "near-train.tsv", "rows": 20}
    recipe.write_text(yaml.safe_dump(values))
    (copies[1] / "recipe.yaml").write_text(recipe.read_text())
    page = page_of([trained, *copies], tmp_path / "report.html")
    figures = [f["data"] for n, f in block(page, "figures").items() if n.startswith("labels")]
    told = [[bar["name"] for bar in each if bar["name"].startswith("train")] for each in figures]
    home = trained.parent.name
    names = f"train · {tmp_path.name}/half, {tmp_path.name}/again"
    assert told == [["train"], [f"train · {home}/run", names], ["train"]]
    first, second = (bar for bar in figures[1] if bar["name"].startswith("train"))
    assert first["y"] != second["y"]
    assert first["marker"] != second["marker"]
    assert [sum(bar["y"]) for bar in (first, second)] == pytest.approx([1, 1], abs=0.001)


def test_every_part_that_scrolls_has_a_name_of_its_own(pair: list[Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path / "report.html")
    names = re.findall(r'role="region" aria-label="([^"]*)"', page)
    assert "Confusion: stars · second" in names
    assert "Scores: Every metric" in names
    assert len(names) == page.count('class="scroll"') == len(set(names))


def test_of_many_labels_the_commonest_mistakes_are_listed(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_LABELS", 3)
    page = page_of(pair[:1], tmp_path / "report.html")
    rows = answers_in(pair[0], "stars")
    pairs = Counter((row["label"], row["prediction"]) for row in rows)
    (true, predicted), count = next(
        each for each in pairs.most_common() if each[0][0] != each[0][1]
    )
    told = words(page)
    assert "5 labels are too many for a matrix" in told
    assert 'class="confusion"' not in page
    assert f"true predicted rows share of the true label's {true} {predicted} {count}" in told


def test_a_run_that_measured_no_conflicts_tells_how_to(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    journal = run / "journal.jsonl"
    journal.write_text(re.sub(r', "(layer_)?cosines": \{.*\}\}?(?=\})', "", journal.read_text()))
    assert "cosines" not in journal.read_text()
    page = page_of([run], tmp_path / "report.html")
    assert "This run was trained without measuring this. Set conflicts_every: 10" in words(page)
    assert not [name for name in block(page, "figures") if name.startswith("conflicts")]


def test_a_run_without_dev_rows_has_a_page_that_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    told = json.loads((run / "scores.json").read_text())
    told |= {"tasks": {name: {} for name in told["tasks"]}, "overall": {}}
    (run / "scores.json").write_text(json.dumps(told))
    shutil.rmtree(run / "predictions")
    page = page_of([run], tmp_path / "report.html")
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert "run: stars is not here, since it has no dev rows" in words(page)


def test_an_ensemble_has_no_curves_and_its_page_says_why(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    ensemble([trained, tmp_path / "copy"], tmp_path / "both", console=quiet())
    environment = tmp_path / "both" / "environment.json"
    command = ["/bin/trivium", "ensemble", "my run", "copy", "--out", "both"]
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"command": command}))
    page = page_of([tmp_path / "both"], tmp_path / "report.html")
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    said = words(page)
    assert "both has no journal, so how it came about is not known" in said
    assert said.count("trivium ensemble 'my run' copy --out both") == 2  # command, and steps
    assert "trivium train recipe.yaml --out" not in said
    assert not [name for name in block(page, "figures") if name.startswith(("learning", "time"))]


def test_a_run_whose_journal_holds_no_times_is_reported_without_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    journal = run / "journal.jsonl"
    journal.write_text(re.sub(r', "seconds": [\d.]+', "", journal.read_text()))
    assert "its journal holds no times" in words(page_of([run], tmp_path / "report.html"))


def test_a_journal_of_two_trainings_is_told_of_and_no_curve_is_drawn_of_it(
    pair: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "both"
    shutil.copytree(pair[0], run)
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    steps = [line for line in lines if '"event": "step"' in line]
    # Two at once: every line of the one, and in between some of the other's.
    mixed = [part for line in lines for part in (line, line if line in steps[3:] else "")]
    (run / "journal.jsonl").write_text("".join(mixed))
    page = page_of([run, pair[1]], tmp_path / "report.html")
    told = f"both has a journal with {2 * len(steps) - 3:,} lines of steps for {len(steps):,} steps"
    assert told in words(page)
    drawn = [name for name in block(page, "figures") if name.startswith(("learning", "time"))]
    assert drawn, "those of the other run"
    assert "both" not in str([block(page, "figures")[name] for name in drawn])


# --- refusals ----------------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(
    pair: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    run = [str(pair[0]), "--out", str(out)]
    done = CliRunner().invoke(app, ["report", *run])
    assert done.exit_code == 2
    assert "--overwrite" in done.output
    assert out.read_text() == "mine"
    done = CliRunner().invoke(app, ["report", *run, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_every_run_that_is_not_finished_is_named(pair: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(pair[0], tmp_path / name)
        (tmp_path / name / "scores.json").unlink()
    with pytest.raises(RecipeError, match=r"(?s)/a: .*not finished.*/b: .*not finished"):
        report([pair[0], tmp_path / "a", tmp_path / "b"], tmp_path / "r.html", console=quiet())
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("runs", "out", "said"),
    [
        ([], "r.html", "one run or more"),
        (["first"], ".", r"is a folder; name a file, such as report\.html"),
        (["first"], "first/scores.json/r.html", "cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_refused(
    runs: list[str], out: str, said: str, pair: list[Path]
) -> None:
    home = pair[0].parent
    with pytest.raises(RecipeError, match=said):
        report([home / run for run in runs], home / out, console=quiet())


def test_a_damaged_journal_is_an_error_that_names_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "journal.jsonl").write_text('{"event": "step"}\n')
    with pytest.raises(RecipeError, match=r"run/journal\.jsonl:1: a step before any stage"):
        report(run, tmp_path / "r.html", console=quiet())


def test_without_its_libraries_the_report_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(RecipeError, match=r"needs plotly.*trivium\[report\]"):
        importlib.reload(importlib.import_module("trivium.apps.report"))


def test_the_report_is_a_function_of_the_package() -> None:
    assert trivium.report is write.report
