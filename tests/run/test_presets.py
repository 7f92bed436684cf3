"""Presets: fast is the probe, good the recipe, best several seeds of it in one folder."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.apps.presets import MEMBERS
from trivium.errors import RecipeError
from trivium.model.pretrained import load_encoder
from trivium.recipe import load_recipe, parse_recipe
from trivium.recipe.loading import load_recipe_file
from trivium.recipe.presets import fast
from trivium.run.folder.start import run_recipe
from trivium.run.jobs.child import Job

TASKS = ("mood", "same", "near")
OTHERS: dict[str, dict[str, Any]] = {
    "classification": {"labels": ["a", "b"], "head": {"kind": "mlp"}, "loss": "focal"},
    "ordinal": {"labels": ["1", "2", "3"]},
    "multilabel": {"labels": ["x", "y"]},
    "regression": {"range": [0, 5], "loss": "mse"},
}


def quiet() -> Console:
    return Console(file=StringIO())


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    values = make_recipe(tiny, folder)
    values["stages"] = [values["stages"][0] | {"steps": 3}]
    (folder / "r.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def fast_run(home: Path) -> Path:
    trivium.train(home / "r.yaml", home / "fast", preset="fast", console=quiet())
    return home / "fast"


@pytest.fixture(scope="module")
def best_run(home: Path) -> Path:
    trivium.train(home / "r.yaml", home / "best", preset="best", console=quiet())
    return home / "best"


def scores(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "scores.json").read_text())
    return found


# --- fast --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_fast_run_scores_what_the_probe_scores(fast_run: Path, task: str) -> None:
    found = scores(fast_run)
    ours, probe = found["tasks"][task]["dev"], found["baselines"][task]["probe"]["scores"]["dev"]
    assert ours == pytest.approx(probe, abs=1e-6)


def test_a_fast_run_leaves_the_encoder_as_it_was(fast_run: Path, tiny: Path) -> None:
    ours, theirs = (load_encoder(each).state_dict() for each in (fast_run / "model", tiny))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_a_fast_run_says_all_that_it_is_in_its_own_recipe(fast_run: Path) -> None:
    said = run_recipe(fast_run)
    assert [(stage.steps, stage.trains.kind) for stage in said.stages] == [(0, "frozen")]
    assert all(task.resolved_head.starts_from_probe for task in said.tasks.values())
    assert "preset" not in yaml.safe_load((fast_run / "recipe.yaml").read_text())


def test_a_fast_run_is_resumed_as_such_and_as_no_other(home: Path, fast_run: Path) -> None:
    again = trivium.train(home / "r.yaml", fast_run, preset="fast", resume=True, console=quiet())
    assert again == scores(fast_run)
    with pytest.raises(RecipeError, match="the recipe is not the one this run began with"):
        trivium.train(home / "r.yaml", fast_run, preset="good", resume=True, console=quiet())


def test_the_journal_of_a_fast_run_has_one_evaluation_and_no_step(fast_run: Path) -> None:
    lines = [json.loads(line) for line in (fast_run / "journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["stage", "evaluation"]


def test_minutes_are_no_matter_where_nothing_is_trained(home: Path, tmp_path: Path) -> None:
    only = trivium.train(
        home / "r.yaml", tmp_path / "run", preset="fast", only=["mood"], minutes=9, console=quiet()
    )
    assert list(only["tasks"]) == ["mood"]


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("text", ["text", ["text", "other"]])
def test_every_kind_of_task_has_a_fast_recipe(kind: str, text: Any) -> None:
    settings = {k: v for k, v in OTHERS[kind].items() if isinstance(text, str) or k != "head"}
    task = {"kind": kind, "text": text, "label": "l", **settings}
    found = fast(parse_recipe({"tasks": {"t": task}, "adapters": ["lora"]}))
    assert (found.adapters, found.tasks["t"].loss) == ((), None)
    assert found.tasks["t"].resolved_head.starts_from_probe


def test_fast_leaves_out_what_only_training_has_a_use_for() -> None:
    words = {"kind": "mlm", "of": ["t"]}
    task = {"kind": "classification", "text": "text", "label": "l", "labels": ["a", "b"]}
    found = fast(parse_recipe({"tasks": {"t": task, "words": words}}))
    assert list(found.tasks) == ["t"]
    with pytest.raises(RecipeError, match="no task of the recipe has answers"):
        fast(parse_recipe({"tasks": {"words": {"kind": "mlm", "text": "text", "train": "a.txt"}}}))


def test_check_tells_that_nothing_is_trained(home: Path) -> None:
    console = Console(file=StringIO(), width=200)
    preview = trivium.check(home / "r.yaml", console, preset="fast", time=True)
    assert "nothing is trained: heads stay what they start from" in console.file.getvalue()  # type: ignore[attr-defined]
    assert preview.plan(preview.recipe.stages[0]).steps == 0


# --- best --------------------------------------------------------------------------------------


def test_best_is_the_ensemble_of_runs_that_differ_in_their_seed(best_run: Path) -> None:
    homes = [best_run.with_name("best-seeds") / str(seed) for seed in range(MEMBERS)]
    assert [run_recipe(home).seed for home in homes] == list(range(MEMBERS))
    told = scores(best_run)
    assert len(told["members"]) == MEMBERS
    by_hand = trivium.ensemble(homes, best_run.with_name("by-hand"), console=quiet())
    assert by_hand["tasks"] == told["tasks"]


def test_what_best_leaves_is_loaded_as_a_run_is(best_run: Path) -> None:
    model = trivium.load(best_run)
    assert model.predict("mood", ["good day cat"])[0] in ("up", "down")
    assert trivium.evaluate(best_run, console=quiet())["tasks"] == scores(best_run)["tasks"]


@pytest.mark.thorough
def test_best_goes_on_where_it_was_stopped(home: Path, best_run: Path) -> None:
    out = home / "stopped"
    trivium.train(home / "r.yaml", home / "stopped-seeds" / "0", console=quiet())
    with pytest.raises(RecipeError, match="already holds a run"):
        trivium.train(home / "r.yaml", out, preset="best", console=quiet())
    told = Console(file=StringIO(), width=300)
    found = trivium.train(home / "r.yaml", out, preset="best", resume=True, console=told)
    assert "this run is finished" in told.file.getvalue()  # type: ignore[attr-defined]
    assert found["tasks"] == scores(best_run)["tasks"]
    again = trivium.train(home / "r.yaml", out, preset="best", resume=True, console=quiet())
    assert again["tasks"] == found["tasks"]


def test_best_refuses_at_the_door(
    home: Path, best_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="there is an earlier ensemble"):
        trivium.train(home / "r.yaml", best_run, preset="best", console=quiet())
    with pytest.raises(RecipeError, match="no run to resume"):
        trivium.train(home / "r.yaml", home / "new", preset="best", resume=True, console=quiet())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="torchrun"):
        trivium.train(home / "r.yaml", home / "new", preset="best", console=quiet())
    assert not (home / "new-seeds").exists()


# --- where it is said --------------------------------------------------------------------------


def test_a_file_says_its_preset_and_the_caller_another(home: Path) -> None:
    file = home / "fast.yaml"
    file.write_text((home / "r.yaml").read_text() + "preset: fast\n")
    assert load_recipe(file).stages[0].steps == 0
    assert load_recipe_file(file).preset == "fast"
    assert load_recipe(file, preset="good") == load_recipe(home / "r.yaml")


def test_a_recipe_that_extends_another_keeps_its_preset_or_says_its_own(home: Path) -> None:
    (home / "fast.yaml").write_text((home / "r.yaml").read_text() + "preset: fast\n")
    heir = home / "heir.yaml"
    heir.write_text("extends: fast.yaml\n")
    assert load_recipe(heir).stages[0].steps == 0
    heir.write_text("extends: fast.yaml\npreset: good\n")
    assert load_recipe(heir).stages[0].steps == 3


def test_a_run_of_a_study_is_one_run(home: Path) -> None:
    file = home / "most.yaml"
    file.write_text((home / "r.yaml").read_text() + "preset: best\n")
    job = Job(path=file, recipe=load_recipe(file), folder=home / "study" / "0")
    assert job.command[-2:] == ["--preset", "good"]


def test_what_is_no_preset_is_refused_with_those_that_are(home: Path) -> None:
    with pytest.raises(RecipeError, match="there is no 'beste'; did you mean 'best'"):
        trivium.train(home / "r.yaml", home / "none", preset="beste", console=quiet())
    with pytest.raises(RecipeError, match="a preset with --preset"):
        load_recipe(home / "r.yaml", ["preset=fast"])


def test_a_draft_says_the_preset_that_was_asked_for(home: Path) -> None:
    out = home / "draft.yaml"
    trivium.init([home / "data" / "mood-train.tsv"], out, preset="fast", console=quiet())
    assert yaml.safe_load(out.read_text())["preset"] == "fast"
    assert load_recipe(out).stages[0].steps == 0
