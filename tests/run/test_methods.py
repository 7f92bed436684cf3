"""Methods in real training: what each moves, what it leaves alone, what the journal says of it."""

import math
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import trivium
from tests.support.stepping import begun
from trivium.errors import RecipeError
from trivium.model.pretrained import load_encoder, save_encoder
from trivium.model.weights import read_tensors, read_weights
from trivium.recipe import parse_recipe
from trivium.run.assembly.model import build
from trivium.run.folder.journal import read_journal
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_trained
from trivium.run.rows.load import load_data

Values = dict[str, Any]


def run(values: Values, folder: Path, **stage: Any) -> tuple[list[Values], str]:
    """The journal's steps, and what was printed."""
    stages = [values["stages"][0] | {"steps": 3} | stage]
    said = StringIO()
    recipe = parse_recipe(values | {"stages": stages})
    trivium.train(recipe, folder, console=Console(file=said, width=300))
    return [e for e in read_journal(folder) if e["event"] == "step"], said.getvalue()


def moved(tiny: Path, run_dir: Path) -> set[str]:
    """Names of the encoder's tensors that training changed."""
    before, after = read_weights(tiny), read_weights(run_dir / "model")
    return {name for name in after if not torch.equal(before[name], after[name])}


# --- what of the encoder learns ----------------------------------------------------------------


def test_bitfit_moves_biases_only(recipe_values: Values, tiny: Path, tmp_path: Path) -> None:
    run(recipe_values, tmp_path / "run", trains="bitfit", steps=10)
    names = moved(tiny, tmp_path / "run")
    assert names
    assert all(name.endswith(".bias") for name in names)


def test_top_leaves_the_layers_below_alone(
    recipe_values: Values, tiny: Path, tmp_path: Path
) -> None:
    run(recipe_values, tmp_path / "run", trains={"kind": "top", "layers": 1}, steps=10)
    names = moved(tiny, tmp_path / "run")
    assert names
    assert all(name.startswith("encoder.layer.1.") for name in names)


@pytest.mark.parametrize(
    ("steps", "reached"),
    [(4, {"layer.1"}), (8, {"layer.1", "layer.0"}), (12, {"layer.1", "layer.0", "embeddings"})],
)
def test_gradual_thaws_from_the_top(
    recipe_values: Values, tiny: Path, tmp_path: Path, steps: int, reached: set[str]
) -> None:
    # 96 rows by 8 are 12 steps an epoch, so a third of one is 4 steps.
    only = recipe_values | {"tasks": {"mood": recipe_values["tasks"]["mood"]}}
    run(only, tmp_path / "run", trains={"kind": "gradual", "every": 1 / 3}, steps=steps)
    found = moved(tiny, tmp_path / "run")
    assert {part for part in ("layer.1", "layer.0", "embeddings")
            if any(part in name for name in found)} == reached  # fmt: skip


@pytest.mark.parametrize("fresh", [True, False])
def test_a_pooler_that_came_with_no_checkpoint_learns_even_where_the_encoder_is_frozen(
    recipe_values: Values, tiny: Path, tmp_path: Path, fresh: bool
) -> None:
    encoder = load_encoder(tiny)
    if fresh:
        encoder.pooler = None
        encoder.config = encoder.config.model_copy(update={"has_pooler": False})
    folder = tmp_path / "encoder"
    shutil.copytree(tiny, folder)
    save_encoder(encoder, folder)
    mood = recipe_values["tasks"]["mood"] | {"head": {"kind": "linear", "pooling": "pooler"}}
    values = recipe_values | {"encoder": str(folder), "tasks": {"mood": mood}}
    recipe, _ = load_data(parse_recipe(values))
    model, _ = build(recipe)
    before = {name: p.detach().clone() for name, p in model.encoder.named_parameters()}
    run(values, tmp_path / "run", trains="frozen")
    after = read_weights(tmp_path / "run" / "model")
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed == ({"pooler.dense.weight", "pooler.dense.bias"} if fresh else set())


