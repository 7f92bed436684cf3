"""Scores on training rows: beside dev at every evaluation, and no part of any choice."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import trivium
from tests.support.facts import facts
from tests.support.tables import make_recipe, sentence, write_table
from trivium.apps.report.curves import SEEN, learning
from trivium.apps.report.runs import open_runs
from trivium.parts.tasks.contrastive import numbered
from trivium.recipe import parse_recipe
from trivium.run.folder.finished import read_run
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.load import load_data
from trivium.run.rows.sample import sample

MOST = 24
TRAINED = {"mood": 96, "same": 112, "near": 96}
"""Training rows that there are."""
METRIC = {"mood": "accuracy", "same": "accuracy", "near": "pearson"}


def quiet() -> Console:
    return Console(file=StringIO(), width=300)


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one recipe without scores on training rows, with some, and on all of them."""
    home = tmp_path_factory.mktemp("seen")
    values = recipe(tiny, home)
    for name, most in {"without": None, "some": MOST, "all": 1000}.items():
        (home / f"{name}.txt").write_text(trained(values | {"train_rows": most}, home / name))
    return home


def recipe(tiny: Path, home: Path) -> dict[str, Any]:
    values = make_recipe(tiny, home)
    stage = {"steps": 6, "batch_size": 8, "lr": 3e-3, "evaluate_every": 2}
    return values | {"stages": [stage]}


