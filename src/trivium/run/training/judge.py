"""After some steps: is the model better, is it still good enough at all tasks, is it kept?"""

import math

from trivium.recipe import Stage
from trivium.run.assembly.device import precision_name
from trivium.run.folder.model import save_model
from trivium.run.folder.names import MODEL
from trivium.run.folder.scores import TaskScores
from trivium.run.predictor.scoring import evaluate_splits, overall
from trivium.run.screen.console import say
from trivium.run.screen.progress import Monitor
from trivium.run.training.seen import beside, scores_on_seen
from trivium.run.training.state import Counters, TrainState
from trivium.run.training.work import Work


def _scores_now(work: Work, stage: Stage) -> TaskScores:
    """Dev scores of the model as it is."""
    scores: TaskScores = {}
    if work.processes.first:
        scores = evaluate_splits(
            work.predictor, {name: work.data[name] for name in work.judged(stage)}
        )
    shared: TaskScores = work.processes.from_first(scores)
    return shared


def _main_values(work: Work, scores: TaskScores) -> dict[str, float]:
    return {name: s["dev"][work.tasks[name].metric] for name, s in scores.items()}


def set_floors(work: Work, stage: Stage, counters: Counters) -> None:
    """What the guard demands, from the scores of the model that the stage starts with, or of the
    one that the stage which it names ended with."""
    if stage.guard is None:
        return
    before = _earlier_values(work, stage, counters)
    for name, value in before.items():
        if floor := stage.floor(name):
            counters.floors[name] = floor.value(value)
    whose = {"of": stage.guard_from} if stage.guard_from else {}
    work.journal.write("guard", stage=stage.name, before=before, floors=counters.floors, **whose)
    shown = " · ".join(f"{name} {floor:.4f}" for name, floor in counters.floors.items())
    say(work.console, f"stage {stage.name} is guarded by floors: {shown}")


def measure_for_guards(work: Work, stage: Stage, counters: Counters) -> None:
    """At a stage's end, the scores of its model on all that later guards name it for."""
    after = work.recipe.stages[work.recipe.stages.index(stage) + 1 :]
    guards = [later for later in after if later.guard_from == stage.name]
    values: dict[str, float] = {}
    for later in guards:
        if set(work.judged(later)) - values.keys():
            values |= _main_values(work, _scores_now(work, later))
    if guards:
        counters.measured[stage.name] = values


def _earlier_values(work: Work, stage: Stage, counters: Counters) -> dict[str, float]:
    if stage.guard_from is None:
        return _main_values(work, _scores_now(work, stage))
    values = counters.measured[stage.guard_from]
    return {name: values[name] for name in work.judged(stage)}


def judge(
    work: Work, stage: Stage, state: TrainState, monitor: Monitor, *, fallback: bool = False
) -> bool:
    """Evaluate on dev and keep the model if it is the best; True where the stage is to end.

    fallback: whether it is what the stage may fall back on, and none of those that it trains.
    """
    counters = state.counters
    scores = _scores_now(work, stage)
    values = _main_values(work, scores)
    broken = {n: floor for n, floor in counters.floors.items() if values[n] < floor}
    values["overall"] = overall(work.tasks, scores)["dev"]["leaderboard"]
    kept = weigh(stage, counters, values, broken=bool(broken), fallback=fallback)
    if kept:
        keep(work, stage, counters, stage.selects_by)
    seen = scores_on_seen(work, list(scores))  # after the choice, which they are no part of
    work.journal.write(
        "evaluation", stage=stage.name, step=counters.step, scores=beside(scores, seen),
        overall=values["overall"], kept=kept, seconds=counters.seconds,
    )  # fmt: skip
    metrics = {name: work.tasks[name].metric for name in scores}
    shown = {name: (metric, values[name]) for name, metric in metrics.items()}
    note = f"overall {values['overall']:.4f}"
    verdict = "kept" if stage.selects_by == "last" else "best so far, kept"
    if not kept:
        verdict = "refused by the guard" if broken else "not better, not kept"
    monitor.evaluation(shown, note, verdict, kept=kept)
    monitor.seen({name: (metrics[name], found[metrics[name]]) for name, found in seen.items()})
    for name, floor in broken.items():
        _tell_refusal(work, stage, counters, name, (values[name], floor))
    impatient = stage.patience is not None and counters.waited >= stage.patience
    if impatient and not broken:
        say(work.console, f"no better model in {stage.patience} evaluations: stage ends")
    return bool(broken) or impatient


def weigh(
    stage: Stage, counters: Counters, values: dict[str, float], *, broken: bool, fallback: bool
) -> bool:
    """Count an evaluation; whether its model is the one to keep.

    What the stage may fall back on can be the best, if none that it trains is as good; but patience
    is lost against these alone, as if there were nothing else.
    """
    better = [name for name, value in values.items() if value > counters.best.get(name, -math.inf)]
    best = [name for name in better if values[name] >= counters.fallback.get(name, -math.inf)]
    # With `last` every model is kept, so that keeping says nothing of getting better.
    improved = _is_wanted(stage, better) and (stage.selects_by != "last" or "overall" in better)
    if fallback:
        counters.fallback = values
    else:
        if not broken:  # a refused model must not raise what later ones are measured by
            counters.best |= {name: values[name] for name in better}
        counters.waited = 0 if improved and not broken else counters.waited + 1
    return not broken and _is_wanted(stage, best)


def _tell_refusal(
    work: Work, stage: Stage, counters: Counters, name: str, below: tuple[float, float]
) -> None:
    """below: a score, and the floor that it broke."""
    value, floor = below
    work.journal.write(
        "refusal", stage=stage.name, step=counters.step, task=name,
        metric=work.tasks[name].metric, value=value, floor=floor, back_to=counters.kept,
    )  # fmt: skip
    say(
        work.console,
        f"refused: {name} fell to {value:.4f}, below its floor {floor:.4f}; back to "
        f"stage {counters.kept.get('stage')}, step {counters.kept.get('step')}",
    )


def _is_wanted(stage: Stage, better: list[str]) -> bool:
    """Whether a model that is better than all before at these is the one to keep."""
    if stage.selects_by == "last":
        return True
    if stage.selects_by == "any":
        return any(name != "overall" for name in better)
    return stage.selects_by in better


def keep(work: Work, stage: Stage, counters: Counters, by: str) -> None:
    """Save the model as it is now as the run's, in place of the one that was kept before. by: what
    it is best by.
    """
    counters.kept = {"stage": stage.name, "step": counters.step, "by": by}
    if not work.processes.first:
        return
    predictor = work.predictor
    save_model(
        predictor.model,
        predictor.tasks,
        predictor.tokenizer,
        work.run_dir / MODEL,
        precision=precision_name(predictor.model.encoder.precision),
        adapters=work.recipe.adapters,
    )
