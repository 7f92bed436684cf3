"""What the members say of the rows that they are judged on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from trivium.errors import RecipeError
from trivium.run.folder.names import MEMBERS
from trivium.run.members.plan import EnsemblePlan
from trivium.run.predictor.scoring import readouts_of, rows_in
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.splits import JUDGED
from trivium.run.screen.progress import rows_bar


@dataclass(frozen=True, slots=True)
class Heard:
    """What the members say of the rows they are judged on."""

    readouts: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    """Task and split -> readout_BK of each member that has the task."""
    parameters: list[int] = field(default_factory=list)
    precisions: set[str] = field(default_factory=set)

    def together(self, task: str, split: str) -> Tensor:
        """readout_EBK."""
        return torch.stack(self.readouts[task, split])


def hear(
    plan: EnsemblePlan, folder: Path, opened: Callable[[Path], TorchPredictor], console: Console
) -> Heard:
    """One model at a time, from its copy: so the copies are known to be good."""
    heard = Heard()
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
            on_progress = partial(bar.advance, counter)
            for asked, readout_BK in readouts_of(
                predictor, own[place], JUDGED, on_progress
            ).items():
                heard.readouts.setdefault(asked, []).append(readout_BK)
    return heard
