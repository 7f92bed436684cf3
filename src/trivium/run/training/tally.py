"""What a step's batches amount to: losses, penalties, rows and tokens."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.run.training.distributed import Processes


@dataclass
class Tally:
    """Adds up as the pieces of batches go through the model."""

    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    penalties: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    """task -> kind of regularizer -> unweighted penalties."""
    factors: dict[str, float] = field(default_factory=dict)
    """task -> what the combiner multiplied its loss with."""
    rows: int = 0
    tokens: int = 0
    _penalised: set[str] = field(default_factory=set)
    """Kinds of regularizer that have said something of the present batch."""

    def begin(self, task: str, rows: int, factor: float, device: torch.device) -> None:
        """A new batch, of whose loss nothing is known yet."""
        self.count(task, rows, factor)
        self.losses.setdefault(task, []).append(torch.zeros((), device=device))
        self._penalised.clear()

    def count(self, task: str, rows: int, factor: float) -> None:
        """A new batch, whose loss somebody else adds up."""
        self.rows += rows
        self.factors[task] = factor

    def add(self, task: str, loss: Tensor) -> None:
        """One more part of the batch's loss."""
        self.losses[task][-1] = self.losses[task][-1] + loss.detach()

    def add_penalty(self, task: str, kind: str, penalty: Tensor) -> None:
        """One more part of a penalty of the batch."""
        batches = self.penalties.setdefault(task, {}).setdefault(kind, [])
        if kind in self._penalised:
            batches[-1] = batches[-1] + penalty.detach()
        else:
            batches.append(penalty.detach())
            self._penalised.add(kind)

    def mean_losses(self) -> list[Tensor]:
        """Of each task over its batches, in this process."""
        return [torch.stack(batches).mean() for batches in self.losses.values()]

    def means(self, processes: Processes) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Mean loss of each task over its batches; of the penalties, this process's own."""
        mean_T = torch.stack(self.mean_losses())
        tokens = torch.tensor([self.tokens], device=mean_T.device).double()
        processes.mean_([mean_T])
        processes.mean_([tokens])
        self.tokens = round(float(tokens) * processes.world)
        losses = dict(zip(self.losses, mean_T.tolist(), strict=True))
        penalties = {
            name: {kind: float(torch.stack(batches).mean()) for kind, batches in kinds.items()}
            for name, kinds in self.penalties.items()
        }
        return losses, penalties
