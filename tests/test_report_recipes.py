"""The recipes of the five reports load whole and shortened, and each carries what was reported."""

import math
from functools import cache
from pathlib import Path

import pytest

import trivium
from tests.support.thorough import some_of
from trivium.parts.tasks import MaskedWords
from trivium.recipe import Recipe, load_recipe_file
from trivium.recipe.budget import Reported
from trivium.recipe.ensembles import load_ensemble
from trivium.run.assembly.model import build

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
REPORTS = ROOT / "recipes" / "reports"
SYSTEMS = {
    "r0": "sst-frozen sst-full cfimdb-frozen cfimdb-full three-frozen three-full multitask "
    "fine-tuned step-lr",
    "r1": "single-sentiment single-paraphrase single-similarity shared-round-robin "
    "shared-annealed shared-proportional pals-annealed pals-round-robin pals-proportional "
    "pals-annealed-326 pretrained-before pretrained-after",
    "r2": "frozen full shared smart smart-acting pcgrad-fixed pcgrad-adjusted ensemble-1 "
    "ensemble-2 single-sentiment single-paraphrase single-similarity "
    "frozen-joint full-joint shared-joint smart-acting-joint pcgrad-fixed-joint "
    "pcgrad-adjusted-joint ensemble-1-joint ensemble-2-joint single-paraphrase-joint "
    "single-similarity-joint",
    "r3": "pretraining-words pretraining-nli plain mlm nli-mlm adversarial adversarial-acting "
    "lora-pcgrad",
    "r4": "sst-frozen sst-full cfimdb-frozen cfimdb-full sst-cfimdb single summed pcgrad bilstm "
    "bilstm-layers single-joint summed-joint pcgrad-joint bilstm-joint bilstm-layers-joint",
}
NAMES = [f"{report}-{name}" for report, names in SYSTEMS.items() for name in names.split()]
ENSEMBLES = [name for name in NAMES if "ensemble" in name]
JOINT = [name for name in NAMES if name.endswith("-joint")]
UNSCORED = [
    "r1-pretrained-before", "r1-pretrained-after", "r3-pretraining-words", "r3-pretraining-nli",
    "r4-sst-cfimdb",
]  # fmt: skip
"""Of which the reports tell no score."""
TRAINED = [name for name in NAMES if name not in ENSEMBLES]
CORE = [
    "r0-step-lr", "r1-pals-annealed", "r2-pcgrad-adjusted-joint", "r3-lora-pcgrad",
    "r3-pretraining-nli", "r4-bilstm",
]  # fmt: skip
"""Of every report one, and of every kind of recipe: for the default run."""
ENCODER = "bert-base-uncased"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data is not at {DATA}")


# Many tests ask for the same recipes, which are frozen: each is read once, and so in one process.
pytestmark = pytest.mark.xdist_group("report recipes")


@cache
def load(name: str, budget: str = "full") -> Recipe:
    return trivium.load_recipe(REPORTS / f"{name}.yaml", budget=budget)


@cache
def reported_in(name: str) -> Reported:
    found = load_recipe_file(REPORTS / f"{name}.yaml").reported
    assert found is not None
    return found


def test_every_system_of_the_reports_has_a_recipe_and_no_other_is_there() -> None:
    assert sorted(path.stem for path in REPORTS.glob("*.yaml")) == sorted(NAMES)


@needs_data
@pytest.mark.parametrize("budget", ["full", "quick"])
@pytest.mark.parametrize("name", some_of(TRAINED, CORE.__contains__))
def test_a_recipe_names_files_that_exist(name: str, budget: str) -> None:
    recipe = load(name, budget)
    sources = [s for t in recipe.tasks.values() for k in ("train", "dev") for s in t.sources(k)]
    assert sources
    for source in sources:
        assert (Path(recipe.data) / source.file).is_file()


