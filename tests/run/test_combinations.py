"""Every two choices of methods occur together in at least one of these runs.

The combinations are generated: each pair of values of two families meets at least once. Every
run trains three steps, must give finite losses, answer alike before and after saving, and be gone
on with to the same bits from what it had kept before its third step.
"""

import math
import random
import shutil
from collections import Counter
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.tables import make_recipe
from tests.support.thorough import some_of
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.parts.regularizers import Distill
from trivium.recipe import Recipe, parse_recipe
from trivium.run.folder import model as model_folder
from trivium.run.folder.journal import read_journal
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_trained
from trivium.run.training import judge, loop, step

Values = dict[str, Any]

GRAM = ["pcgrad", "gradvac", "mgda", "cagrad", "imtl_g", "nash", "upgrad", "gradnorm"]

TEACHER = "teacher"
"""Stands for the folder of the `teacher` fixture."""

FAMILIES: dict[str, dict[str, Any]] = {
    "trains": {
        "full": "full", "frozen": "frozen", "bitfit": "bitfit",
        "top": {"kind": "top", "layers": 1}, "gradual": {"kind": "gradual", "every": 0.1},
    },
    "adapters": {
        "none": [],
        "pals": [{"kind": "pals", "size": 8, "heads": 2}],
        "zero pals on top": [{"kind": "pals", "size": 8, "heads": 2, "top": 1, "zero_start": True}],
        "houlsby": [{"kind": "houlsby", "size": 4}],
        "lhuc": [{"kind": "lhuc", "tasks": ["mood", "near"]}],
        "lora": [{"kind": "lora", "rank": 2, "dropout": 0.1}],
        "lora and pals": ["lora", {"kind": "pals", "size": 8, "heads": 2, "tasks": ["near"]}],
    },
    "heads": {
        "plain": {},
        "mlp": {"mood": {"head": {"kind": "mlp", "depth": 2, "width": 8}},
                "near": {"head": "mlp"}},
        "trunk": {task: {"head": {"kind": "mlp", "trunk": "pairs", "width": 16}}
                  for task in ("same", "near")},
        "bilstm": {task: {"head": {"kind": "bilstm", "width": 8}} for task in ("mood", "same")},
        "from a probe": {"mood": {"head": {"kind": "linear", "start": "probe", "pooling": "cls"}}},
        "losses": {"mood": {"loss": {"kind": "focal", "gamma": 2}, "class_weights": "balanced"},
                   "same": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}},
                   "near": {"loss": {"kind": "cosent", "anchor": 0.5}}},
        "ordinal": {"mood": {"kind": "ordinal", "labels": ["down", "up"]}},
        "multilabel": {"mood": {"kind": "multilabel"}},
    },
    "combiner": {"sum": "sum", **{kind: kind for kind in GRAM}, "uncertainty": "uncertainty",
                 "dwa": {"kind": "dwa", "every": 1}},
    "sampler": {k: k for k in
                ("joint", "round_robin", "proportional", "sqrt", "temperature", "annealed")},
    "regularizers": {
        "none": [],
        "smart": [{"kind": "smart", "tasks": ["near"], "weight": 10}],
        "bregman": ["bregman"],
        "rdrop": ["rdrop"],
        "smart and bregman": [{"kind": "smart", "eps": 1e-2, "steps": 2}, "bregman"],
        "l2_sp": ["l2_sp"],
        "distill": [{"kind": "distill", "teachers": {"same": TEACHER, "near": TEACHER}}],
    },
    "words": {
        "none": {},
        "words": {"words": {"kind": "mlm", "of": ["mood", "near"], "mask": {"whole_words": True}}},
        "matching": {"words": {
            "kind": "matching", "text": ["first", "second"], "train": "pairs-train.tsv",
            "dev": "pairs-dev.tsv", "label": "same", "positive": 1, "negative": 0,
        }},
        "simcse": {"words": {"kind": "simcse", "of": ["mood", "near"],
                             "loss": {"kind": "mnrl", "symmetric": True}}},
    },
    "average": {"none": None, "ema": {"kind": "ema", "decay": 0.5},
                "swa": {"kind": "swa", "after": 0.3}},
    "pairs": {"separate": "separate", "joint": "joint"},
    "precision": {"fp32": "fp32", "bf16": "bf16"},
}  # fmt: skip

