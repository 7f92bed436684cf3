"""The search around the defaults: its rows, its recipes, and what is said of its runs."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.defaults import drafted, recipes_of
from benchmarks.defaults_runs import chosen, read
from benchmarks.defaults_shown import show
from benchmarks.defaults_tables import TABLES, Table, dealt

import trivium
from tests.support.tables import sentence, write_table
from trivium import Recipe
from trivium.recipe.plain_yaml import write_yaml
from trivium.recipe.rates import with_rates

Row = tuple[str, str]
"""True and said."""


def rows_of(count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        {"sentence1": f"text {n}", "sentence2": f"other {n % 7}", "label": "ab"[n % 2]}
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize("dev", [[], rows_of(5, first=100)], ids=["none of its own", "its own"])
def test_no_text_of_a_split_stands_in_another_one(dev: list[dict[str, str]]) -> None:
    table = Table("", None, ("sentence1",), rows=3000)
    splits = dealt([*rows_of(6000), *dev], dev, table)
    texts = {split: {row["sentence1"] for row in rows} for split, rows in splits.items()}
    assert {split: len(found) for split, found in texts.items()} == {
        "train": 3000,
        "dev": len(dev) or 1000,
        "test": 1000,
    }
    assert len(set().union(*texts.values())) == sum(map(len, texts.values()))


def test_small_sets_give_fewer_rows_to_test_than_large_ones() -> None:
    splits = dealt(rows_of(1700), rows_of(9, first=5000), Table("", None, ("sentence1",)))
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 1000,
        "dev": 9,
        "test": 700,
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """With three tables of a few rows: one text, pairs with labels, and pairs with scores."""
    (tmp_path / "data").mkdir()
    (tmp_path / "recipes").mkdir()
    for name, answers in (("trec6", "ab"), ("mrpc", "01"), ("sts", ("0.5", "4.25"))):
        table = TABLES[name]
        rows: list[list[object]] = [
            [*(sentence(n + place) for place in range(len(table.text))), answers[n % 2]]
            for n in range(8)
        ]
        for split in ("train", "dev", "test"):
            write_table(tmp_path / "data" / f"{name}-{split}.tsv", [*table.text, table.label], rows)
    return tmp_path


@pytest.mark.parametrize("name", ["trec6", "mrpc", "sts"])
def test_every_variant_is_a_recipe_that_differs_from_what_init_drafts(out: Path, name: str) -> None:
    draft = drafted(name, TABLES[name], out)
    assert draft["data"] == "../data"
    recipes = recipes_of(name, TABLES[name], draft)
    assert len(recipes) == {"trec6": 8, "mrpc": 10, "sts": 9}[name]
    parsed = {key: loaded(out, recipe) for key, recipe in recipes.items()}
    default = parsed.pop(f"{name}--default")
    assert default.stages == loaded(out, draft).stages
    plain = [with_rates(recipe) for recipe in (default, *parsed.values())]  # two may say one thing
    said = {repr((recipe.tasks, recipe.stages)) for recipe in plain}
    assert len(said) == len(recipes)


def loaded(out: Path, values: dict[str, Any]) -> Recipe:
    """As it is where `plan` puts it."""
    path = out / "recipes" / "recipe.yaml"
    path.write_text(write_yaml(values))
    return trivium.load_recipe(path)


# --- what is shown ------------------------------------------------------------------------------


def run(folder: Path, table: str, dev: Sequence[Row], test: Sequence[Row], **beside: Any) -> None:
    """A run's folder, as far as it is looked at."""
    (folder / "predictions").mkdir(parents=True)
    for split, rows in (("dev", dev), ("test", test)):
        head = ["line", "sentence", "label", "prediction", *beside.get("more", ["probability_a"])]
        cells = [[n, "text", true, said, said] for n, (true, said) in enumerate(rows)]
        with open(folder / "predictions" / f"{table}-{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([head, *cells])
    known = {split: {beside["metric"]: beside["probe"]} for split in ("dev", "test")}
    probe = {"scores": known, "of_rows": 40}
    baselines = {table: {"metric": beside["metric"], "majority": known, "probe": probe}}
    scores = {"baselines": baselines, "selected": {"step": beside.get("step", 4)}}
    (folder / "scores.json").write_text(json.dumps(scores))


RIGHT, WRONG = ("a", "a"), ("a", "b")


def test_a_search_chooses_on_dev_and_is_judged_on_test(tmp_path: Path) -> None:
    known = {"metric": "accuracy", "probe": 0.6}
    for seed, right in enumerate((3, 1)):
        test = [RIGHT] * right + [WRONG] * (4 - right)
        run(tmp_path / "x--default" / f"seed-{seed}", "x", [RIGHT, WRONG], test, **known)
        run(tmp_path / "x--luck" / f"seed-{seed}", "x", [WRONG] * 2, [RIGHT] * 4, **known)
        run(tmp_path / "x--fit" / f"seed-{seed}", "x", [RIGHT] * 2, [WRONG] * 4, **known)
    found, _ = read(tmp_path)
    assert (chosen(found["x"]), chosen(found["x"], "test")) == ("fit", "luck")
    default = found["x"]["default"]
    assert default.score("test") == 0.5
    # Rows are right in 1, 1/2, 1/2 and 0 of two seeds; seeds score 3/4 and 1/4.
    assert default.row_error("test") == pytest.approx((0.5 / 3) ** 0.5 / 2)
    assert default.seed_error("test") == pytest.approx(0.25)
    assert default.beyond(found["x"]["fit"], "test")[0] == 0.5
    shown = show(tmp_path)
    assert "test: below the probe: 1 of 1: x" in shown
    assert "test: more than a standard error below what is chosen on dev: 0 of 1: none" in shown
    assert "more than a standard error below the best on test (flattered): 1 of 1: x" in shown


def test_every_variant_is_judged_as_if_it_were_the_default(tmp_path: Path) -> None:
    def seeds(name: str, dev: int, *test: int, **beside: Any) -> None:
        """Runs that are right in so many of ten rows."""
        for seed, right in enumerate(test):
            rows = [[RIGHT] * n + [WRONG] * (10 - n) for n in (dev, right)]
            folder = tmp_path / name / f"seed-{seed}"
            run(folder, name[0], *rows, metric="accuracy", probe=0.7, **beside)

    seeds("x--default", 7, 8, 8, 8)
    seeds("x--probe", 8, 7, 7, 10, step=0)  # the best on dev; on test 0.8, too
    seeds("x--joint", 6, 4, 4, 4)
    seeds("y--default", 7, 6, 6, 6)
    seeds("y--probe", 8, 8, 8, 8)
    found, _ = read(tmp_path)
    assert found["x"]["probe"].starts == 3
    assert found["x"]["default"].starts == 0
    shown = show(tmp_path).splitlines()
    start = "| x | 40 | 10 | 0.7000 | 0.7000 | 0.8000 ±0.133 | probe | 0.8000 | +0.0000 ±0.086 |"
    (of_x,) = (line for line in shown if line.startswith(start))
    assert of_x.endswith("| yes | yes |")
    # Of ten rows seven are right in all runs and three in one: their deviation is 0.322. Against
    # the default's eight and two one loses 2/3, and two win 1/3.
    spread = "0.8000 | 0.8000 | 0.1018 | 0.1732 | +0.0000 ±0.086 | +0.1000"
    assert f"| probe | 3 | {spread} | yes | yes | 3 |" in shown
    spread = "0.6000 | 0.4000 | 0.1633 | 0.0000 | -0.4000 ±0.163 | -0.3000"
    assert f"| joint | 3 | {spread} | **no** | **no** | 0 |" in shown
    assert "| default | 2 | +0.0000 | 1: y | 1: y | none |" in shown
    assert "| probe | 2 | +0.1000 | none | none | none |" in shown
    assert "| joint | 1 | -0.4000 | 1: x | 1: x | 1: x |" in shown


def test_the_spread_of_a_correlation_by_rows_is_about_that_of_the_bootstrap(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    true = draw.normal(size=400)
    said = true + draw.normal(size=400)
    rows = [(f"{a}", f"{b}") for a, b in zip(true, said, strict=True)]
    beside = {"metric": "pearson", "probe": 0.5, "more": ["raw"]}
    run(tmp_path / "s--default" / "seed-0", "s", rows, rows, **beside)
    default = read(tmp_path)[0]["s"]["default"]
    assert default.score("test") == pytest.approx(np.corrcoef(true, said)[0, 1])
    picks = draw.integers(400, size=(2000, 400))
    drawn = [np.corrcoef(true[pick], said[pick])[0, 1] for pick in picks]
    assert default.row_error("test") == pytest.approx(np.std(drawn), rel=0.1)


def test_tables_whose_default_has_not_run_are_left_out(tmp_path: Path) -> None:
    run(tmp_path / "x--fit" / "seed-0", "x", [RIGHT], [RIGHT], metric="accuracy", probe=0.6)
    assert read(tmp_path) == ({}, {})