def test_lora_leaves_the_encoder_as_it_was(
    recipe_values: Values, tiny: Path, tmp_path: Path
) -> None:
    run(recipe_values | {"adapters": ["lora"]}, tmp_path / "run")
    assert not moved(tiny, tmp_path / "run")
    pairs = read_tensors(tmp_path / "run" / "model" / "adapters.safetensors")
    assert any(bool(tensor.any()) for name, tensor in pairs.items() if name.endswith("lora.b"))


def test_a_task_that_does_not_train_keeps_its_answers_where_only_sides_learn(
    recipe_values: Values, tmp_path: Path
) -> None:
    values = recipe_values | {"adapters": [{"kind": "pals", "size": 8, "heads": 2}]}
    recipe, _ = load_data(parse_recipe(values))
    fresh, tokenizer = build(recipe)
    before = TorchPredictor(fresh, recipe.tasks, tokenizer)
    rows: dict[str, list[Any]] = {"mood": ["good cat"], "near": [("red dog", "blue dog")]}
    first = {task: before.readout(task, rows[task]) for task in rows}
    run(values, tmp_path / "run", tasks=["mood"], trains="frozen", lr=0.02)
    after = load_trained(tmp_path / "run")
    assert torch.equal(after.readout("near", rows["near"]), first["near"])
    assert not torch.equal(after.readout("mood", rows["mood"]), first["mood"])


# --- gradients ---------------------------------------------------------------------------------


def test_cosines_go_to_the_journal_whole_and_by_layer(
    recipe_values: Values, tmp_path: Path
) -> None:
    values = recipe_values | {"adapters": [{"kind": "pals", "size": 8, "heads": 2}]}
    steps, _ = run(values, tmp_path / "run", sampler="joint", combiner="pcgrad", conflicts_every=2)
    pairs = {"mood|same", "mood|near", "same|near"}
    assert all(set(step["cosines"]) == pairs for step in steps)
    assert ["layer_cosines" in step for step in steps] == [True, False, True]
    # A task's own side is no business of the others: it has no part in the comparison.
    assert set(steps[0]["layer_cosines"]) == {"embeddings", "layer 0", "layer 1"}
    every = [c for group in steps[0]["layer_cosines"].values() for c in group.values()]
    assert all(-1 <= cosine <= 1 for cosine in every)


def test_a_trunk_is_compared_too(recipe_values: Values, tmp_path: Path) -> None:
    for name in ("same", "near"):
        recipe_values["tasks"][name] |= {
            "encode": "separate", "head": {"kind": "mlp", "trunk": "pairs"},
        }  # fmt: skip
    steps, _ = run(recipe_values, tmp_path / "run", sampler="joint", conflicts_every=1)
    assert "trunk pairs" in steps[0]["layer_cosines"]
    found = steps[0]["layer_cosines"]["trunk pairs"]
    assert found["mood|same"] == found["mood|near"] == 0.0, "mood does not reach it"
    assert found["same|near"] != 0.0


def test_a_task_that_reaches_nothing_shared_does_not_stop_the_others(
    recipe_values: Values, tmp_path: Path
) -> None:
    """MGDA stops where one gradient vanishes; one that was never there is another matter."""
    for name in ("same", "near"):
        recipe_values["tasks"][name] |= {
            "encode": "separate", "head": {"kind": "mlp", "trunk": "pairs"},
        }  # fmt: skip
    moves = {}
    for steps in (1, 6):
        run(
            recipe_values, tmp_path / str(steps), sampler="joint", combiner="mgda",
            trains="frozen", steps=steps, lr=1e-3, schedule="constant",
        )  # fmt: skip
        heads = read_tensors(tmp_path / str(steps) / "model" / "heads.safetensors")
        moves[steps] = heads["trunk:pairs.layers.0.weight"]
    assert (moves[6] - moves[1]).abs().max() > 1e-3


def test_a_task_with_nothing_to_learn_is_refused(recipe_values: Values) -> None:
    recipe_values["tasks"]["near"] |= {"encode": "separate", "head": "sigmoid_cosine"}
    stage = recipe_values["stages"][0] | {"trains": "frozen"}
    with pytest.raises(RecipeError, match="near has nothing to learn: the encoder is frozen"):
        trivium.check(parse_recipe(recipe_values | {"stages": [stage]}), Console(file=StringIO()))


