"""An ensemble: several models that answer as one. Shape letters: see `trivium.types`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from trivium.errors import RecipeError
from trivium.part import Part
from trivium.parts.tasks import Classification, Multilabel, Task
from trivium.recipe.united import How
from trivium.run.atomic import unseal
from trivium.run.checkpoint import ENSEMBLE
from trivium.run.predict import Predictor, Texts, TorchPredictor

FORMAT = 1
MEMBERS = "members"
"""Folder of the members' models, which are called 0, 1, ..."""
TIE_BREAK = 0.5
"""What the mean probability counts beside whole votes: below 1, so that it decides ties only."""
ROUNDS = 30
"""Members that selection adds to one of each."""


class Panel(Part):
    """Who answers a task, and how their readouts become one."""

    how: How
    members: tuple[int, ...] = Field(min_length=1)
    """Places among the ensemble's members."""
    weights: tuple[float, ...] = ()
    """Of `weights`: what each of these members counts; they add up to 1."""

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        wanted = len(self.members) if self.how == "weights" else 0
        if len(self.weights) != wanted or any(weight < 0 for weight in self.weights):
            raise ValueError(f"{wanted} weights are wanted, found {list(self.weights)}")
        return self


class Origin(Part):
    """Where a member was copied from."""

    name: str
    """As it was given."""
    folder: str


class Contents(Part):
    """What an ensemble's folder says of itself."""

    members: tuple[Origin, ...] = Field(min_length=1)
    tasks: dict[str, Panel]

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for name, panel in self.tasks.items():
            if not set(panel.members) <= set(range(len(self.members))):
                raise ValueError(f"tasks.{name}: a member is not one of 0…{len(self.members) - 1}")
        return self


class EnsemblePredictor(Predictor):
    """Several models, ready to answer as one. Each task is answered by the members that have it."""

    def __init__(self, members: Sequence[TorchPredictor], panels: Mapping[str, Panel]) -> None:
        self.members, self.panels = members, panels
        self.tasks = {name: members[panel.members[0]].task(name) for name, panel in panels.items()}

    def readout(self, task: str, rows: Sequence[Texts]) -> Tensor:
        chosen, panel = self.task(task), self.panels[task]
        each = [self.members[place].readout(task, rows) for place in panel.members]
        return combine(chosen, panel, torch.stack(each))

    @property
    def precision(self) -> str:
        return " and ".join(sorted({member.precision for member in self.members}))


def read_contents(folder: Path) -> Contents:
    """What an ensemble's folder holds. Raises RecipeError where a part is missing or altered."""
    told = unseal(folder, ENSEMBLE)
    if told.get("format") != FORMAT:
        raise RecipeError(
            f"{folder}: its format is {told.get('format')!r}, this version reads {FORMAT}. "
            f"It was written by trivium {told.get('trivium')}."
        )
    try:
        return Contents.model_validate({key: told.get(key) for key in ("members", "tasks")})
    except ValidationError as error:
        raise RecipeError(f"{folder / ENSEMBLE}: cannot be read: {error}") from error


# --- several readouts into one -----------------------------------------------------------------


def combine(task: Task, panel: Panel, readout_EBK: Tensor) -> Tensor:
    """One readout of the panel's: readout_BK, on the same scale, fp32."""
    if panel.how == "vote":
        return vote(task, readout_EBK)
    if panel.how == "weights":
        return weighted_mean(readout_EBK, torch.tensor(panel.weights, dtype=torch.float64))
    return weighted_mean(readout_EBK, equal(len(readout_EBK)))


def equal(members: int) -> Tensor:
    """weight_E of a plain mean."""
    return torch.full((members,), 1 / members, dtype=torch.float64)


def weighted_mean(readout_EBK: Tensor, weight_E: Tensor) -> Tensor:
    _, rows, outputs = readout_EBK.shape
    return (weight_E @ readout_EBK.double().flatten(1)).float().view(rows, outputs)


def vote(task: Task, readout_EBK: Tensor) -> Tensor:
    """Each member's answer counts one, and the mean probability decides ties; of scores the mean.

    What is given back stays a distribution over labels (or a probability for each, or a score):
    the share of votes, in which the mean probability counts TIE_BREAK votes.
    """
    mean_BK = readout_EBK.double().mean(dim=0)
    if isinstance(task, Classification):
        votes_BK = F.one_hot(readout_EBK.argmax(dim=-1), readout_EBK.shape[-1]).sum(dim=0)
        return _shares(votes_BK, mean_BK, len(readout_EBK)).float()
    if isinstance(task, Multilabel):
        # Moved so that the threshold is at one half, where votes are even, and back.
        threshold = torch.tensor(task.threshold).double()  # as fp32 readouts are compared with it
        votes_BK = (readout_EBK >= task.threshold).sum(dim=0)
        share_BK = _shares(votes_BK, _moved(mean_BK, threshold, 0.5), len(readout_EBK))
        return _moved(share_BK, 0.5, threshold).float()
    return mean_BK.float()


def _shares(votes_BK: Tensor, mean_BK: Tensor, members: int) -> Tensor:
    return (votes_BK + TIE_BREAK * mean_BK) / (members + TIE_BREAK)


def _moved(p_BK: Tensor, at: float | Tensor, to: float | Tensor) -> Tensor:
    """0…1 stretched on either side of `at` so that it comes to lie at `to`; 0 and 1 stay."""
    above_BK = to + (p_BK - at) * ((1 - to) / (1 - at))
    return torch.where(p_BK >= at, above_BK, p_BK * (to / at))


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
