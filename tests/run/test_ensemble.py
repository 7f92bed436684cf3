"""Ensembles: what several models answer together, and the folder that holds them."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.model.encoder import Encoder
from trivium.model.pretrained import read_config, save_encoder
from trivium.parts.tasks import Classification, Multilabel, Ordinal, Regression, Source, Task
from trivium.recipe import parse_recipe
from trivium.run.folder.panels import Panel
from trivium.run.folder.start import run_recipe
from trivium.run.members.judged import judged_recipe, other_dev_files
from trivium.run.members.opened import open_members, panels_of
from trivium.run.members.weights import choose_weights
from trivium.run.predictor.base import Texts
from trivium.run.predictor.ensemble import EnsemblePredictor, combine
from trivium.run.predictor.trained import load_single, load_trained

VALUES = {"text": "t", "label": "l"}

LABELS = Classification(**VALUES, labels={"a": "a", "b": "b", "c": "c"})

SCORE = Regression(**VALUES, range=(0, 5))


def together(task: Task, how: str, readouts: Any, weights: Sequence[float] = ()) -> Tensor:
    readout_EBK = torch.tensor(readouts)
    places = tuple(range(len(readout_EBK)))
    panel = Panel.model_validate({"how": how, "members": places, "weights": tuple(weights)})
    return combine(task, panel, readout_EBK)


# --- several readouts into one -----------------------------------------------------------------


def test_two_votes_beat_one_though_the_mean_probability_is_against_them() -> None:
    said = [[[0.6, 0.4, 0.0]], [[0.6, 0.4, 0.0]], [[0.0, 1.0, 0.0]]]
    assert LABELS.answers(together(LABELS, "mean", said)) == ["b"]
    voted_BK = together(LABELS, "vote", said)
    assert LABELS.answers(voted_BK) == ["a"]
    # 2, 1 and 0 votes, and half a vote shared out as the mean probability.
    wanted = torch.tensor([[2 + 0.5 * 0.4, 1 + 0.5 * 0.6, 0.0]]) / 3.5
    torch.testing.assert_close(voted_BK, wanted)


def test_even_votes_go_to_the_larger_mean_probability_among_those_with_most_votes() -> None:
    said = [[[0.45, 0.15, 0.4]], [[0.45, 0.15, 0.4]], [[0.15, 0.45, 0.4]], [[0.1, 0.5, 0.4]]]
    assert LABELS.answers(together(LABELS, "mean", said)) == ["c"]
    assert LABELS.answers(together(LABELS, "vote", said)) == ["b"]


@pytest.mark.parametrize("members", [2, 3, 4, 7])
def test_a_vote_is_a_distribution_whose_first_is_who_wins(members: int) -> None:
    torch.manual_seed(members)
    readout_EBK = (3 * torch.randn(members, 500, 3)).softmax(-1)
    voted_BK = combine(LABELS, Panel(how="vote", members=tuple(range(members))), readout_EBK)
    assert voted_BK.dtype == torch.float32
    torch.testing.assert_close(voted_BK.sum(-1), torch.ones(500))
    assert voted_BK.min() >= 0
    for row in range(500):
        votes = [int(index) for index in readout_EBK[:, row].argmax(-1)]
        mean = readout_EBK[:, row].double().mean(0).tolist()
        winner = max(range(3), key=lambda k: (votes.count(k), mean[k]))
        assert int(voted_BK[row].argmax()) == winner


def test_ordered_labels_are_voted_on_as_labels() -> None:
    task = Ordinal(**VALUES, labels={"1": "1", "2": "2", "3": "3"})
    said = [[[0.5, 0.1, 0.4]], [[0.5, 0.1, 0.4]], [[0.0, 0.1, 0.9]]]
    assert task.answers(together(task, "vote", said)) == ["1"]
    assert task.answers(together(task, "mean", said)) == ["3"]


def test_each_of_many_labels_has_a_vote_of_its_own_and_ties_go_by_the_mean() -> None:
    task = Multilabel(**VALUES, labels={"a": "a", "b": "b"}, threshold=0.3)
    said = [[[0.35, 0.9]], [[0.35, 0.2]], [[0.0, 0.2]]]  # two to one for a; one to two for b
    assert task.answers(together(task, "vote", said)) == ["a"]
    assert task.answers(together(task, "mean", said)) == ["b"]
    even = [[[0.35, 0.5]], [[0.2, 0.2]]]  # means 0.275 and 0.35, on either side of the threshold
    assert task.answers(together(task, "vote", even)) == ["b"]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("members", [2, 3, 4])
def test_votes_on_many_labels_are_probabilities_that_the_threshold_cuts(
    threshold: float, members: int
) -> None:
    torch.manual_seed(members)
    task = Multilabel(**VALUES, labels={"a": "a", "b": "b"}, threshold=threshold)
    readout_EBK = torch.rand(members, 300, 2)
    voted_BK = combine(task, Panel(how="vote", members=tuple(range(members))), readout_EBK)
    votes_BK = (readout_EBK >= threshold).sum(0)
    mean_BK = readout_EBK.double().mean(0)
    even_BK = 2 * votes_BK == members
    wanted_BK = torch.where(even_BK, mean_BK >= threshold, 2 * votes_BK > members)
    assert torch.equal(voted_BK >= threshold, wanted_BK)
    assert voted_BK.min() >= 0
    assert voted_BK.max() <= 1


def test_scores_are_averaged_also_where_labels_would_be_voted_on() -> None:
    said = [[[1.0]], [[2.0]], [[4.5]]]
    assert together(SCORE, "vote", said).tolist() == [[2.5]]
    assert together(SCORE, "mean", said).tolist() == [[2.5]]
    assert together(SCORE, "weights", said, [0.5, 0.5, 0.0]).tolist() == [[1.5]]


def test_one_member_says_what_it_says() -> None:
    said = [[[0.2, 0.3, 0.5]]]
    torch.testing.assert_close(together(LABELS, "mean", said), torch.tensor(said[0]))


# --- weights -----------------------------------------------------------------------------------


def test_weights_are_found_where_they_are_best() -> None:
    # From one of each (1/2), the first is added: 2/3, then 3/4, which is the best there is.
    weight_E, best = choose_weights(lambda w_E: -abs(float(w_E[0]) - 0.75), 2)
    assert weight_E.tolist() == [0.75, 0.25]
    assert best == 0


def test_weights_stay_equal_where_no_others_are_better() -> None:
    weight_E, best = choose_weights(lambda _: 0.5, 4)
    assert weight_E.tolist() == [0.25] * 4
    assert best == 0.5
    weight_E, _ = choose_weights(lambda w_E: float(w_E.min()), 4)
    assert weight_E.tolist() == [0.25] * 4


def test_of_equally_good_weights_the_first_are_taken() -> None:
    # Two more of either are as good as each other: the earlier member, and no third step.
    weight_E, _ = choose_weights(lambda w_E: float(w_E.max() > 0.55), 2)
    assert weight_E.tolist() == [2 / 3, 1 / 3]


@pytest.mark.parametrize("seed", range(5))
def test_chosen_weights_are_convex_and_never_worse_than_equal_ones(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    readout_EBK = torch.randn(3, 40, 3, generator=generator).softmax(-1).double()
    label_B = torch.randint(3, (40,), generator=generator)

    def accuracy(weight_E: Tensor) -> float:
        mean_BK = torch.einsum("e,ebk->bk", weight_E, readout_EBK)
        return float((mean_BK.argmax(-1) == label_B).double().mean())

    weight_E, best = choose_weights(accuracy, 3)
    assert best == accuracy(weight_E) >= accuracy(torch.full((3,), 1 / 3, dtype=torch.float64))
    assert weight_E.min() >= 0
    assert float(weight_E.sum()) == pytest.approx(1)


# --- the folder --------------------------------------------------------------------------------


def quiet() -> Console:
    return Console(file=StringIO())


def train(values: dict[str, Any], folder: Path) -> Path:
    trivium.train(parse_recipe(values), folder, console=quiet())
    return folder


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs: 0, 1 and 2 of one recipe; mood, same and near of one task each."""
    home = tmp_path_factory.mktemp("members")
    values = make_recipe(tiny, home)
    values["stages"] = [values["stages"][0] | {"steps": 4}]
    for seed in range(3):
        train(values | {"seed": seed}, home / str(seed))
    for task in values["tasks"]:
        train(values | {"tasks": {task: values["tasks"][task]}}, home / task)
    return home


