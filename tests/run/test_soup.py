"""Soups: the mean of several runs' weights, kept as long as it helps."""

import json
import shutil
from collections.abc import Callable
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
from trivium.recipe import parse_recipe
from trivium.run.folder.model import load_model, save_model
from trivium.text.tokenizer import Tokenizer

Change = Callable[[str, Tensor], Tensor]


def quiet() -> Console:
    return Console(file=StringIO())


def train(values: dict[str, Any], folder: Path) -> Path:
    trivium.train(parse_recipe(values), folder, console=quiet())
    return folder


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: `plain`, and `rich` with adapters and a trunk; and the recipe of the first."""
    home = tmp_path_factory.mktemp("soup")
    values = make_recipe(tiny, home)
    values["stages"] = [{"steps": 24, "batch_size": 8, "lr": 3e-3}]
    # Correlations change with the last digit of a weight, accuracies do not.
    values["tasks"]["near"]["auxiliary"] = True
    train(values, home / "plain")
    (home / "recipe.json").write_text(json.dumps(values))
    values["adapters"] = [
        {"kind": "lora", "rank": 2, "freeze_base": False},
        {"kind": "pals", "size": 8, "heads": 2},
    ]
    head = {"kind": "mlp", "trunk": "both"}
    values["tasks"] = {
        "near": values["tasks"]["near"] | {"head": head},
        "mood": values["tasks"]["mood"],
        "other": values["tasks"]["near"] | {"head": head},
    }
    train(values, home / "rich")
    return home


def weights(run: Path) -> dict[str, Tensor]:
    return load_model(run / "model").model.state_dict()


def sibling(run: Path, folder: Path, change: Change, overall: float = -1.0) -> Path:
    """A run of the same recipe with another seed, whose weights are those of `run`, changed, and
    whose overall dev score is `overall`, as it says."""
    shutil.copytree(run, folder)
    loaded = load_model(folder / "model")
    state = {name: change(name, tensor) for name, tensor in loaded.model.state_dict().items()}
    loaded.model.load_state_dict(state)
    save_model(
        loaded.model, loaded.tasks, loaded.tokenizer, folder / "model",
        precision=loaded.precision, adapters=loaded.adapters,
    )  # fmt: skip
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 7"))
    told = json.loads((folder / "scores.json").read_text())
    told["overall"]["dev"]["leaderboard"] = overall
    (folder / "scores.json").write_text(json.dumps(told))
    return folder


def nudged(_name: str, tensor: Tensor) -> Tensor:
    """So near that no answer changes."""
    return tensor + 1e-6 * torch.arange(tensor.numel()).view(tensor.shape).remainder(5)


def opposite(name: str, tensor: Tensor) -> Tensor:
    """Heads that say the opposite, so loudly that their mean with the others does too."""
    return -3 * tensor if name.startswith("heads.") else tensor


@pytest.mark.parametrize("kind", some_of(["plain", "rich"], "rich".__eq__))
def test_a_soup_of_a_run_with_itself_is_that_run(home: Path, tmp_path: Path, kind: str) -> None:
    run = home / kind
    again = [shutil.copytree(run, tmp_path / name) for name in ("b", "c")]
    told = trivium.soup([run, *again], tmp_path / "soup", console=quiet())
    assert [one["kept"] for one in told["soup"]] == [True, True, True]
    before, after = weights(run), weights(tmp_path / "soup")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = json.loads((run / "scores.json").read_text())
    assert told["tasks"] == own["tasks"]
    assert told["overall"] == own["overall"]


def test_a_run_that_is_named_twice_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="plain: is named twice"):
        trivium.soup([home / "rich" / ".." / "plain", home / "plain"], tmp_path / "soup")


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_every_tensor_is_the_mean_of_the_runs(home: Path, tmp_path: Path, kind: str) -> None:
    other = sibling(home / kind, tmp_path / "other", nudged)
    third = sibling(home / kind, tmp_path / "third", lambda n, t: nudged(n, nudged(n, t)))
    told = trivium.soup([other, home / kind, third], tmp_path / "soup", console=quiet())
    assert [one["kept"] for one in told["soup"]] == [True, True, True]
    each = [weights(run) for run in (home / kind, other, third)]
    after = weights(tmp_path / "soup")
    assert any("lora" in name for name in after) == (kind == "rich")
    assert any(name.startswith("trunks.") for name in after) == (kind == "rich")
    for name, found in after.items():
        wanted = torch.stack([state[name].double() for state in each]).mean(0).float()
        assert torch.equal(found, wanted), name


def test_what_would_lower_the_dev_score_is_left_out(home: Path, tmp_path: Path) -> None:
    bad = sibling(home / "plain", tmp_path / "bad", opposite)
    good = sibling(home / "plain", tmp_path / "good", nudged, overall=-2.0)
    told = trivium.soup([bad, good, home / "plain"], tmp_path / "soup", console=quiet())
    runs = [(Path(one["run"]).name, one["kept"]) for one in told["soup"]]
    assert runs == [("plain", True), ("bad", False), ("good", True)]  # by their own scores
    first, bad_one, good_one = (one["soup"] for one in told["soup"])
    assert bad_one < first <= good_one == told["overall"]["dev"]["leaderboard"]
    one, two = weights(home / "plain"), weights(good)
    for name, found in weights(tmp_path / "soup").items():
        assert torch.equal(found, ((one[name].double() + two[name].double()) / 2).float())


def test_a_soup_is_an_ordinary_run(home: Path, tmp_path: Path) -> None:
    other = sibling(home / "plain", tmp_path / "other", nudged)
    told = trivium.soup([home / "plain", other], tmp_path / "soup", console=quiet())
    assert told == json.loads((tmp_path / "soup" / "scores.json").read_text())
    assert trivium.evaluate(tmp_path / "soup") == {
        key: told[key] for key in ("tasks", "overall", "precision")
    }
    own = json.loads((home / "plain" / "scores.json").read_text())["cost"]
    assert told["cost"]["tokens"] == 2 * own["tokens"]
    assert told["cost"].keys() == own.keys() - {"first_step_s"}  # it took none
    assert {path.name for path in (tmp_path / "soup").iterdir()} == {
        "recipe.yaml", "environment.json", "scores.json", "model", "predictions",
    }  # fmt: skip
    assert trivium.load(tmp_path / "soup").predict("mood", ["good cat"]) != []
    # It may go into an ensemble, and into another soup.
    trivium.ensemble([tmp_path / "soup", other], tmp_path / "both", console=quiet())
    trivium.soup([tmp_path / "soup", other], tmp_path / "more", console=quiet())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"stages": [{"steps": 1, "batch_size": 8, "lr": 3e-3}]},
            r"stages.0.steps is 24 in the first and 1 in the",
        ),
        ({"precision": "auto"}, "precision is 'fp32' in the first and 'auto' in the second"),
    ],
)
def test_runs_of_other_recipes_are_refused_by_the_first_setting_that_differs(
    home: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    values = json.loads((home / "recipe.json").read_text()) | change
    other = train(values, tmp_path / "other")
    with pytest.raises(RecipeError, match=said) as caught:
        trivium.soup([home / "plain", other], tmp_path / "soup", console=quiet())
    assert str(caught.value).startswith(f"{home / 'plain'} and {other}: ")
    assert "trivium ensemble" in str(caught.value)
    assert not (tmp_path / "soup").exists()


def test_runs_whose_labels_stand_in_another_order_are_refused(home: Path, tmp_path: Path) -> None:
    """Each would be right by itself, and their mean would be of outputs that mean two things."""
    recipe = sibling(home / "plain", tmp_path / "b", nudged) / "recipe.yaml"
    text, lines = recipe.read_text(), ("      down: down\n", "      up: up\n")
    assert "".join(lines) in text
    recipe.write_text(text.replace("".join(lines), "".join(reversed(lines))))
    with pytest.raises(RecipeError, match=r"labels is \['down', 'up'\] in the first and \['up', "):
        trivium.soup([home / "plain", tmp_path / "b"], tmp_path / "soup", console=quiet())


def test_runs_that_each_start_from_their_own_seeds_run_are_of_one_recipe(
    home: Path, tmp_path: Path
) -> None:
    for name, seed, start in (("a", 0, "base/seed-0"), ("b", 7, "base/seed-7"), ("c", 8, "x")):
        recipe = sibling(home / "plain", tmp_path / name, nudged) / "recipe.yaml"
        text = recipe.read_text().replace("seed: 7", f"seed: {seed}")
        recipe.write_text(f"start: {tmp_path / start}\n{text.replace('start: null', '')}")
    with pytest.raises(RecipeError, match=r"start is '.*seed-0' in the first and '.*x' in"):
        trivium.soup([tmp_path / "a", tmp_path / "c"], tmp_path / "soup", console=quiet())
    told = trivium.soup([tmp_path / "a", tmp_path / "b"], tmp_path / "soup", console=quiet())
    assert len(told["soup"]) == 2


def test_models_of_another_shape_are_refused(home: Path, tmp_path: Path) -> None:
    other = sibling(home / "plain", tmp_path / "other", nudged)
    shutil.rmtree(other / "model")
    shutil.copytree(home / "rich" / "model", other / "model")
    with pytest.raises(RecipeError, match=r"other: tensor .* cannot be averaged"):
        trivium.soup([home / "plain", other], tmp_path / "soup", console=quiet())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_models_of_other_word_pieces_are_refused(home: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home / "plain", tmp_path / "other")
    loaded = load_model(other / "model")
    words = shutil.copytree(other / "model", tmp_path / "words")
    (words / "tokenizer.json").unlink()
    pieces = (words / "vocab.txt").read_text().split()
    (words / "vocab.txt").write_text("".join(f"{p}\n" for p in [*pieces[:5], *pieces[:4:-1]]))
    save_model(
        loaded.model, loaded.tasks, Tokenizer(words), other / "model",
        precision=loaded.precision, adapters=loaded.adapters,
    )  # fmt: skip
    with pytest.raises(RecipeError, match=r"its encoder reads texts in other word pieces .*averag"):
        trivium.soup([home / "plain", other], tmp_path / "soup", console=quiet())
    assert not (tmp_path / "soup").exists()


def test_what_is_no_finished_run_is_refused(home: Path, tmp_path: Path) -> None:
    run, out = home / "plain", tmp_path / "soup"
    shutil.copytree(run, tmp_path / "half")
    (tmp_path / "half" / "scores.json").unlink()
    trivium.ensemble([run, home / "rich"], tmp_path / "all", console=quiet())
    judged = sibling(run, tmp_path / "unjudged", nudged)
    told = json.loads((judged / "scores.json").read_text())
    (judged / "scores.json").write_text(json.dumps(told | {"overall": {}}))
    for runs, said in (
        ([run], "needs two runs or more; found 1"),
        ([run, run / "model"], "is a model folder without its recipe"),
        ([run, tmp_path / "half"], "the run is not finished"),
        ([run, tmp_path / "nowhere"], "no such folder"),
        ([run, tmp_path / "all"], "is an ensemble"),
        ([run, judged], "has no overall dev score"),
    ):
        with pytest.raises(RecipeError, match=said):
            trivium.soup(runs, out, console=quiet())
    assert not out.exists()


@pytest.mark.thorough
def test_a_soup_replaces_soups_only_and_never_its_own_runs(home: Path, tmp_path: Path) -> None:
    run, out = home / "plain", tmp_path / "soup"
    other = sibling(run, tmp_path / "other", nudged)
    for overwrite in (False, True):
        with pytest.raises(RecipeError, match="is not empty and holds no soup"):
            trivium.soup([run, other], other, overwrite=overwrite, console=quiet())
    trivium.soup([run, other], out, console=quiet())
    with pytest.raises(RecipeError, match=r"there is an earlier soup.*--overwrite"):
        trivium.soup([run, other], out, console=quiet())
    with pytest.raises(RecipeError, match="which would be lost"):
        trivium.soup([out, other], out, overwrite=True, console=quiet())
    third = sibling(run, tmp_path / "third", nudged)
    trivium.soup([run, third], out, overwrite=True, console=quiet())
    named = [one["run"] for one in json.loads((out / "scores.json").read_text())["soup"]]
    assert sorted(named) == sorted([str(run), str(third)])


def test_a_soup_whose_replacement_was_killed_is_replaced(home: Path, tmp_path: Path) -> None:
    runs, out = [home / "plain", sibling(home / "plain", tmp_path / "b", nudged)], tmp_path / "soup"
    trivium.soup(runs, out, console=quiet())
    out.rename(tmp_path / ".soup.old")  # between the two renames
    with pytest.raises(RecipeError, match=r"there is an earlier soup"):
        trivium.soup(runs, out, console=quiet())
    out.rename(tmp_path / ".soup.old")
    trivium.soup(runs, out, overwrite=True, console=quiet())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "soup"]


def test_the_command_says_when_nothing_could_be_added(home: Path, tmp_path: Path) -> None:
    bad = sibling(home / "plain", tmp_path / "bad", opposite)
    environment = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    arguments = ["soup", str(home / "plain"), str(bad), "--out", str(tmp_path / "soup")]
    result = CliRunner().invoke(app, arguments, env=environment)
    said = " ".join(result.output.split())
    assert result.exit_code == 0, said
    assert f"Nothing could be added: the soup is {home / 'plain'} itself." in said
    assert "rarely average well" in said
    assert "left out" in said
    before, after = weights(home / "plain"), weights(tmp_path / "soup")
    assert all(torch.equal(before[name], after[name]) for name in before)
