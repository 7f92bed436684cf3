"""Sides: small modules that stand beside the encoder's layers, a set of them per task.

Shape letters: see `trivium.types`.
"""

from typing import Literal

from torch import Tensor, nn

from trivium.errors import RecipeError
from trivium.model.attention import Layout

Half = Literal[0, 1]
"""Of a layer: 0 its attention, 1 its feed-forward network."""


class Side(nn.Module):
    """What one task adds to the layers of the shared encoder. By default nothing."""

    def beside(self, layer: int, x_ND: Tensor, groups: Layout) -> Tensor | None:  # noqa: ARG002 the seam
        """What is added to the layer's second residual: y = LN(a + FFN(a) + beside(x)).

        x_ND: the layer's input; layer: counted from 0. None where nothing is added.
        """
        return None

    def within(self, layer: int, half: Half, update_ND: Tensor) -> Tensor:  # noqa: ARG002 the seam
        """What becomes of a sublayer's output before residual and LayerNorm."""
        return update_ND


class NamedModules(nn.ModuleDict):
    """Modules by name; a task may be called `type` or `train`, which plain ModuleDict refuses."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        assert module is not None
        self._modules[name] = module


class Sides(NamedModules):
    """Sides by kind of adapter, then by task: parameters `sides.<kind>.<task>.…`, as
    `model.ownership` reads them."""

    def add(self, kind: str, task: str, side: Side) -> None:
        if kind not in self:
            self[kind] = NamedModules().train(self.training)
        tasks = self[kind]
        assert isinstance(tasks, NamedModules)
        if task in tasks:
            raise RecipeError(f"adapters: task {task!r} has two of kind {kind}; leave one out.")
        tasks[task] = side

    def of(self, task: str) -> list[Side]:
        """The task's sides; none for an unknown task and for "" (a plain embedding)."""
        found = []
        for tasks in self.values():
            assert isinstance(tasks, NamedModules)
            if task in tasks:
                side = tasks[task]
                assert isinstance(side, Side)
                found.append(side)
        return found
