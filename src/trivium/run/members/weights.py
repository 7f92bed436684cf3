"""Weights of an ensemble's members, chosen on dev."""

from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from torch import Tensor

from trivium.run.folder.panels import Panel
from trivium.run.members.heard import Heard
from trivium.run.members.plan import EnsemblePlan
from trivium.run.predictor.ensemble import equal, weighted_mean
from trivium.run.predictor.scoring import score
from trivium.run.screen.console import say
from trivium.run.screen.progress import OnProgress, rows_bar

ROUNDS = 30
"""Members that selection adds to one of each."""


def choose_weights(score: Callable[[Tensor], float], members: int) -> tuple[Tensor, float]:
    """weight_E that scores highest, and its score, by greedy selection with replacement.

    Caruana et al. 2004, sections 2.1 and 2.2: beginning with one of each, the member that helps
    most is added again and again, and the best of all mixtures on the way is taken, the first of
    equals. So the result is never worse than the plain mean, and few rows cannot lead it far.
    score: of weights that add up to 1, float64.
    """
    count_E = torch.ones(members, dtype=torch.float64)
    best_E = count_E / members
    best = score(best_E)
    for _ in range(ROUNDS):
        tried = [count_E + one_E for one_E in torch.eye(members, dtype=torch.float64)]
        values = [score(more_E / more_E.sum()) for more_E in tried]
        count_E, value = max(zip(tried, values, strict=True), key=lambda pair: pair[1])
        if value > best:
            best_E, best = count_E / count_E.sum(), value
    return best_E, best


def weighed(plan: EnsemblePlan, heard: Heard, console: Console) -> dict[str, Panel]:
    """The panels, those by weights with weights chosen on dev."""
    chosen = dict(plan.panels)
    tasks = [name for name, panel in plan.panels.items() if panel.how == "weights"]
    if not tasks:
        return chosen
    with rows_bar(console, "mixtures") as bar:
        total = sum(2 + ROUNDS * len(chosen[name].members) for name in tasks if plan.dev(name))
        on_progress = partial(bar.advance, bar.add_task("choosing weights", total=total))
        for name in tasks:
            if plan.dev(name):
                chosen[name] = _best(plan, name, heard, on_progress, console)
                continue
            chosen[name] = chosen[name].model_copy(update={"how": "mean", "weights": ()})
            say(console, f"{name}: no dev rows to choose weights by: answered by the plain mean")
    return chosen


def _best(
    plan: EnsemblePlan, name: str, heard: Heard, on_progress: OnProgress, console: Console
) -> Panel:
    """A task's panel with the weights that are best on dev, said on the screen."""
    panel, task, split = plan.panels[name], plan.tasks[name], plan.dev(name)
    assert split is not None
    readout_EBK = heard.together(name, "dev").double()

    def value(weight_E: Tensor) -> float:
        on_progress(1)
        return score(task, weighted_mean(readout_EBK, weight_E), split)[task.metric]

    plain = value(equal(len(readout_EBK)))
    weight_E, best = choose_weights(value, len(readout_EBK))
    gain = f"{task.metric} {plain:.4f} -> {best:.4f}" if best > plain else "none is better"
    shown = " · ".join(
        f"{plan.shown[place]} {weight:.3f}"
        for place, weight in zip(panel.members, weight_E.tolist(), strict=True)
    )
    say(console, f"{name}: weights chosen on dev instead of equal ones ({gain}): {shown}")
    return panel.model_copy(update={"weights": tuple(weight_E.tolist())})
