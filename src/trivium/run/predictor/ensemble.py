"""Several models that answer as one. Shape letters: see `trivium.types`."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.answering.reading import Reader, Reading
from trivium.parts.tasks import Classification, Multilabel, Task
from trivium.run.folder.panels import Panel
from trivium.run.predictor.model import ModelPredictor
from trivium.run.predictor.torch import TorchPredictor

TIE_BREAK = 0.5
"""What the mean probability counts beside whole votes: below 1, so that it decides ties only."""


class EnsemblePredictor(ModelPredictor):
    """Several models, ready to answer as one. Each task is answered by the members that have it."""

    def __init__(self, members: Sequence[TorchPredictor], panels: Mapping[str, Panel]) -> None:
        self.members, self.panels = members, panels
        first = {name: members[panel.members[0]] for name, panel in panels.items()}
        self.tasks = {name: member.task(name) for name, member in first.items()}
        self.forms = {name: member.forms[name] for name, member in first.items()}
        self.readers = tuple(
            Reader(
                {n: member.forms[n] for n, panel in panels.items() if place in panel.members},
                member.tokenizer, member.limit, place,
            )
            for place, member in enumerate(members)
        )  # fmt: skip

    def said(self, readings: Sequence[Reading]) -> dict[str, Tensor]:
        by_task: dict[str, dict[int, Tensor]] = {}
        for place, member in enumerate(self.members):
            own = [reading for reading in readings if reading.way.member == place]
            for name, readout_BK in member.said(own).items():
                by_task.setdefault(name, {})[place] = readout_BK
        return {
            name: combine(self.tasks[name], panel, torch.stack([of[p] for p in panel.members]))
            for name, of in by_task.items()
            for panel in (self.panels[name],)
        }

    @property
    def precision(self) -> str:
        return " and ".join(sorted({member.precision for member in self.members}))


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
    """sum_e weight_E[e] * readout_EBK[e], summed in float64: readout_BK in fp32."""
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