def test_weights_that_are_learned_reach_the_heads(recipe_values: Values, tmp_path: Path) -> None:
    fixed = {"sampler": "joint", "steps": 6, "clip": None, "schedule": "constant"}
    losses = {}
    for combiner in ("sum", {"kind": "uncertainty", "lr": 0.2}):
        name = combiner if isinstance(combiner, str) else "uncertainty"
        steps, _ = run(recipe_values, tmp_path / name, combiner=combiner, **fixed)
        losses[name] = [step["losses"] for step in steps]
        assert ("factors" in steps[-1]) == (name == "uncertainty")
    assert losses["sum"][0] == losses["uncertainty"][0]
    assert losses["sum"][-1] != losses["uncertainty"][-1]


# --- regularizers ------------------------------------------------------------------------------


def test_penalties_go_to_the_journal_for_the_tasks_they_are_for(
    recipe_values: Values, tmp_path: Path
) -> None:
    parts = [{"kind": "smart", "tasks": ["near"], "eps": 0.1, "sigma": 0.1}, "bregman"]
    steps, _ = run(recipe_values, tmp_path / "run", sampler="joint", regularizers=parts)
    for step in steps:
        assert set(step["penalties"]) == {"mood", "same", "near"}
        assert set(step["penalties"]["near"]) == {"smart", "bregman"}
        assert set(step["penalties"]["mood"]) == {"bregman"}
        assert step["penalties"]["near"]["smart"] > 0
    assert steps[0]["penalties"]["mood"]["bregman"] == pytest.approx(0, abs=1e-9)
    assert steps[-1]["penalties"]["mood"]["bregman"] > 0


def test_the_average_follows_the_weights_after_every_step(
    recipe_values: Values, tmp_path: Path
) -> None:
    # An average that forgets all but the newest weights never differs from them.
    forgetful = {"kind": "bregman", "beta": 0.0, "beta_first": 0.0}
    steps, _ = run(recipe_values, tmp_path / "run", sampler="joint", regularizers=[forgetful])
    for step in steps:
        for penalties in step["penalties"].values():
            assert penalties["bregman"] == pytest.approx(0, abs=1e-9)


def test_a_penalty_that_is_not_finite_is_left_out_counted_and_shown(
    recipe_values: Values, tmp_path: Path
) -> None:
    wild = {"kind": "smart", "tasks": ["near"], "eps": 1e38, "sigma": 1e38}
    steps, said = run(recipe_values, tmp_path / "run", sampler="joint", regularizers=[wild])
    assert [step["skipped"] for step in steps] == [{"smart": 1}, {"smart": 2}, {"smart": 3}]
    assert all("penalties" not in step for step in steps)
    assert all(math.isfinite(loss) for step in steps for loss in step["losses"].values())
    assert "3 smart penalties not finite, skipped" in said


@pytest.mark.parametrize("combiner", ["uncertainty", "dwa", "gradnorm"])
def test_what_a_combiner_keeps_of_a_task_is_not_taken_for_skipped_penalties(
    recipe_values: Values, combiner: str
) -> None:
    """Of a task that is called as these are counted."""
    tasks = {"skipped": recipe_values["tasks"]["mood"], "near": recipe_values["tasks"]["near"]}
    values = recipe_values | {"tasks": tasks}
    run = begun(values, combiner=combiner, sampler="joint", steps=3)
    facts = [run.step() for _ in range(3)]
    assert [fact["losses"].keys() for fact in facts] == [{"skipped", "near"}] * 3
    assert all("skipped" not in fact for fact in facts)


def test_a_weight_multiplies_the_penalty(recipe_values: Values, tmp_path: Path) -> None:
    def after(weight: float) -> dict[str, Tensor]:
        part = {"kind": "rdrop", "tasks": ["mood"], "weight": weight}
        only = recipe_values | {"tasks": {"mood": recipe_values["tasks"]["mood"]}}
        run(only, tmp_path / str(weight), regularizers=[part])
        return read_weights(tmp_path / str(weight) / "model")

    half, whole = after(0.5), after(1.0)
    assert any(not torch.equal(half[name], whole[name]) for name in half)


