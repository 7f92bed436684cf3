"""Weights in the order in which the kernels read them. Shape letters: see `trivium.types`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.model.kernels import Linear, lora_of
from trivium.model.native.library import Form, Library


class Packed:
    """Layers that read one input, as one product: weights in what the kernels compute in, and the
    bias in fp32.

    They are made anew when a parameter has changed, in place.
    """

    def __init__(self, parts: Sequence[Linear], form: Form) -> None:
        self.parts, self._form = tuple(parts), form
        self.inputs = parts[0].in_features
        self.outputs = sum(part.out_features for part in parts)
        self.stamp: tuple[int, ...] = ()
        """Which values of the parameters it is made of."""
        self.ahead = self._empty(self.outputs, self.inputs)
        """For x W^T."""
        self.back: Tensor | None = None
        """For g W; made when a backward pass is first wanted."""
        self.bias = torch.empty(0)
        self.room = form.whole_panels(self.outputs)
        """Numbers of a row of the product, before it is cut to its outputs."""

    def refresh(self, library: Library, *, learns: bool) -> None:
        """Follow the parameters. learns: whether a backward pass will follow."""
        stamp = self._stamp()
        if stamp == self.stamp and (self.back is not None or not learns):
            return
        # Not as inference tensors: what an evaluation makes may serve the next training step.
        with torch.inference_mode(False), torch.no_grad():
            if learns and self.back is None:
                self.back = self._empty(self.inputs, self.outputs)
            self._pack(library)
        self.stamp = stamp

    def _pack(self, library: Library) -> None:
        first = 0
        for part in self.parts:
            pair = lora_of(part)
            weight = part.weight if pair is None else part.weight + pair.product()
            rows, inputs = weight.shape
            library.pack(
                weight.contiguous(), rows, inputs, self.ahead, self.back,
                first, self.outputs,
            )  # fmt: skip
            first += rows
        biases = [part.bias for part in self.parts]
        self.bias = biases[0].detach() if len(biases) == 1 else torch.cat(tuple(biases))

    def _stamp(self) -> tuple[int, ...]:
        stamp = []
        for part in self.parts:
            pair = lora_of(part)
            own = (part.weight, part.bias) if pair is None else (
                part.weight, part.bias, pair.a, pair.b
            )  # fmt: skip
            for tensor in own:
                # `_version` counts changes in place, as in `kernels`.
                stamp += [tensor.data_ptr(), tensor._version]
        return tuple(stamp)

    def _empty(self, columns: int, inputs: int) -> Tensor:
        """Zeros: those beyond the last column stay so."""
        count = self._form.whole_panels(columns) * inputs
        with torch.inference_mode(False):
            return torch.zeros(count, dtype=self._form.numbers)