NAMES = list(FAMILIES)


def makes_sense(case: dict[str, str]) -> bool:
    """Whether a recipe allows it."""
    lora = "lora" in case["adapters"]
    if lora and case["trains"] not in ("full", "frozen"):
        return False  # LoRA freezes what these choose from
    vectors = case["words"] in ("matching", "simcse")
    if case["trains"] == "frozen" and vectors and case["adapters"] in ("none", "lhuc"):
        return False  # their head has no parameters
    if case["trains"] == "frozen" and case["combiner"] in GRAM:
        return lora or case["heads"] == "trunk"  # else nothing shared is trained
    return True


Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(case: dict[str, str]) -> set[Pair]:
    return set(combinations(case.items(), 2))


def generated() -> list[dict[str, str]]:
    """Greedily: of random cases that hold a pair not met yet, the one that holds the most."""
    rng = random.Random(0)
    left = [
        ((first, a), (second, b))
        for (first, some), (second, others) in combinations(FAMILIES.items(), 2)
        for a in some
        for b in others
        if ((first, a), (second, b)) not in REFUSED
    ]
    missing, cases = set(left), []
    while missing:
        pair = next(pair for pair in left if pair in missing)
        tried: list[dict[str, str]] = []
        while len(tried) < 60:
            case = {name: rng.choice(list(values)) for name, values in FAMILIES.items()}
            case |= dict(pair)
            if makes_sense(case):
                tried.append(case)
        best = max(tried, key=lambda case: len(pairs_of(case) & missing))
        cases.append(best)
        missing -= pairs_of(best)
    return cases


REFUSED: set[Pair] = {
    (("trains", chosen), ("adapters", adapters))
    for chosen in ("bitfit", "top", "gradual")
    for adapters in ("lora", "lora and pals")
}
"""What recipes refuse whatever else they say."""

CASES = generated()


def core_of(cases: list[dict[str, str]]) -> list[dict[str, str]]:
    """Greedily: those in which every choice occurs, for the default run."""
    missing = Counter({choice for case in cases for choice in case.items()})
    core: list[dict[str, str]] = []
    while missing := +missing:
        left = [case for case in cases if case not in core]
        core.append(max(left, key=lambda case: len(missing.keys() & case.items())))
        missing.subtract(core[-1].items())
    return core


CORE = core_of(CASES)