@pytest.fixture
def values(tiny: Path, home: Path) -> dict[str, Any]:
    """The recipe of the runs in `home`."""
    shutil.rmtree(home / "again", ignore_errors=True)
    (home / "again").mkdir()
    return make_recipe(tiny, home / "again") | {"data": str(home / "data")}


def unite(home: Path, names: Sequence[str], out: Path, how: str = "mean") -> dict[str, Any]:
    return trivium.ensemble([home / name for name in names], out, how, console=quiet())


ROWS: dict[str, list[Texts]] = {
    "mood": ["good cat runs", "bad dog", "not very blue day", "night"],
    "same": [("good cat", "good dog"), ("red", "blue day"), ("fish eats", "fish eats")],
    "near": [("good cat", "good cat"), ("red fish eats", "not very blue")],
}


@pytest.mark.parametrize("how", some_of(["vote", "mean", "weights"], "mean".__ne__))
def test_an_ensemble_answers_with_what_its_members_say(
    home: Path, tmp_path: Path, how: str
) -> None:
    told = unite(home, "012", tmp_path / "all", how)
    predictor = load_trained(tmp_path / "all")
    assert isinstance(predictor, EnsemblePredictor)
    members = [load_trained(home / name) for name in "012"]
    for task, rows in ROWS.items():
        each = torch.stack([member.readout(task, rows) for member in members])
        wanted_BK = combine(predictor.task(task), predictor.panels[task], each)
        assert torch.equal(predictor.readout(task, rows), wanted_BK)
        assert len(predictor.predict(task, rows)) == len(rows)
        assert predictor.readout(task, []).shape == (0, wanted_BK.shape[1])
    own = [json.loads((home / name / "scores.json").read_text()) for name in "012"]
    assert [member["tasks"] for member in told["members"]] == [s["tasks"] for s in own]
    assert [member["overall"] for member in told["members"]] == [s["overall"] for s in own]
    assert told["cost"] == {"parameters": 3 * own[0]["cost"]["parameters"]}


