"""Model soup: the mean of several runs' weights, as long as it helps on dev."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text
from torch import Tensor

from trivium.errors import RecipeError
from trivium.recipe import Recipe
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.differences import Difference, differences
from trivium.run.folder.locks import alone
from trivium.run.folder.model import find_model, save_model
from trivium.run.folder.names import MODEL, OURS, RECIPE, SCORES
from trivium.run.folder.own_seed import with_seed_open
from trivium.run.folder.scores import (
    Cost,
    Scores,
    Selected,
    Tried,
    read_scores,
    write_scores,
)
from trivium.run.folder.start import refuse_taken, run_recipe, start_run
from trivium.run.predictor.scoring import evaluate_into, evaluate_splits, overall, rows_in
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.predictor.trained import load_single, refuse_unknown
from trivium.run.rows.load import load_data
from trivium.run.rows.splits import JUDGED, Data
from trivium.run.screen.console import heard_on, say
from trivium.run.screen.grid import MINILM, Grid, print_grid, short_names
from trivium.run.screen.progress import OnProgress, rows_bar

MAY_DIFFER = ("seed", "device")
"""Settings of a recipe that leave the shape and the meaning of its weights alone."""
BY: Final = "leaderboard"
"""The overall dev score that a soup must not lower."""
ADVICE = (
    "Fine-tunings with different seeds begin with different random heads, and their weights rarely "
    "average well. An ensemble of the same runs usually does, at the price of asking all of them: "
    "trivium ensemble."
)


@dataclass(frozen=True, slots=True)
class _Run:
    """A finished run, as it was found."""

    name: str
    """As it was given."""
    folder: Path
    recipe: Recipe
    scores: Scores

    @property
    def value(self) -> float:
        """Its own overall dev score."""
        value = self.scores.overall_of("dev", BY)
        assert value is not None  # `_open` refuses a run without it
        return value


def soup(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Average the weights of runs of one recipe with several seeds, into a run directory.

    The greedy soup of Wortsman et al. 2022 (recipe 1): beginning with the run that is best on dev,
    each next one joins the mean unless the overall dev score falls. Answers with the content of
    the soup's `scores.json`, a plain dict, whose `soup` lists what was tried. Raises RecipeError
    before any work.

        scores = trivium.soup(["runs/a", "runs/b", "runs/c"], "runs/soup")
        [tried["kept"] for tried in scores["soup"]]
    """
    console = heard_on(console)
    out = Path(os.path.abspath(out))  # so that "." has a name too
    refuse_unknown(precision, device)
    with alone(out):
        return _soup(
            runs,
            out,
            overwrite,
            partial(load_single, precision=precision, device=device, as_trained=True),
            console,
        )


def _soup(
    runs: Sequence[str | Path],
    out: Path,
    overwrite: bool,
    opened: Callable[[Path], TorchPredictor],
    console: Console,
) -> dict[str, Any]:
    finished = _open(runs)
    refuse_taken(out, [run.folder for run in finished], "soup", _found, overwrite=overwrite)
    data = load_data(finished[0].recipe, JUDGED)[1]
    ranked = sorted(finished, key=lambda run: -run.value)  # stable: of equals the first one named
    with whole_folder(out) as fresh, rows_bar(console) as bar:
        total = len(ranked) * rows_in(data, ["dev"]) + rows_in(data, JUDGED)
        on_progress = partial(bar.advance, bar.add_task("averaging", total=total))
        predictor = opened(ranked[0].folder)
        tried = _stir(predictor, ranked, opened, lambda: _value(predictor, data, on_progress))
        recipe, model = ranked[0].recipe, predictor.model
        save_model(
            model, recipe.tasks, predictor.tokenizer, fresh / MODEL,
            precision=predictor.precision, adapters=recipe.adapters,
        )  # fmt: skip
        tasks = evaluate_into(fresh, opened(fresh), data, on_progress)
        scores = Scores(
            tasks=tasks,
            overall=overall(recipe.tasks, tasks),
            precision=predictor.precision,
            cost=_cost(ranked),
            selected=Selected(stage=None, step=None, by="soup"),
            soup=tried,
        )
        start_run(fresh, recipe, overwrite=False)
        write_scores(fresh, scores)
    _print(tried, console)
    if recipe.encoder == "minilm":
        say(console, MINILM, style="dim")
    return scores.as_dict()


# --- the runs ----------------------------------------------------------------------------------


def _open(runs: Sequence[str | Path]) -> list[_Run]:
    """Two or more finished runs of one recipe. Raises RecipeError."""
    if len(runs) < 2:
        raise RecipeError(f"a soup needs two runs or more; found {len(runs)}.")
    finished: list[_Run] = []
    for number, folder in enumerate(map(Path, runs)):
        if folder.resolve() in (Path(earlier).resolve() for earlier in runs[:number]):
            raise RecipeError(f"{folder}: is named twice; a soup takes each run once.")
        find_model(folder)
        if not (folder / RECIPE).is_file():
            raise RecipeError(
                f"{folder}: is a model folder without its recipe. A soup compares the runs' "
                "recipes and dev scores: name the whole run's folder."
            )
        run = _Run(str(folder), folder, run_recipe(folder), read_scores(folder))
        if run.scores.overall_of("dev", BY) is None:
            raise RecipeError(
                f"{folder}: has no overall dev score to choose by; every task needs a dev file."
            )
        if finished:
            _refuse_unlike(finished[0], run)
        finished.append(run)
    return finished


