"""Are the untouched defaults good enough? Fourteen small tables, and a small search on each.

    python -m benchmarks.defaults plan --data ../shared/data --out runs/defaults
    python -m benchmarks.defaults train --out runs/defaults
    python -m benchmarks.defaults show --out runs/defaults/runs

`plan` writes the tables to OUT/data, and OUT/recipes/TABLE--VARIANT.yaml: what `trivium init`
drafts, and that with what VARIANT changes. The two folders can be carried elsewhere. `train` trains
what is not trained yet, as would

    trivium train OUT/recipes/NAME.yaml --out OUT/runs/NAME/seed-K --set seed=K

`show` reads such runs wherever they lie; of a run it needs `scores.json` and `predictions/`.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trivium
from benchmarks.defaults_runs import BETWEEN, DEFAULT
from benchmarks.defaults_shown import show
from benchmarks.defaults_tables import Table, tables
from trivium.recipe.plain_yaml import parse_yaml, write_yaml
from trivium.recipe.stage import DEFAULT_EPOCHS

Changes = Mapping[str, Any]
"""Of a drafted task, and under `stage` of its one stage."""

MAX_LENGTH = 128
"""Word pieces of a text, for short runs. Only the reviews of cfimdb are longer, on the whole."""
SHORTER: dict[str, Any] = {"epochs": DEFAULT_EPOCHS}
"""Half the epochs that are drafted for so few rows."""


def variants(table: Table, *, scores: bool) -> dict[str, Changes]:
    """What is tried on a table: heads that start from their probe, at several rates, and half the
    epochs; of pairs, to read both texts as one. scores: its answers are scores, and no labels."""
    start = _from_probe(table)
    tried: dict[str, Changes] = {DEFAULT: {}, "shorter": {"stage": SHORTER}}
    if not scores:  # of which a rate that is left open is 1e-3 anyway
        tried["probe"] = start
    for name, stage in {
        "probe-1e-3": _rates(heads=1e-3),
        "probe-1e-3-shorter": _rates(heads=1e-3) | SHORTER,
        "probe-1e-4": _rates(heads=1e-4),
        "probe-1e-3-encoder-5e-5": _rates(heads=1e-3, encoder=5e-5),
        "probe-1e-4-encoder-2e-5": _rates(heads=1e-4, encoder=2e-5),
    }.items():
        tried[name] = {**start, "stage": stage}
    if len(table.text) > 1:
        tried["joint"] = {"encode": "joint"}
        tried["joint-shorter"] = {"encode": "joint", "stage": SHORTER}
    return tried


def _from_probe(table: Table) -> dict[str, Any]:
    if len(table.text) == 1:
        return {"head": {"kind": "linear", "start": "probe"}}
    return {"encode": "separate", "head": {"kind": "concat", "start": "probe"}}


def _rates(**rates: float) -> dict[str, Any]:
    return {"lr": rates}


def plan(data: Path, out: Path) -> list[str]:
    """Tables and recipes; the recipes' names."""
    (out / "recipes").mkdir(parents=True, exist_ok=True)
    recipes: dict[str, dict[str, Any]] = {}
    for name, table in tables(data, out / "data").items():
        recipes |= recipes_of(name, table, drafted(name, table, out))
    for name, recipe in recipes.items():
        (out / "recipes" / f"{name}.yaml").write_text(write_yaml(recipe), encoding="utf-8")
    return list(recipes)


def recipes_of(name: str, table: Table, draft: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A recipe per variant of a table, by TABLE--VARIANT."""
    (task,), (stage,) = draft["tasks"].values(), draft["stages"]
    recipes = {}
    for variant, changes in variants(table, scores=task["kind"] == "regression").items():
        changed = {**task, "max_length": MAX_LENGTH, **changes}
        other = changed.pop("stage", {})
        rates = {"lr": {**stage.get("lr", {}), **other["lr"]}} if "lr" in other else {}
        stages = [{**stage, **other, **rates}]
        recipe = {**draft, "tasks": {name: changed}, "stages": stages}
        # Baselines are the same in all of them, so it is enough that the default's run has them.
        recipe |= {} if variant == DEFAULT else {"probe": False}
        recipes[f"{name}{BETWEEN}{variant}"] = recipe
    return recipes


def drafted(name: str, table: Table, out: Path) -> dict[str, Any]:
    """What `trivium init` writes for OUT/data/NAME-*.tsv, seen from OUT/recipes."""
    path = out / "recipes" / "draft.yaml"
    files = [out / "data" / f"{name}-{split}.tsv" for split in ("train", "dev", "test")]
    trivium.init(files, path, text=table.text, label=[table.label], overwrite=True)
    values: dict[str, Any] = parse_yaml(path.read_text(encoding="utf-8"))
    path.unlink()
    return values


def train(out: Path, names: Sequence[str], seeds: Sequence[int]) -> None:
    """What has no scores yet, of the recipes with these names, or of all."""
    for path in sorted((out / "recipes").glob("*.yaml")):
        for seed in seeds if not names or path.stem in names else ():
            run = out / "runs" / path.stem / f"seed-{seed}"
            if not (run / "scores.json").is_file():
                trivium.train(path, run, changes=[f"seed={seed}"], overwrite=run.exists())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plan", "train", "show"])
    parser.add_argument("--data", type=Path, help="folder with cs224n/, glue/, nli/, other/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=[], help="of recipes, without .yaml")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    given = parser.parse_args()
    if given.what == "plan":
        if given.data is None:
            parser.error("plan: --data must name the folder of the public sets")
        print(*plan(given.data, given.out), sep="\n")
    elif given.what == "train":
        train(given.out, given.names, given.seeds)
    else:
        print(show(given.out))


if __name__ == "__main__":
    main()