@pytest.mark.parametrize("how", some_of(["vote", "mean", "weights"], "mean".__ne__))
def test_evaluation_finds_the_scores_that_were_written(
    home: Path, tmp_path: Path, how: str
) -> None:
    out = tmp_path / "all"
    told = unite(home, "012", out, how)
    assert told == json.loads((out / "scores.json").read_text())
    found = trivium.evaluate(out)
    assert found == {key: told[key] for key in ("tasks", "overall", "precision")}
    assert set(found["overall"]["dev"]) == {"leaderboard", "mean"}
    only = trivium.evaluate(out, task="near", file=home / "data" / "near-dev.tsv")
    assert only["tasks"]["near"]["file"] == told["tasks"]["near"]["dev"]
    with (out / "predictions" / "mood-dev.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["tasks"]["mood"]["dev"]["rows"]


def test_weights_never_lower_the_dev_score(home: Path, tmp_path: Path) -> None:
    mean = unite(home, "012", tmp_path / "mean", "mean")["tasks"]
    weights = unite(home, "012", tmp_path / "weights", "weights")["tasks"]
    for task, metric in (("mood", "accuracy"), ("same", "accuracy"), ("near", "pearson")):
        assert weights[task]["dev"][metric] >= mean[task]["dev"][metric]


def test_runs_of_single_tasks_answer_all_of_them_together(home: Path, tmp_path: Path) -> None:
    told = unite(home, ["mood", "same", "near"], tmp_path / "all", "vote")
    predictor = load_trained(tmp_path / "all")
    assert list(predictor.tasks) == ["mood", "same", "near"]
    for task, rows in ROWS.items():
        assert torch.equal(
            predictor.readout(task, rows), load_trained(home / task).readout(task, rows)
        )
        own = json.loads((home / task / "scores.json").read_text())
        assert told["tasks"][task] == own["tasks"][task]
    assert "dev" in told["overall"]
    assert [member["overall"] for member in told["members"]] == [{}, {}, {}]  # none has all tasks


@pytest.mark.thorough
def test_members_may_differ_in_encoder_and_recipe(
    home: Path, tiny: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    config = read_config(tiny).model_copy(update={"hidden_size": 16, "num_hidden_layers": 1})
    other = tmp_path / "narrow"
    shutil.copytree(tiny, other)
    save_encoder(Encoder(config), other)
    values["tasks"] = {"mood": values["tasks"]["mood"] | {"text": "words", "head": "mlp"}}
    table = (home / "data" / "mood-train.tsv").read_text().replace("id\ttext", "id\twords")
    (tmp_path / "mood-train.tsv").write_text(table)
    del values["tasks"]["mood"]["dev"]
    run = train(values | {"encoder": str(other), "data": str(tmp_path)}, tmp_path / "narrow-run")
    trivium.ensemble([run, home / "0"], tmp_path / "all", "weights", console=quiet())
    predictor = load_trained(tmp_path / "all")
    each = [load_trained(folder).readout("mood", ROWS["mood"]) for folder in (run, home / "0")]
    wanted_BK = combine(
        predictor.task("mood"), Panel(how="mean", members=(0, 1)), torch.stack(each)
    )
    assert isinstance(predictor, EnsemblePredictor)
    assert predictor.panels["mood"].members == (0, 1)
    assert predictor.panels["near"].members == (1,)
    assert wanted_BK.shape == predictor.readout("mood", ROWS["mood"]).shape
    # Dev rows are those of the member that has any, in its own columns.
    assert trivium.evaluate(tmp_path / "all")["tasks"]["mood"]["dev"]["rows"] == 32


@pytest.mark.thorough
def test_masked_words_are_no_question_to_an_ensemble(
    values: dict[str, Any], tmp_path: Path
) -> None:
    values["tasks"] = {
        "words": {"kind": "mlm", "of": ["mood"]},
        "mood": values["tasks"]["mood"],
    }
    values["stages"] = [{"steps": 2, "batch_size": 4}]
    runs = [train(values | {"seed": seed}, tmp_path / str(seed)) for seed in range(2)]
    told = trivium.ensemble(runs, tmp_path / "all", console=quiet())
    assert list(told["tasks"]) == list(load_trained(tmp_path / "all").tasks) == ["mood"]
    assert all(member["overall"] for member in told["members"])
    assert trivium.evaluate(tmp_path / "all")["tasks"] == told["tasks"]
    # To the mean of the weights they belong like any other task.
    told = trivium.soup(runs, tmp_path / "soup", console=quiet())
    assert set(told["tasks"]) == {"words", "mood"}
    assert trivium.evaluate(tmp_path / "soup")["tasks"] == told["tasks"]


def test_an_ensemble_needs_nothing_of_its_members_folders(home: Path, tmp_path: Path) -> None:
    for name in "01":
        shutil.copytree(home / name, tmp_path / name)
    unite(tmp_path, "01", tmp_path / "made")
    wanted = load_trained(tmp_path / "made").readout("mood", ROWS["mood"])
    shutil.rmtree(tmp_path / "0")
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "made").rename(tmp_path / "moved")
    assert torch.equal(load_trained(tmp_path / "moved").readout("mood", ROWS["mood"]), wanted)
    assert trivium.evaluate(tmp_path / "moved")["tasks"]["mood"]["dev"]["rows"] == 32


def test_models_without_recipes_are_united_but_judged_on_named_files_only(
    home: Path, tmp_path: Path
) -> None:
    told = trivium.ensemble(
        [home / "0" / "model", home / "1" / "model"], tmp_path / "all", console=quiet()
    )
    assert told["tasks"] == {"mood": {}, "same": {}, "near": {}}
    assert told["overall"] == {}
    with pytest.raises(RecipeError, match="name --task and --file"):
        trivium.evaluate(tmp_path / "all")
    found = trivium.evaluate(tmp_path / "all", task="mood", file=home / "data" / "mood-dev.tsv")
    assert found["tasks"]["mood"]["file"]["rows"] == 32
    with pytest.raises(RecipeError, match="--how weights: no task has dev rows"):
        trivium.ensemble(
            [home / "0" / "model", home / "1" / "model"], tmp_path / "other", "weights"
        )
    # One of them with its recipe is enough.
    told = trivium.ensemble(
        [home / "0" / "model", home / "mood"], tmp_path / "other", "weights", console=quiet()
    )
    assert set(told["tasks"]["mood"]) == {"dev"}
    assert told["overall"] == {}  # of the other tasks nothing is known


@pytest.mark.parametrize("how", some_of(["vote", "mean"], "mean".__eq__))
def test_a_file_is_answered_with_probabilities(home: Path, tmp_path: Path, how: str) -> None:
    unite(home, "012", tmp_path / "all", how)
    target = tmp_path / "out.csv"
    count = trivium.predict_file(
        tmp_path / "all", "mood", home / "data" / "mood-dev.tsv", target, probabilities=True
    )
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count == 32
    for row in rows:
        chances = {name: float(row[f"probability_{name}"]) for name in ("up", "down")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert chances[row["prediction"]] == max(chances.values())
        assert float(row["confidence"]) == max(chances.values())


# --- what is refused ---------------------------------------------------------------------------


def labels(values: dict[str, Any]) -> None:
    values["tasks"]["mood"]["labels"] = ["up", "down"]  # found in the table they are sorted


def names(values: dict[str, Any]) -> None:
    values["tasks"]["same"]["labels"] = {0: "no", 1: "certainly"}


def span(values: dict[str, Any]) -> None:
    values["tasks"]["near"]["range"] = [0, 5]


def kind(values: dict[str, Any]) -> None:
    values["tasks"]["near"] = values["tasks"]["near"] | {"kind": "classification"}
    del values["tasks"]["near"]["range"]


def texts(values: dict[str, Any]) -> None:
    values["tasks"]["near"] = values["tasks"]["near"] | {"text": "first"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (labels, r"task 'mood': labels: \[\('down', 'down'\).* in the first"),
        (names, "task 'same': labels: .*certainly"),
        (span, r"task 'near': range: \[0.0, 3.0\] in the first, \[0.0, 5.0\] in the second"),
        (kind, "task 'near': kind: 'regression' in the first, 'classification'"),
        (texts, "task 'near': texts of a row: 2 in the first, 1 in the second"),
    ],
)
def test_members_that_mean_different_things_are_refused(
    home: Path, values: dict[str, Any], tmp_path: Path, change: Any, said: str
) -> None:
    change(values)
    values["stages"] = [{"steps": 1, "batch_size": 4}]
    other = train(values, tmp_path / "other")
    with pytest.raises(RecipeError, match=said) as caught:
        trivium.ensemble([home / "0", other], tmp_path / "all")
    assert str(caught.value).startswith(f"{home / '0'} and {other}: ")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("place", ["", "model"])
def test_a_run_that_is_still_training_is_refused(home: Path, tmp_path: Path, place: str) -> None:
    half = tmp_path / "half"
    shutil.copytree(home / "1", half)
    (half / "scores.json").unlink()
    with pytest.raises(RecipeError, match=r"half: this run is not finished .*--resume") as caught:
        trivium.ensemble([home / "0", half / place], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    assert str(caught.value).count("\n") == 0


def test_too_few_or_unknown_or_repeated_runs_are_refused(home: Path, tmp_path: Path) -> None:
    for names, said in (
        (["0"], "needs two runs or more; found 1"),
        (["0", "nowhere"], "nowhere: no such folder"),
        (["0", "data"], "holds no trained model"),
        (["0", "1", "0/model"], "are the same model"),
    ):
        with pytest.raises(RecipeError, match=said):
            unite(home, names, tmp_path / "all")
    with pytest.raises(RecipeError, match="--how wote: is none of vote, mean, weights"):
        unite(home, "01", tmp_path / "all", "wote")
    with pytest.raises(RecipeError, match=r"^precision: 'fp8' is none of auto, fp32, bf16"):
        trivium.ensemble([home / "0", home / "1"], tmp_path / "all", precision="fp8")
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_is_no_single_model(home: Path, tmp_path: Path) -> None:
    unite(home, "01", tmp_path / "all")
    for refused in (
        lambda: unite(home, ["0", str(tmp_path / "all")], tmp_path / "more"),
        lambda: load_single(tmp_path / "all"),
        lambda: trivium.export_lora(tmp_path / "all", merged=tmp_path / "merged"),
    ):
        with pytest.raises(RecipeError, match=r"all: is an ensemble .* needs a single one"):
            refused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all"]


@pytest.mark.thorough
def test_what_is_in_the_folder_is_not_lost(home: Path, tmp_path: Path) -> None:
    runs, out = [home / "0", home / "1"], tmp_path / "all"
    out.mkdir()
    (out / "notes.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(RecipeError, match="is not empty and holds no ensemble"):
            trivium.ensemble(runs, out, overwrite=overwrite)
    with pytest.raises(RecipeError, match="holds no ensemble"):
        trivium.ensemble(runs, home / "0", overwrite=True)
    (out / "notes.txt").unlink()
    trivium.ensemble(runs, out, console=quiet())
    with pytest.raises(RecipeError, match=r"there is an earlier ensemble.*--overwrite"):
        trivium.ensemble(runs, out)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(RecipeError, match=r"holds 'notes.txt', which is no part"):
        trivium.ensemble(runs, out, overwrite=True)
    (out / "notes.txt").unlink()
    with pytest.raises(RecipeError, match="which would be lost"):
        trivium.ensemble([out / "members" / "0", home / "2"], out, overwrite=True)
    trivium.ensemble([*runs, home / "2"], out, overwrite=True, console=quiet())
    assert sorted(path.name for path in (out / "members").iterdir()) == ["0", "1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["all"]


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_member_that_is_not_whole_is_named_and_nothing_is_written(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "1", tmp_path / "bad")
    trivium.ensemble([home / "0", home / "2"], tmp_path / "all", console=quiet())
    before = (tmp_path / "all" / "ensemble.json").read_text()
    spoil(tmp_path / "bad" / "model" / "heads.safetensors")
    for overwrite, out in ((False, "fresh"), (True, "all")):
        with pytest.raises(RecipeError, match=r"bad: .*heads.safetensors: was altered"):
            trivium.ensemble(
                [home / "0", tmp_path / "bad"], tmp_path / out, overwrite=overwrite, console=quiet()
            )
    (tmp_path / "bad" / "model" / "heads.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"bad.*heads.safetensors: cannot be copied"):
        trivium.ensemble([home / "0", tmp_path / "bad"], tmp_path / "fresh", console=quiet())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "bad"]
    assert (tmp_path / "all" / "ensemble.json").read_text() == before
    load_trained(tmp_path / "all")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("members/1/model.safetensors", r"member 1 \(.*1\): .*model.safetensors: was altered"),
        ("members/1/trivium.json", r"members/1/trivium.json: was altered"),
        ("ensemble.json", r"ensemble.json: is missing or damaged"),
    ],
)
def test_an_altered_ensemble_is_refused(home: Path, tmp_path: Path, file: str, said: str) -> None:
    unite(home, "01", tmp_path / "all")
    path = tmp_path / "all" / file
    if path.suffix == ".json":
        path.write_text(path.read_text()[:-3])
    else:
        spoil(path)
    with pytest.raises(RecipeError, match=said):
        load_trained(tmp_path / "all")


def test_members_that_changed_places_are_noticed(home: Path, tmp_path: Path) -> None:
    unite(home, "01", tmp_path / "all", "weights")
    members = tmp_path / "all" / "members"
    (members / "0").rename(members / "x")
    (members / "1").rename(members / "0")
    (members / "x").rename(members / "1")
    with pytest.raises(RecipeError, match="was altered"):
        load_trained(tmp_path / "all")


def test_a_missing_member_is_named(home: Path, tmp_path: Path) -> None:
    unite(home, "01", tmp_path / "all")
    shutil.rmtree(tmp_path / "all" / "members" / "1")
    with pytest.raises(RecipeError, match=r"members/1/trivium.json: is missing"):
        load_trained(tmp_path / "all")


def test_nonsense_in_its_description_is_refused(home: Path, tmp_path: Path) -> None:
    unite(home, "01", tmp_path / "all")
    path = tmp_path / "all" / "ensemble.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"format": 99}))
    with pytest.raises(RecipeError, match="its format is 99"):
        load_trained(tmp_path / "all")
    told["tasks"]["mood"]["members"] = [0, 7]
    path.write_text(json.dumps(told))
    with pytest.raises(RecipeError, match="a member is not one of 0…1"):
        load_trained(tmp_path / "all")


# --- at a shell --------------------------------------------------------------------------------


def call(*arguments: str | Path) -> tuple[int, str]:
    environment = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    return result.exit_code, " ".join(result.output.split())


def test_the_command_shows_every_members_scores_and_warns_of_chosen_weights(
    home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all"
    code, said = call("ensemble", home / "0", home / "mood", "--how", "weights", "--out", out)
    assert code == 0, said
    told = json.loads((out / "scores.json").read_text())
    for member in told["members"]:
        assert f"{member['tasks']['mood']['dev']['accuracy']:.4f}" in said
    assert f"{told['overall']['dev']['leaderboard']:.4f}" in said
    assert "mood: weights chosen on dev" in said
    assert "optimistic" in said
    code, said = call("evaluate", out)
    assert code == 0
    assert f"leaderboard {told['overall']['dev']['leaderboard']:.4f}" in said
    code, said = call("ensemble", home / "0", home / "mood", "--out", out)
    assert code == 2
    assert "--overwrite" in said


def test_other_dev_rows_of_a_member_are_mentioned(
    home: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    values["tasks"] = {"mood": values["tasks"]["mood"] | {"dev": "mood-train.tsv"}}
    other = train(values, tmp_path / "other")
    code, said = call("ensemble", home / "0", other, "--out", tmp_path / "all")
    assert code == 0
    assert f"mood: judged on {home / 'data' / 'mood-dev.tsv'}; {other} had" in said


def test_a_sample_of_the_same_dev_rows_is_no_other_file(home: Path) -> None:
    members = open_members([home / "0", home / "1"])
    task = members[1].tasks["mood"]
    assert members[1].recipe is not None
    few = {"mood": task.model_copy(update={"dev": Source(file="mood-dev.tsv", rows=7)})}
    recipe = members[1].recipe.model_copy(update={"tasks": members[1].recipe.tasks | few})
    members[1] = replace(members[1], recipe=recipe)
    judged = judged_recipe(members, panels_of(members, "mean"))
    assert judged is not None
    assert list(other_dev_files(members, judged)) == []


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}, {}])
def test_training_leaves_an_ensembles_folder_alone(
    home: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    unite(home, "01", tmp_path / "all")
    before = sorted(path.as_posix() for path in (tmp_path / "all").rglob("*"))
    with pytest.raises(RecipeError, match="is an ensemble, not a run to be trained"):
        trivium.train(run_recipe(home / "0"), tmp_path / "all", console=quiet(), **how)
    assert sorted(path.as_posix() for path in (tmp_path / "all").rglob("*")) == before
    assert load_trained(tmp_path / "all").predict("mood", ["cat"])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "does not say which files are its own"),
        ({}, "has no sha256 of config.json"),
        ({"../../secret.txt": "0"}, "names '../../secret.txt', which is no file of this folder"),
        ({"/etc/hosts": "0"}, "names '/etc/hosts', which is no file of this folder"),
    ],
)
def test_a_folder_from_elsewhere_cannot_name_files_outside_itself(
    home: Path, tmp_path: Path, files: Any, said: str
) -> None:
    run = tmp_path / "foreign" / "run"
    shutil.copytree(home / "0", run)
    (tmp_path / "foreign" / "secret.txt").write_text("mine")
    path = run / "model" / "trivium.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": files}))
    for use in (
        lambda: load_trained(run),
        lambda: trivium.ensemble([home / "1", run], tmp_path / "all", console=quiet()),
    ):
        with pytest.raises(RecipeError, match=re.escape(said)):
            use()
    assert not (tmp_path / "all").exists()


def test_a_member_that_was_trained_on_the_rows_all_are_judged_on_is_told(
    home: Path, tmp_path: Path
) -> None:
    values = run_recipe(home / "mood").model_dump(mode="json")
    dev = values["tasks"]["mood"]["dev"]
    values["tasks"]["mood"] |= {"train": [values["tasks"]["mood"]["train"], dev], "dev": None}
    del values["tasks"]["mood"]["name"]
    train(values, tmp_path / "leaky")
    console = quiet()
    trivium.ensemble([home / "0", tmp_path / "leaky"], tmp_path / "all", console=console)
    assert isinstance(console.file, StringIO)
    said = " ".join(console.file.getvalue().split())
    assert "leaky was trained on" in said
    assert "which all are judged on here" in said
