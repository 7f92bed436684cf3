"""What an ensemble's folder holds beside its members: scores, predictions, recipe, manifest."""

from pathlib import Path

import trivium
from trivium.recipe import dump_recipe
from trivium.run.folder.environment import write_environment
from trivium.run.folder.names import ENSEMBLE, MANIFEST, MEMBERS, RECIPE, predictions_file
from trivium.run.folder.panels import FORMAT, Origin
from trivium.run.folder.predictions import write_predictions
from trivium.run.folder.scores import Cost, MemberScores, Scores, TaskScores, write_scores
from trivium.run.folder.sealed import seal
from trivium.run.members.heard import Heard
from trivium.run.members.plan import EnsemblePlan
from trivium.run.predictor.ensemble import combine
from trivium.run.predictor.scoring import overall, score

RECIPE_HEAD = (
    "# What `trivium evaluate` reads: the tasks of this ensemble, and where their rows are.\n"
)


# --- what is written and shown -----------------------------------------------------------------


def judge_ensemble(plan: EnsemblePlan, heard: Heard, folder: Path) -> Scores:
    """The scores of the whole and of each member; writes the predictions."""
    tasks = plan.tasks
    scores: TaskScores = {name: {} for name in tasks}
    by_member: list[TaskScores] = [{name: {} for name in tasks} for _ in plan.members]
    for (name, split), readouts in heard.readouts.items():
        panel, rows = plan.panels[name], plan.data[name][split]
        readout_BK = combine(tasks[name], panel, heard.together(name, split))
        scores[name][split] = score(tasks[name], readout_BK, rows)
        path = folder / predictions_file(name, split)
        write_predictions(path, tasks[name], readout_BK, rows)
        if split == "dev":
            for place, theirs_BK in zip(panel.members, readouts, strict=True):
                by_member[place][name][split] = score(tasks[name], theirs_BK, rows)
    return Scores(
        tasks=scores,
        overall=overall(tasks, scores),
        precision=" and ".join(sorted(heard.precisions)),
        cost=Cost(parameters=sum(heard.parameters)),
        members=[
            MemberScores(
                name=member.name,
                tasks={name: splits for name, splits in own.items() if splits},
                overall=overall(tasks, own),
            )
            for member, own in zip(plan.members, by_member, strict=True)
        ],
    )


def write_ensemble(plan: EnsemblePlan, scores: Scores, folder: Path) -> None:
    """Write what tells of an ensemble into its folder, and seal it; its members are there."""
    if plan.recipe:
        text = RECIPE_HEAD + dump_recipe(plan.recipe, only={"encoder", "data", "tasks"})
        (folder / RECIPE).write_text(text, encoding="utf-8")
    write_environment(folder)
    write_scores(folder, scores)
    origins = [Origin(name=m.name, folder=str(m.folder.resolve())) for m in plan.members]
    values = {
        "format": FORMAT,
        "trivium": trivium.__version__,
        "members": [origin.model_dump() for origin in origins],
        "tasks": {name: panel.model_dump(mode="json") for name, panel in plan.panels.items()},
    }
    # Each of these files holds the sha256 of all others of its folder.
    seal(folder, ENSEMBLE, values, files=f"{MEMBERS}/*/{MANIFEST}")
