"""Several runs into an ensemble: a folder that is evaluated and predicts as a run does."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid
from torch import Tensor

import trivium
from trivium.errors import RecipeError
from trivium.parts.tasks import Task
from trivium.recipe import Recipe, dump_recipe
from trivium.recipe.united import How
from trivium.run.atomic import seal, whole_folder
from trivium.run.checkpoint import ENSEMBLE, copy_model
from trivium.run.data import JUDGED, Data, Split, load_data
from trivium.run.directory import (
    ENVIRONMENT,
    PREDICTIONS,
    RECIPE,
    SCORES,
    environment,
    refuse_taken,
)
from trivium.run.ensemble import (
    FORMAT,
    MEMBERS,
    ROUNDS,
    Origin,
    Panel,
    choose_weights,
    combine,
    equal,
    weighted_mean,
)
from trivium.run.evaluate import Scores, overall, readout_of, rows_in, score, write_predictions
from trivium.run.load import load_single, refuse_unknown
from trivium.run.members import (
    Member,
    judged_recipe,
    open_members,
    other_dev_files,
    panels_of,
    short_names,
)
from trivium.run.predict import TorchPredictor
from trivium.run.progress import rows_bar
from trivium.run.scoreboard import MINILM

NAMES = [ENSEMBLE, MEMBERS, RECIPE, ENVIRONMENT, SCORES, PREDICTIONS]
RECIPE_HEAD = (
    "# What `trivium evaluate` reads: the tasks of this ensemble, and where their rows are.\n"
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be united, checked."""

    members: list[Member]
    panels: dict[str, Panel]
    recipe: Recipe | None
    """What the ensemble is judged on; None where no member says."""
    data: Data

    @property
    def tasks(self) -> dict[str, Task]:
        return {n: self.members[panel.members[0]].tasks[n] for n, panel in self.panels.items()}

    @property
    def shown(self) -> list[str]:
        """The members' names on a screen."""
        return [escape(name) for name in short_names([m.name for m in self.members])]

    def dev(self, task: str) -> Split | None:
        return self.data.get(task, {}).get("dev")


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    how: str = "mean",
    *,
    overwrite: bool = False,
    precision: str = "auto",
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Unite runs (or model folders) in a folder that holds copies of their models.

    how: `vote`, the majority's label, with ties to the larger mean probability; `mean` of
    probabilities; or `weights`, a weighted mean that is chosen on dev. Of scores, `vote` is the
    mean. Each task is answered by the members that have it. Answers with the content of the
    ensemble's `scores.json`. Raises RecipeError before any work.
    """
    console = console or Console(stderr=True)
    out = Path(os.path.abspath(out))  # so that "." has a name too
    refuse_unknown(precision, device)
    plan = _plan(runs, out, how, overwrite)
    for note in other_dev_files(plan.members, plan.recipe) if plan.recipe else ():
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True, highlight=False)
    with whole_folder(out) as fresh:
        for place, member in enumerate(plan.members):
            copy_model(member.folder, fresh / MEMBERS / str(place))
        opened = partial(load_single, precision=precision, device=device)
        heard = _hear(plan, fresh, opened, console)
        plan = replace(plan, panels=_weighed(plan, heard, console))
        told = _scores(plan, heard, fresh)
        _write(plan, told, fresh)
    _print(plan, told, console)
    return told


def _plan(runs: Sequence[str | Path], out: Path, how: str, overwrite: bool) -> _Plan:
    if how not in get_args(How):
        raise RecipeError(f"--how {how}: is none of {', '.join(get_args(How))}.")
    members = open_members(runs)
    panels = panels_of(members, cast(How, how))
    replaces = overwrite if (out / ENSEMBLE).is_file() else None
    refuse_taken(out, [member.folder for member in members], "ensemble", NAMES, replaces)
    recipe = judged_recipe(members, panels)
    plan = _Plan(members, panels, recipe, load_data(recipe, JUDGED)[1] if recipe else {})
    if how == "weights" and not any(map(plan.dev, panels)):
        raise RecipeError(
            "--how weights: no task has dev rows to choose by. Name whole runs, whose recipes have "
            "dev files, or use --how mean."
        )
    return plan


# --- what the members say ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the members say of the rows they are judged on."""

    readouts: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    """Task and split -> readout_BK of each member that has the task."""
    parameters: list[int] = field(default_factory=list)
    precisions: set[str] = field(default_factory=set)

    def together(self, task: str, split: str) -> Tensor:
        """readout_EBK."""
        return torch.stack(self.readouts[task, split])


def _hear(
    plan: _Plan, folder: Path, opened: Callable[[Path], TorchPredictor], console: Console
) -> _Heard:
    """One model at a time, from its copy: so the copies are known to be good."""
    heard = _Heard()
    own = [{n: plan.data[n] for n in plan.data if n in m.tasks} for m in plan.members]
    with rows_bar(console) as bar:
        counter = bar.add_task("", total=sum(rows_in(each, JUDGED) for each in own))
        for place, member in enumerate(plan.members):
            title = f"{place + 1}/{len(plan.members)} {plan.shown[place]}"
            bar.update(counter, description=title)
            try:
                predictor = opened(folder / MEMBERS / str(place))
            except RecipeError as error:
                raise RecipeError(f"{member.name}: {error}") from error
            heard.parameters.append(sum(p.numel() for p in predictor.model.parameters()))
            heard.precisions.add(predictor.precision)
            for name, splits in own[place].items():
                for split, rows in splits.items():
                    told = partial(bar.advance, counter)
                    readout_BK = readout_of(predictor, predictor.task(name), rows, told)
                    heard.readouts.setdefault((name, split), []).append(readout_BK)
    return heard