def trained(values: dict[str, Any], folder: Path) -> str:
    """What was told on the way."""
    console = quiet()
    trivium.train(parse_recipe(values), folder, console=console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def evaluations(run: Path) -> list[dict[str, Any]]:
    lines = (run / "journal.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "evaluation"]


def test_every_evaluation_and_the_end_tell_of_so_many_training_rows(home: Path) -> None:
    for name, most in {"some": MOST, "all": 1000}.items():
        scores = json.loads((home / name / "scores.json").read_text())
        told = [event["scores"] for event in evaluations(home / name)]
        assert len(told) == 3
        for one in (*told, scores["tasks"]):
            rows = {task: splits["train"]["rows"] for task, splits in one.items()}
            assert rows == {task: min(most, n) for task, n in TRAINED.items()}
            assert all(METRIC[task] in splits["train"] for task, splits in one.items())
        assert set(scores["overall"]) == {"dev"}  # a mean over rows that were learned is no goal


def test_nothing_else_of_a_run_changes_by_it(home: Path) -> None:
    plain = facts(home / "without")
    assert "train" not in json.dumps(plain["scores"]).replace('"stage": "train"', "")
    for name in ("some", "all"):
        found = facts(home / name)
        for one in (found["scores"]["tasks"], *(e.get("scores", {}) for e in found["journal"])):  # type: ignore[index, attr-defined]
            for splits in one.values():
                splits.pop("train")
        assert found == plain


def test_they_are_the_scores_of_the_kept_model_on_those_rows(home: Path) -> None:
    scores = json.loads((home / "all" / "scores.json").read_text())
    for task, file in {"mood": "mood", "same": "pairs", "near": "near"}.items():
        path = home / "data" / f"{file}-train.tsv"
        found = trivium.evaluate(home / "all", task=task, file=path)["tasks"][task]["file"]
        assert scores["tasks"][task]["train"] == found
        kept = scores["selected"]["step"]
        (at_the_time,) = (e for e in evaluations(home / "all") if e["step"] == kept)
        assert at_the_time["scores"][task]["train"] == found


def test_some_rows_are_the_same_sample_whatever_the_seed(home: Path) -> None:
    run = read_run(home / "some")
    _, data = load_data(run.recipe)
    chosen = sample(data["mood"]["train"].examples, MOST)
    assert len(chosen) == MOST
    assert chosen == sample(data["mood"]["train"].examples, MOST)
    model = trivium.load(home / "some")
    said = model.predict("mood", [example.texts[0] for example in chosen])
    task = run.recipe.tasks["mood"]
    true = [task.answer_of(e.target) for e in chosen if e.target is not None]
    right = sum(one == other for one, other in zip(said, true, strict=True)) / MOST
    assert run.scores.metric("mood", "train", "accuracy") == pytest.approx(right, abs=1e-9)


@pytest.mark.thorough
def test_a_model_that_does_not_learn_scores_alike_each_time(tiny: Path, tmp_path: Path) -> None:
    """So the rows are the same, and dropout is off."""
    values = recipe(tiny, tmp_path) | {"train_rows": 10}
    values["stages"][0] |= {"lr": {"encoder": 0, "heads": 0}, "evaluate_every": 1, "steps": 3}
    trained(values, tmp_path / "run")
    first, *others = [event["scores"] for event in evaluations(tmp_path / "run")]
    assert others == [first, first]


def test_masked_words_are_scored_on_trained_texts_too(tiny: Path, tmp_path: Path) -> None:
    values = recipe(tiny, tmp_path) | {"train_rows": 10}
    values["tasks"] = {"mood": values["tasks"]["mood"], "words": {"kind": "mlm", "of": ["mood"]}}
    values["stages"][0] |= {"steps": 2}
    trained(values, tmp_path / "run")
    (event,) = evaluations(tmp_path / "run")
    assert event["scores"]["words"]["train"]["rows"] == 10
    assert "perplexity" in str(event["scores"]["words"]["train"])


PAIRS = {"text": ["first", "second"], "train": "made-train.tsv", "dev": "made-dev.tsv"}
VECTORS: dict[str, dict[str, Any]] = {
    "pairs": {"kind": "matching", **PAIRS, "label": "same", "positive": "1"},
    "negatives": {
        "kind": "matching", **PAIRS, "label": "same", "positive": "1", "negative": "0",
    },
    "texts": {"kind": "simcse", "of": ["mood"]},
}  # fmt: skip


@pytest.mark.parametrize("task", VECTORS.values(), ids=VECTORS.keys())
def test_a_training_row_is_scored_in_the_form_of_a_dev_row(
    tiny: Path, tmp_path: Path, task: dict[str, Any]
) -> None:
    """Without its negative, and the text that is trained twice once: as the rows of a dev file
    would be that holds them."""
    values = recipe(tiny, tmp_path) | {"train_rows": 12}
    rows: list[list[object]] = [
        [sentence(7 * n), sentence(3 * n + s), s] for n in range(30) for s in (0, 1)
    ]
    for split, some in {"train": rows, "dev": rows[:16]}.items():
        write_table(tmp_path / "data" / f"made-{split}.tsv", ["first", "second", "same"], some)
    values["tasks"] = {"mood": values["tasks"]["mood"], "made": task}
    values["stages"][0] |= {"steps": 2}
    trained(values, tmp_path / "run")
    metric = {"matching": "accuracy_at_1", "simcse": "uniformity"}[task["kind"]]
    (event,) = evaluations(tmp_path / "run")
    for told in (
        event["scores"],
        json.loads((tmp_path / "run" / "scores.json").read_text())["tasks"],
    ):
        assert told["made"]["train"]["rows"] == 12
        assert metric in told["made"]["train"]
    _, data = load_data(read_run(tmp_path / "run").recipe)
    seen = sample(data["made"]["train"].examples, 12)
    texts = [
        example.texts[:1] if task["kind"] == "simcse" else example.texts[:2] for example in seen
    ]
    readout_BK = load_trained(tmp_path / "run").readout("made", texts)
    judged = read_run(tmp_path / "run").recipe.tasks["made"]
    targets = [target for row in texts if (target := numbered(row, 1).target) is not None]
    wanted = judged.scores(readout_BK, judged.targets(targets))
    assert event["scores"]["made"]["train"][metric] == pytest.approx(wanted[metric], abs=1e-6)


def test_a_task_that_only_dev_rows_can_judge_has_none_and_the_preview_says_so(
    tiny: Path, tmp_path: Path
) -> None:
    values = recipe(tiny, tmp_path) | {"train_rows": 10}
    rows: list[list[object]] = [
        [sentence(7 * number), sentence(3 * number)] for number in range(30)
    ]
    write_table(tmp_path / "data" / "made-train.tsv", ["first", "second"], rows)
    made = {"kind": "matching", **PAIRS, "dev": "near-dev.tsv", "score": "score"}
    values["tasks"] = {"mood": values["tasks"]["mood"], "made": made}
    values["stages"] = [
        {"name": "both", "steps": 2, "batch_size": 8},
        {"name": "made", "tasks": ["made"], "steps": 2, "batch_size": 8, "select": "made"},
    ]
    told = trained(values, tmp_path / "run")
    assert "10 training rows a task, but none of made, since only its dev rows have a score" in told
    first, second = (event["scores"] for event in evaluations(tmp_path / "run"))
    assert "train" in first["mood"]
    assert "train" not in first["made"]
    assert "train" not in second["made"]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["tasks"]
    assert [name for name, splits in scores.items() if "train" in splits] == ["mood"]
    assert learning(open_runs([tmp_path / "run"])).panels


def test_the_terminal_tells_them_in_a_line_of_their_own(home: Path) -> None:
    told = (home / "some.txt").read_text().splitlines()
    lines = [line.strip() for line in told if "training rows" in line]
    assert "also scored at each evaluation: 24 training rows a task" in lines[0]
    assert len(lines) == 1 + 3
    assert lines[1].startswith("step 2 training rows: mood accuracy ")
    assert "training rows" not in (home / "without.txt").read_text()


def test_the_report_draws_them_beside_dev_and_does_without(home: Path) -> None:
    runs = open_runs([home / "some", home / "without"])
    section = learning(runs)
    assert SEEN in section.hint
    for task in TRAINED:
        (panel,) = (panel for panel in section.panels if panel.title == task)
        assert panel.figure is not None
        hollow = [t for t in panel.figure.traces if t["marker"]["symbol"].endswith("-open")]
        (line,) = hollow  # of one of the two runs
        told = [e["scores"][task]["train"][METRIC[task]] for e in evaluations(home / "some")]
        assert line["x"] == [2, 4, 6]
        assert line["y"] == pytest.approx(told, abs=1e-4)
        assert line["yaxis"] == "y2"
    assert SEEN not in learning(runs[1:]).hint


def test_a_card_promises_nothing_by_them(home: Path) -> None:
    card = (home / "some" / "model" / "README.md").read_text()
    assert "accuracy on dev" in card
    assert "on train" not in card


@pytest.mark.parametrize("wrong", [0, -3, 2.5, "all"])
def test_a_number_of_rows_that_is_none_is_refused(
    tiny: Path, tmp_path: Path, wrong: object
) -> None:
    with pytest.raises(trivium.RecipeError, match="train_rows"):
        parse_recipe(make_recipe(tiny, tmp_path) | {"train_rows": wrong})