@needs_data
@pytest.mark.parametrize("name", some_of(TRAINED, CORE.__contains__))
def test_a_recipe_says_what_its_report_reached_on_each_of_its_tasks(name: str) -> None:
    if name in UNSCORED:
        assert load_recipe_file(REPORTS / f"{name}.yaml").reported is None
        return
    reported = reported_in(name)
    # Rows that read pairs in one sequence are ranked among themselves.
    assert reported.report == name[:2].upper() + (" joint" if name in JOINT else "")
    assert reported.encoder == ENCODER
    assert set(reported.scores) == {n for n, t in load(name).tasks.items() if not t.auxiliary}
    assert all(math.isfinite(score) and -1 < score < 1 for score in reported.scores.values())


@needs_data
@pytest.mark.parametrize("name", some_of(TRAINED, CORE.__contains__))
def test_a_quick_recipe_shows_few_rows_in_few_epochs(name: str) -> None:
    full, quick = load(name), load(name, "quick")
    assert list(quick.tasks) == list(full.tasks)
    assert [s.tasks for s in quick.stages] == [s.tasks for s in full.stages]
    for task in quick.tasks.values():
        if not isinstance(task, MaskedWords):
            assert sum(source.rows or 10**9 for source in task.sources("train")) <= 4000
    for stage in quick.stages:
        assert (stage.epochs or 10**9) <= 2
        if "words" in stage.tasks:
            assert (stage.steps or 10**9) <= 60


@pytest.mark.thorough
@needs_data
def test_quick_recipes_of_a_table_have_the_same_rows_of_a_file_and_the_same_rates() -> None:
    rows: dict[tuple[str, str], set[int | None]] = {}
    rates = set()
    for name in TRAINED:
        quick = load(name, "quick")
        for task in quick.tasks.values() if name not in UNSCORED else ():
            for source in task.sources("train"):
                table = reported_in(name).source
                rows.setdefault((table, source.file), set()).add(source.rows)
        rates |= {(s.lr.encoder, s.lr.heads) for s in quick.stages if "words" not in s.tasks}
    assert all(len(found) == 1 for found in rows.values()), rows
    assert rates == {(1e-4, 1e-3)}


@needs_data
def test_full_recipes_keep_their_reports_settings() -> None:
    """One of each report, against its words."""
    r0, r1 = load("r0-step-lr").stages, load("r1-pals-annealed").stages[0]
    assert [stage.guard for stage in r0] == [None, 0.9, 0.9, 0.9]
    assert [stage.guard_from for stage in r0] == [None, *["together"] * 3]
    joint = {"kind": "joint", "epoch": "shortest"}
    assert r0[0].sampler.model_dump() == joint
    assert {stage.schedule.kind for stage in r0} == {"step"}
    assert (r0[0].reference, r0[0].select) == ("sentiment", "any")
    assert (r1.lr.encoder, r1.lr.heads, r1.batch_size, r1.sampler.kind) == (
        1e-5,
        1e-5,
        40,
        "annealed",
    )
    assert sum(r1.rows_per_epoch.values()) == (8544 + 40528 + 6040) / 2
    r2 = load("r2-pcgrad-adjusted").stages[0]
    assert r2.batch_size == {"sentiment": 12, "paraphrase": 12, "similarity": 8}
    assert (r2.optimizer.eps, r2.optimizer.weight_decay, r2.epochs) == (1e-6, 0.01, 10)
    before = load("r3-pretraining-nli").stages[0]
    assert before.weights == {"words": 0.7, "nli": 0.3}
    assert (before.lr.encoder, before.epochs, before.trains.kind) == (5e-6, 5, "full")
    r3 = load("r3-lora-pcgrad")
    assert (r3.stages[0].lr.encoder, r3.stages[0].lr.heads) == (1e-7, 1e-5)
    assert (r3.stages[0].batch_size, r3.stages[0].regularizers[0].weight) == (16, 10)
    assert r3.freezes_base
    assert "pooler" in r3.adapters[0].model_dump()["on"]
    assert r3.tasks["similarity"].resolved_head.model_dump()["map"] == "fixed"
    r4 = load("r4-bilstm")
    assert (r4.stages[0].batch_size, r4.stages[0].combiner.kind, r4.seed) == (4, "pcgrad", 11711)