def _weighed(plan: _Plan, heard: _Heard, console: Console) -> dict[str, Panel]:
    """The panels, those by weights with weights chosen on dev."""
    chosen = dict(plan.panels)
    wanted = [name for name, panel in plan.panels.items() if panel.how == "weights"]
    if not wanted:
        return chosen
    with rows_bar(console, "mixtures") as bar:
        total = sum(2 + ROUNDS * len(chosen[name].members) for name in wanted if plan.dev(name))
        told = partial(bar.advance, bar.add_task("choosing weights", total=total))
        for name in wanted:
            if plan.dev(name):
                chosen[name] = _best(plan, name, heard, told, console)
                continue
            chosen[name] = chosen[name].model_copy(update={"how": "mean", "weights": ()})
            console.print(f"{name}: no dev rows to choose weights by: answered by the plain mean")
    return chosen


def _best(
    plan: _Plan, name: str, heard: _Heard, told: Callable[[], None], console: Console
) -> Panel:
    """A task's panel with the weights that are best on dev, said on the screen."""
    panel, task, split = plan.panels[name], plan.tasks[name], plan.dev(name)
    assert split is not None
    readout_EBK = heard.together(name, "dev").double()

    def value(weight_E: Tensor) -> float:
        told()
        return score(task, weighted_mean(readout_EBK, weight_E), split)[task.metric]

    plain = value(equal(len(readout_EBK)))
    weight_E, best = choose_weights(value, len(readout_EBK))
    gain = f"{task.metric} {plain:.4f} -> {best:.4f}" if best > plain else "none is better"
    shown = " · ".join(
        f"{plan.shown[place]} {weight:.3f}"
        for place, weight in zip(panel.members, weight_E.tolist(), strict=True)
    )
    console.print(
        f"{name}: weights chosen on dev instead of equal ones ({gain}): {shown}",
        soft_wrap=True,
        highlight=False,
    )
    return panel.model_copy(update={"weights": tuple(weight_E.tolist())})


# --- what is written and shown -----------------------------------------------------------------


def _scores(plan: _Plan, heard: _Heard, folder: Path) -> dict[str, Any]:
    """The content of `scores.json`; writes the predictions."""
    tasks = plan.tasks
    scores: Scores = {name: {} for name in tasks}
    each: list[Scores] = [{name: {} for name in tasks} for _ in plan.members]
    for (name, split), said in heard.readouts.items():
        panel, rows = plan.panels[name], plan.data[name][split]
        readout_BK = combine(tasks[name], panel, heard.together(name, split))
        scores[name][split] = score(tasks[name], readout_BK, rows)
        path = folder / PREDICTIONS / f"{name}-{split}.csv"
        write_predictions(path, tasks[name], readout_BK, rows)
        if split == "dev":
            for place, own_BK in zip(panel.members, said, strict=True):
                each[place][name][split] = score(tasks[name], own_BK, rows)
    return {
        "tasks": scores,
        "overall": overall(tasks, scores),
        "precision": " and ".join(sorted(heard.precisions)),
        "cost": {"parameters": sum(heard.parameters)},
        "members": [
            {
                "name": member.name,
                "tasks": {name: found for name, found in own.items() if found},
                "overall": overall(tasks, own),
            }
            for member, own in zip(plan.members, each, strict=True)
        ],
    }


def _write(plan: _Plan, told: dict[str, Any], folder: Path) -> None:
    if plan.recipe:
        text = RECIPE_HEAD + dump_recipe(plan.recipe, only={"encoder", "data", "tasks"})
        (folder / RECIPE).write_text(text, encoding="utf-8")
    for name, values in ((ENVIRONMENT, environment()), (SCORES, told)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    origins = [Origin(name=m.name, folder=str(m.folder.resolve())) for m in plan.members]
    values = {
        "format": FORMAT,
        "trivium": trivium.__version__,
        "members": [origin.model_dump() for origin in origins],
        "tasks": {name: panel.model_dump(mode="json") for name, panel in plan.panels.items()},
    }
    # Each of these files holds the sha256 of all others of its folder.
    seal(folder, ENSEMBLE, values, files=f"{MEMBERS}/*/trivium.json")


def _print(plan: _Plan, told: dict[str, Any], console: Console) -> None:
    """The dev scores of every member and of the ensemble."""
    judged = [name for name in plan.tasks if plan.dev(name)]
    grid = Grid(title="Dev scores", title_justify="left")
    for title in ("", *(f"{n}\n{plan.tasks[n].metric}" for n in judged)):
        grid.add_column(title, justify="right" if title else "left", overflow="fold")
    for kind in ("leaderboard", "mean"):
        grid.add_column(f"overall\n{kind}", justify="right")
    ways = {panel.how for panel in plan.panels.values() if len(panel.members) > 1}
    whole = f"ensemble by {', '.join(sorted(ways)) or 'task'}"
    for name, row in zip((*plan.shown, whole), (*told["members"], told), strict=True):
        found = [row["tasks"].get(n, {}).get("dev", {}).get(plan.tasks[n].metric) for n in judged]
        found += [row["overall"].get("dev", {}).get(kind) for kind in ("leaderboard", "mean")]
        cells = ["–" if value is None else f"{value:.4f}" for value in found]
        grid.add_row(name, *cells, style="bold" if row is told else None)
    console.print(grid)
    if "weights" in ways:
        console.print(
            "[yellow]note[/] the weights were chosen on these rows, so the ensemble's scores are "
            "optimistic; only rows it has not seen can say what the weights are worth",
            soft_wrap=True,
        )
    if any(m.recipe and m.recipe.encoder == "minilm" for m in plan.members) and judged:
        console.print(MINILM, style="dim", soft_wrap=True)