@pytest.fixture(scope="session")
def teacher(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the tasks whose kind no combination changes."""
    home = tmp_path_factory.mktemp("teacher")
    values = make_recipe(tiny, home)
    del values["tasks"]["mood"]
    values["stages"][0]["steps"] = 2
    trivium.train(parse_recipe(values), home / "run", console=Console(file=StringIO()))
    return home / "run"


def recipe_of(
    tiny: Path, folder: Path, chosen: dict[str, str], teacher: Path = Path(TEACHER)
) -> Recipe:
    picked = {family: FAMILIES[family][value] for family, value in chosen.items()}
    values = make_recipe(tiny, folder)
    for name in ("same", "near"):
        values["tasks"][name]["encode"] = picked["pairs"]
    values["tasks"] |= picked["words"]
    for name, changes in picked["heads"].items():
        values["tasks"][name] |= changes
    stage = {
        "steps": 3, "batch_size": 4, "lr": 1e-3, "checkpoint_every": 1, "evaluate_every": 2,
        "conflicts_every": None,
        # One task a draw: three draws make a step in which gradients can disagree.
        "batches_per_step": 1 if picked["sampler"] == "joint" else 3,
        **{k: picked[k] for k in ("sampler", "combiner", "regularizers", "trains", "average")},
    }  # fmt: skip
    recipe = parse_recipe(values | {
        "precision": picked["precision"], "adapters": picked["adapters"], "stages": [stage],
        "probe": chosen["heads"] == "from a probe",  # no other combination asks for one
    })  # fmt: skip
    (only,) = recipe.stages
    parts = tuple(
        part.moved(lambda _: str(teacher)) if isinstance(part, Distill) else part
        for part in only.regularizers
    )
    return recipe.model_copy(update={"stages": (only.model_copy(update={"regularizers": parts}),)})


def test_every_two_choices_meet() -> None:
    met = {pair for case in CASES for pair in pairs_of(case)}
    for (first, some), (second, others) in combinations(FAMILIES.items(), 2):
        for pair in (((first, a), (second, b)) for a in some for b in others):
            assert (pair in met) != (pair in REFUSED), pair


def test_every_choice_occurs_in_the_default_run() -> None:
    for family, values in FAMILIES.items():
        assert {case[family] for case in CORE} == set(values)


@pytest.mark.parametrize("refused", sorted(REFUSED), ids=str)
def test_what_is_left_out_is_what_recipes_refuse(refused: Pair, tiny: Path, tmp_path: Path) -> None:
    plain = {name: next(iter(values)) for name, values in FAMILIES.items()}
    with pytest.raises(RecipeError, match="lora freezes them all"):
        recipe_of(tiny, tmp_path, plain | dict(refused))


@pytest.mark.parametrize(
    "case",
    some_of(CASES, lambda case: case in CORE),
    ids=[" + ".join(case.values()) for case in CASES],
)
def test_a_combination_trains_resumes_and_survives_saving(  # noqa: PLR0915
    case: dict[str, str],
    tiny: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipe_of(tiny, tmp_path, case, teacher)
    console = Console(file=StringIO())
    rows: dict[str, list[Any]] = {
        "mood": ["good cat runs", "bad"], "same": [("red dog", "blue dog")], "near": [("a", "b")],
    }  # fmt: skip
    if case["words"] != "none":
        pairs = [("good cat", "runs"), ("bad", "bad")]
        rows["words"] = pairs if case["words"] == "matching" else ["good cat runs", "bad"]
    before: dict[str, torch.Tensor] = {}
    save = model_folder.save_model

    def answer_and_save(model: Any, tasks: Any, tokenizer: Any, *rest: Any, **more: Any) -> None:
        predictor = TorchPredictor(model, tasks, tokenizer)
        before.update({task: predictor.readout(task, rows[task]) for task in rows})
        save(model, tasks, tokenizer, *rest, **more)

    real, taken = step.train_step, 0

    def kept_before_the_third(*arguments: Any) -> Any:
        """What a process leaves that is killed in the third step."""
        nonlocal taken
        taken += 1
        if taken == 3:
            shutil.copytree(tmp_path / "whole", tmp_path / "halves")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(judge, "save_model", answer_and_save)
        patch.setattr(loop, "train_step", kept_before_the_third)
        trivium.train(recipe, tmp_path / "whole", console=console)
    steps = [e for e in read_journal(tmp_path / "whole") if e["event"] == "step"]
    assert len(steps) == 3
    for told in steps:
        values = [*told["losses"].values(), told["norm"]]
        values += [v for kinds in told.get("penalties", {}).values() for v in kinds.values()]
        assert all(math.isfinite(value) for value in values)
    after = load_trained(tmp_path / "whole", precision=case["precision"])
    for task, readout_BK in before.items():
        assert torch.equal(after.readout(task, rows[task]), readout_BK), task

    trivium.train(recipe, tmp_path / "halves", resume=True, console=console)
    whole, halves = tmp_path / "whole" / "model", tmp_path / "halves" / "model"
    files = {path.name for path in whole.glob("*.safetensors")}
    assert files >= {"model.safetensors", "heads.safetensors"}
    assert {n: sha256(whole / n) for n in files} == {n: sha256(halves / n) for n in files}
    again = [e for e in read_journal(tmp_path / "halves") if e["event"] == "step"]
    assert again == steps