def _refuse_unlike(first: _Run, other: _Run) -> None:
    recipes = [first.recipe, other.recipe]
    as_written = _unlike(recipes)
    # Each may start from a run, or have teachers, of its own seed.
    for place, a, b in min(as_written, _unlike(map(with_seed_open, recipes)), key=len):
        raise RecipeError(
            f"{first.name} and {other.name}: {place} is {a!r} in the first and {b!r} in the "
            "second. Weights are averaged only between runs of one recipe that differ in their "
            "seeds; for others there is `trivium ensemble`."
        )


def _unlike(recipes: Iterable[Recipe]) -> list[Difference]:
    """Where two recipes differ, but for what may."""
    one, two = (each.model_dump(mode="json", exclude=set(MAY_DIFFER)) for each in recipes)
    return list(differences(one, two))


def _found(folder: Path) -> Collection[str] | None:
    """What a soup's folder consists of; None where there is none in it."""
    is_soup = (folder / SCORES).is_file() and read_scores(folder).soup is not None
    return OURS if is_soup else None


# --- the mean of their weights -----------------------------------------------------------------


def _stir(
    predictor: TorchPredictor,
    ranked: Sequence[_Run],
    opened: Callable[[Path], TorchPredictor],
    value: Callable[[], float],
) -> list[Tried]:
    """Leave in the predictor, which holds the first run's model, the best mean of weights.

    value: the overall dev score of the predictor as it is. Answers with what was tried: each run,
    its own score, that of the soup with it, and whether it was kept.
    """
    total, count, best = _weights(predictor), 1, value()
    tried = [Tried(run=ranked[0].name, own=ranked[0].value, soup=best, kept=True)]
    for run in ranked[1:]:
        other = opened(run.folder)
        _refuse_other_words(predictor, other, run.name)
        more = _added(total, _weights(other), run.name)
        _pour(predictor, more, count + 1)
        together = value()
        kept = together >= best
        tried.append(Tried(run=run.name, own=run.value, soup=together, kept=kept))
        if kept:
            total, count, best = more, count + 1, together
    _pour(predictor, total, count)
    return tried


def _weights(predictor: TorchPredictor) -> dict[str, Tensor]:
    """Every tensor of the model, encoder, heads, trunks and adapters alike; in fp64, on the CPU."""
    state = predictor.model.state_dict()
    return {name: tensor.detach().cpu().double() for name, tensor in state.items()}


def _added(total: Mapping[str, Tensor], more: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    for key in {**total, **more}:
        one, two = (state[key].shape if key in state else None for state in (total, more))
        if one != two:
            raise RecipeError(
                f"{name}: tensor {key} has shape {two and list(two)}, in the runs before it "
                f"{one and list(one)}: these models cannot be averaged. Leave it out."
            )
    return {key: tensor + more[key] for key, tensor in total.items()}


def _refuse_other_words(predictor: TorchPredictor, other: TorchPredictor, name: str) -> None:
    ours, theirs = predictor.tokenizer.digest, other.tokenizer.digest
    if ours != theirs:
        raise RecipeError(
            f"{name}: its encoder reads texts in other word pieces (its tokenizer's sha256 is "
            f"{theirs[:12]}…) than that of the runs before it ({ours[:12]}…): these models cannot "
            "be averaged. Leave it out."
        )


def _pour(predictor: TorchPredictor, total: Mapping[str, Tensor], count: int) -> None:
    mean = {name: (tensor / count).float() for name, tensor in total.items()}
    predictor.model.load_state_dict(mean)


def _value(predictor: TorchPredictor, data: Data, on_progress: OnProgress) -> float:
    scores = evaluate_splits(predictor, data, ("dev",), on_progress)
    return overall(predictor.tasks, scores)["dev"][BY]


# --- what is written and shown -----------------------------------------------------------------


def _cost(runs: Sequence[_Run]) -> Cost:
    """What all the runs cost together, whether they were kept or not."""
    costs = [run.scores.cost for run in runs]
    seconds, tokens = _sum([c.seconds for c in costs]), _sum([c.tokens for c in costs])
    speed = None
    if seconds is not None and tokens is not None:
        speed = round(tokens / max(seconds, 1e-9), 1)
    return Cost(
        seconds=seconds,
        cpu_seconds=_sum([cost.cpu_seconds for cost in costs]),
        rows=_sum([cost.rows for cost in costs]),
        tokens=tokens,
        tokens_per_s=speed,
        peak_memory_bytes=max(filter(None, (c.peak_memory_bytes for c in costs)), default=None),
        parameters=costs[0].parameters,
        trained_parameters=costs[0].trained_parameters,
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """None where a run does not tell."""
    told = [value for value in values if value is not None]
    return sum(told) if len(told) == len(values) else None


def _print(tried: Sequence[Tried], console: Console) -> None:
    grid = Grid(f"Overall dev scores ({BY})")
    for title in ("run", "by itself", "soup with it", ""):
        grid.add_column(title, justify="left" if title in ("run", "") else "right")
    for name, one in zip(short_names([one.run for one in tried]), tried, strict=True):
        verdict = Text("kept", style="green") if one.kept else "left out"
        grid.add_row(name, f"{one.own:.4f}", f"{one.soup:.4f}", verdict)
    print_grid(grid, console)
    kept = sum(one.kept for one in tried)
    line = f"The soup is the mean of {kept} runs' weights, chosen on these dev rows."
    if kept == 1:
        line = f"Nothing could be added: the soup is {tried[0].run} itself. {ADVICE}"
    say(console, line)