@needs_data
def test_projected_attention_is_as_wide_as_the_encoder_allows(minilm: Path) -> None:
    shared, narrow, wide = (
        sum(p.numel() for p in build(load(f"r1-{name}", "quick"))[0].parameters())
        for name in ("shared-annealed", "pals-annealed", "pals-annealed-326")
    )
    width, layers, tasks = 384, 6, 3
    for found, size in ((narrow, 102), (wide, 162)):
        assert found - shared == tasks * (2 * size * width + layers * 3 * size**2)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_unites_rows_of_the_study(name: str) -> None:
    found = load_ensemble(REPORTS / f"{name}.yaml")
    assert found is not None
    assert found.ensemble.how == "vote"
    assert {Path(member).parent for member in found.ensemble.members} == {REPORTS.resolve()}
    assert {Path(member).stem for member in found.ensemble.members} <= set(TRAINED)
    assert found.reported is not None
    assert found.reported.encoder == ENCODER


@needs_data
def test_rows_of_one_pretraining_share_its_run() -> None:
    starts = {
        name: Path(start).name
        for name in TRAINED
        if name.startswith("r3") and (start := load(name).start)
    }
    words, nli = "r3-pretraining-words.yaml", "r3-pretraining-nli.yaml"
    rest = dict.fromkeys((n for n in starts if n != "r3-mlm"), nli)
    assert starts == {"r3-mlm": words} | rest
    assert len(rest) == 4


@needs_data
@pytest.mark.parametrize(
    "name", some_of([name for name in JOINT if name not in ENSEMBLES], CORE.__contains__)
)
def test_a_row_of_joint_pairs_differs_from_its_twin_only_in_how_pairs_are_read(name: str) -> None:
    for budget in ("full", "quick"):
        joint, apart = load(name, budget), load(name.removesuffix("-joint"), budget)
        assert joint.stages == apart.stages
        for task, other in zip(joint.tasks.values(), apart.tasks.values(), strict=True):
            if not task.is_pair:
                assert task == other
                continue
            assert (task.sequences, other.sequences) == (1, 2)
            heads = {task.resolved_head.kind, other.resolved_head.kind}
            assert len(heads) == 1 or heads == {"linear", "concat"}
            assert task.resolved_head.dropout == other.resolved_head.dropout
            assert task.sources("train") == other.sources("train")


@needs_data
def test_one_lstm_reads_for_all_tasks() -> None:
    one, two = (build(load(f"r4-{name}", "quick"))[0] for name in ("bilstm", "bilstm-layers"))
    for model in (one, two):
        assert list(model.trunks.keys()) == ["common"]
        assert not any("lstm" in name for name, _ in model.heads.named_parameters())
    hidden = [name for name, _ in two.heads.named_parameters() if "hidden" in name]
    assert len(hidden) == 6, "a linear layer, weight and bias, of each of three tasks"


def test_every_number_of_the_searchs_table_stands_beside_it() -> None:
    told = {name: reported_in(f"r4-{name}") for name in ("sst-full", "cfimdb-full")}
    told |= {name: reported_in(f"r4-{name}") for name in ("sst-frozen", "cfimdb-frozen")}
    found = {
        name: [one.scores["sentiment"], *(t.scores["sentiment"] for t in one.trials)]
        for name, one in told.items()
    }
    assert found == {
        "sst-full": [0.525, 0.262, 0.52, 0.523, 0.52, 0.515, 0.517, 0.528],
        "cfimdb-full": [0.971, 0.502, 0.976, 0.967, 0.971, 0.959, 0.955, 0.963],
        "sst-frozen": [0.402, 0.316],
        "cfimdb-frozen": [0.784, 0.576],
    }


@needs_data
@pytest.mark.parametrize("name", ["r2-smart-acting", "r3-adversarial-acting"])
def test_rows_whose_penalty_acts_differ_from_the_others_in_its_radius_alone(name: str) -> None:
    acting, paper = load(name), load(name.removesuffix("-acting"))
    (mine,), (theirs,) = acting.stages[0].regularizers, paper.stages[0].regularizers
    told = mine.model_dump() | {"eps": 1e-5, "eta": 1e-3}
    assert told == theirs.model_dump()
    assert acting.tasks == paper.tasks