# --- the preview -------------------------------------------------------------------------------


@pytest.fixture
def preview(recipe_values: Values) -> Callable[..., str]:
    def show(more: Values | None = None, **stage: Any) -> str:
        said = StringIO()
        stages = [recipe_values["stages"][0] | stage]
        recipe = parse_recipe(recipe_values | {"stages": stages} | (more or {}))
        trivium.check(recipe, Console(file=said, width=300))
        return said.getvalue()

    return show


def test_check_explains_a_combination(preview: Callable[..., str]) -> None:
    said = preview(
        {"adapters": ["lora", {"kind": "pals", "size": 8, "heads": 2, "tasks": ["near"]}]},
        sampler="joint", combiner="pcgrad",
        regularizers=[{"kind": "smart", "weight": 2, "tasks": ["near"]}],
    )  # fmt: skip
    # rank 8 x (4 x (32 + 32) + (32 + 64) + (64 + 32)) x 2 layers; 2 x 8 x 32 + 2 x 3 x 8 x 8
    assert "adapters: lora (7,168 parameters), pals (896 parameters)" in said
    assert "trains: heads and adapters; the encoder's own parameters are frozen" in said
    assert "a step: 1 x one batch of every task, sampler joint, combiner pcgrad" in said
    assert "gradients are kept apart" in said
    assert "regularizer smart: near x 2; their batches are computed in fp32" in said
    assert "keeps the model by: overall" in said


@pytest.mark.parametrize(
    ("stage", "note"),
    [
        ({"combiner": "dwa", "epochs": 1}, "in 1 epochs all weights stay 1"),
        ({"trains": "gradual", "epochs": 1}, "it ends before"),
        ({"regularizers": [{"kind": "smart", "eps": 0.1}]}, "cannot reach its radius"),
        ({"weights": {"mood": 0, "same": 0, "near": 0}}, "so nothing is learned"),
    ],
)
def test_check_notes_what_is_allowed_and_yet_does_nothing(
    preview: Callable[..., str], stage: Values, note: str
) -> None:
    assert note in preview(None, **({"steps": None} | stage))


def test_a_stage_trains_only_its_own_tasks_sides(recipe_values: Values) -> None:
    pals = [{"kind": "pals", "size": 8, "heads": 2}]
    stages = [
        recipe_values["stages"][0] | {"name": "all"},
        recipe_values["stages"][0] | {"name": "one", "tasks": ["mood"]},
    ]
    recipe = parse_recipe(recipe_values | {"adapters": pals, "stages": stages})
    seen = trivium.check(recipe, Console(file=StringIO()))
    every, one = (seen.memory(stage).trained for stage in recipe.stages)
    others = [seen.model.head(task) for task in ("same", "near")]
    heads = sum(p.numel() for head in others for p in head.parameters())
    assert every - one == heads + 2 * (2 * 8 * 32 + 2 * 3 * 8**2)


def test_check_counts_what_each_stage_trains(recipe_values: Values, tmp_path: Path) -> None:
    for trains in ("full", "bitfit", {"kind": "top", "layers": 1}, "frozen"):
        recipe = parse_recipe(
            recipe_values | {"stages": [recipe_values["stages"][0] | {"trains": trains}]}
        )
        seen = trivium.check(recipe, Console(file=StringIO()))
        memory = seen.memory(recipe.stages[0])
        folder = tmp_path / str(trains)
        scores = trivium.train(recipe, folder, console=Console(file=StringIO()))
        assert scores["cost"]["trained_parameters"] == memory.trained
        assert memory.trained + memory.frozen == scores["cost"]["parameters"]


def test_a_stage_that_trains_nothing_has_no_notes_on_how_it_would(recipe_values: Values) -> None:
    def told(steps: int) -> str:
        stages = [{"steps": steps, "combiner": "dwa"}, {"name": "b", "steps": 2}]
        console = Console(file=StringIO(), width=200)
        trivium.check(parse_recipe(recipe_values | {"stages": stages}), console=console)
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    assert "stage train: dwa weighs by the losses" in told(2)
    assert "dwa" not in told(0)
