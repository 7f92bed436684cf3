"""Runs that start from the model of another run: what they take, what is refused, what is told."""

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from trivium.apps.study.runs import plan_study
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.model.weights import read_tensors, read_weights
from trivium.recipe import Recipe, parse_recipe
from trivium.recipe.plain_yaml import write_yaml
from trivium.run.assembly.model import build
from trivium.run.folder.provenance import read_provenance
from trivium.run.folder.started import begin
from trivium.run.rows.load import load_data
from trivium.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def first(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A recipe of a few steps, and its run."""
    home = tmp_path_factory.mktemp("first")
    values = make_recipe(tiny, home)
    stage = values["stages"][0] | {"steps": 3, "evaluate_every": 3, "lr": 0.01}
    values = values | {"stages": [stage], "adapters": [{"kind": "lora", "rank": 2}]}
    quiet = Console(file=StringIO())
    trivium.train(parse_recipe(values), home / "run", console=quiet)
    return values, home / "run"


def still(values: dict[str, Any], run: Path, **more: Any) -> dict[str, Any]:
    """The recipe started from the run, one step that changes nothing."""
    stage = values["stages"][0] | {"steps": 1, "lr": 0.0}
    return values | {"stages": [stage], "start": str(run)} | more


def loaded(values: dict[str, Any]) -> Recipe:
    """With the labels that its rows have."""
    return load_data(parse_recipe(values))[0]


def test_a_run_starts_with_the_encoder_the_adapters_and_the_heads_of_another(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    values, run = first
    said = Console(file=StringIO(), width=300)
    trivium.train(parse_recipe(still(values, run)), tmp_path / "next", console=said)
    before, after = run / "model", tmp_path / "next" / "model"
    for name, tensor in read_weights(before).items():
        assert torch.equal(tensor, read_weights(after)[name]), name
    for file in ("heads.safetensors", "adapters.safetensors"):
        old, new = read_tensors(before / file), read_tensors(after / file)
        assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    assert isinstance(said.file, StringIO)
    assert "starts from " in said.file.getvalue()
    assert "its lora, the heads of mood, same, near" in said.file.getvalue()
    kept = read_provenance(tmp_path / "next")
    assert kept is not None
    assert kept.start is not None
    assert kept.start.sha256 == sha256(before / "trivium.json")


def test_heads_that_differ_are_drawn_anew_and_named(
    first: tuple[dict[str, Any], Path],
) -> None:
    values, run = first
    tasks = values["tasks"] | {"mood": values["tasks"]["mood"] | {"head": {"kind": "mlp"}}}
    recipe = loaded(still(values, run, tasks=tasks))
    model, tokenizer = build(recipe)
    fresh = {name: tensor.clone() for name, tensor in model.heads["mood"].state_dict().items()}
    started = begin(recipe, model, tokenizer)
    assert started is not None
    assert started.fresh == ("mood",)
    assert "drawn anew: the heads of mood" in started.line
    now = model.heads["mood"].state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in fresh.items())


def test_a_head_whose_labels_stand_in_another_order_is_drawn_anew(
    first: tuple[dict[str, Any], Path],
) -> None:
    values, run = first
    for labels, fresh in ((["down", "up"], ()), (["up", "down"], ("mood",))):
        tasks = values["tasks"] | {"mood": values["tasks"]["mood"] | {"labels": labels}}
        recipe = loaded(still(values, run, tasks=tasks))
        started = begin(recipe, *build(recipe))
        assert started is not None
        assert started.fresh == fresh


def test_the_seed_stands_in_the_name_of_a_start(first: tuple[dict[str, Any], Path]) -> None:
    values, run = first
    seeded = still(values, run) | {"start": str(run).replace("run", "{seed}"), "seed": 7}
    recipe = loaded(seeded)
    with pytest.raises(RecipeError, match=r"start: .*7.*no such folder"):
        begin(recipe, *build(recipe))


def test_a_start_that_does_not_fit_is_refused_in_one_sentence(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    values, run = first
    for change, message in (
        ({"encoder": "minilm"}, r"vocab_size \d+, but that of this recipe \(minilm\) has 30522"),
        ({"adapters": []}, "was trained with lora, which this recipe lacks"),
        ({"adapters": [{"kind": "lora", "rank": 3}]}, "which this recipe has with other settings"),
        ({"start": str(tmp_path / "none")}, "no such folder"),
        ({"start": "first.yaml"}, "is a recipe, not a run. Train it first"),
    ):
        recipe = loaded(still(values, run) | change)
        with pytest.raises(RecipeError, match=message):
            begin(recipe, *build(recipe))


def test_a_start_whose_encoder_has_other_word_pieces_is_refused(
    first: tuple[dict[str, Any], Path], tiny: Path, tmp_path: Path
) -> None:
    values, run = first
    other = shutil.copytree(tiny, tmp_path / "other")
    pieces = (tiny / "vocab.txt").read_text().split()
    (other / "vocab.txt").write_text("".join(f"{p}\n" for p in [*pieces[:5], *pieces[:4:-1]]))
    recipe = loaded(still(values, run) | {"encoder": str(other)})
    with pytest.raises(RecipeError) as caught:
        begin(recipe, *build(recipe))
    told = str(caught.value)
    assert told.startswith(f"start: {run / 'model'}: its encoder reads texts in other word pieces")
    assert str(other) in told
    for folder in (run / "model", other):
        assert Tokenizer(folder).digest[:12] in told


def test_a_start_whose_files_were_altered_is_refused(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    values, run = first
    recipe = loaded(still(values, run))
    started = begin(recipe, *build(recipe))
    assert started is not None
    assert started.digest is not None
    manifest = (run / "model" / "trivium.json").read_bytes()
    weights = run / "model" / "heads.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(RecipeError, match="was altered after it was written"):
            begin(recipe, *build(recipe))
    finally:
        weights.write_bytes(content)
    assert (run / "model" / "trivium.json").read_bytes() == manifest


def test_a_study_trains_a_recipe_before_those_that_start_from_it(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    values, _ = first
    one, two = tmp_path / "z-first.yaml", tmp_path / "a-second.yaml"
    one.write_text(write_yaml(values))
    two.write_text(write_yaml(values | {"start": "z-first.yaml"}))
    plan = plan_study([two, one], tmp_path / "out", 2, [])
    assert [(run.name, run.seed) for run in plan.runs] == [
        ("z-first", 0), ("a-second", 0), ("z-first", 1), ("a-second", 1),
    ]  # fmt: skip
    for run in plan.runs_of("a-second"):
        folder = tmp_path / "out" / "z-first" / f"seed-{run.seed}"
        assert run.recipe.start == str(folder.resolve())
        assert [str(other) for other in run.waits_for] == [f"z-first seed {run.seed}"]
        assert f"start={folder.resolve()}" in run.command
    with pytest.raises(RecipeError, match="is no recipe that this study trains"):
        plan_study([two], tmp_path / "alone", 1, [])
    one.write_text(write_yaml(values | {"start": "a-second.yaml"}))
    with pytest.raises(RecipeError, match="starts from this recipe itself"):
        plan_study([two, one], tmp_path / "round", 1, [])


def test_check_takes_the_recipe_of_a_run_that_is_not_there_yet(
    first: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    values, _ = first
    one, two = tmp_path / "first.yaml", tmp_path / "second.yaml"
    one.write_text(write_yaml(values))
    two.write_text(write_yaml(values | {"start": "first.yaml"}))
    said = Console(file=StringIO(), width=300)
    preview = trivium.check(two, said)
    assert preview.started is not None
    assert "which is to be trained first" in preview.started.line
    two.write_text(write_yaml(values | {"start": "first.yaml", "adapters": []}))
    with pytest.raises(RecipeError, match="which this recipe lacks"):
        trivium.check(two, said)
