"""A stack of layers with their packed weights, kept with its encoder."""

import weakref
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trivium.model.kernels import Linear, lora_of
from trivium.model.native.library import Form, Library
from trivium.model.native.weights import Packed


class LayerModules(NamedTuple):
    """What one layer consists of."""

    qkv: tuple[Linear, Linear, Linear]
    mixed: Linear
    """What follows attention."""
    mixed_norm: nn.LayerNorm
    inner: Linear
    outer: Linear
    outer_norm: nn.LayerNorm

    def linear(self) -> tuple[Linear, ...]:
        return (*self.qkv, self.mixed, self.inner, self.outer)

    def products(self) -> list[tuple[Linear, ...]]:
        """Layers that read one input, and so are one product."""
        return [self.qkv, (self.mixed,), (self.inner,), (self.outer,)]

    def parameters(self) -> list[Tensor]:
        """All that the layer is made of, with LoRA's pairs."""
        found: list[Tensor] = []
        for norm in (self.mixed_norm, self.outer_norm):
            found += [norm.weight, norm.bias]
        for part in self.linear():
            found += [part.weight, part.bias]
            if (pair := lora_of(part)) is not None:
                found += [pair.a, pair.b]
        return found


class LayerWeights(NamedTuple):
    """A layer's products."""

    qkv: Packed
    mixed: Packed
    inner: Packed
    outer: Packed


class Stack:
    """Layers one after another, and what is made of their parameters for the kernels."""

    def __init__(self, layers: Sequence[LayerModules], form: Form) -> None:
        self.layers, self.form = list(layers), form
        self.weights = self._fresh()
        """Not those of an earlier pass whose backward pass is still to come: see `lend`."""
        self.pointers = torch.empty(0, dtype=torch.int64)
        """Of every layer, in the order of `native/encode.c`."""
        self._linear = [part for layer in self.layers for part in layer.linear()]
        norms = [norm for layer in self.layers for norm in (layer.mixed_norm, layer.outer_norm)]
        # The modules' own dictionaries: asking a module by name takes several times as long.
        self._own = [module._parameters for module in (*self._linear, *norms)]
        self._stamp: tuple[int, ...] = ()
        self._learns_from = len(self.layers)
        self._lent: list[weakref.ref[object]] = []
        self._one_at_a_time = Lock()

    @property
    def width(self) -> int:
        return self.layers[0].mixed.out_features

    def parameters(self) -> list[Tensor]:
        return [p for layer in self.layers for p in layer.parameters()]

    @property
    def lora_drops(self) -> bool:
        """Whether LoRA changes its inputs, so that it cannot be folded into the weights."""
        pairs = (lora_of(part) for part in self._linear)
        return any(pair is not None and pair.dropout > 0 for pair in pairs)

    def refresh(self, library: Library, *, learns_from: int) -> None:
        """Follow the parameters. learns_from: the lowest layer that a backward pass will come to;
        the layers' number where none will follow."""
        with self._one_at_a_time:  # the first texts may come in several threads
            stamp = self._state()
            if stamp != self._stamp or self._learns_from > learns_from:
                self._follow(library, stamp, learns_from)

    def _follow(self, library: Library, stamp: tuple[int, ...], learns_from: int) -> None:
        self._refuse_others()
        self._lent = [holder for holder in self._lent if holder() is not None]
        if self._lent and stamp != self._stamp:
            self.weights, self._lent = self._fresh(), []
        for index, layer in enumerate(self.weights):
            for packed in layer:
                packed.refresh(library, learns=index >= learns_from)
        self.pointers = torch.tensor(
            [_pointers(*both) for both in zip(self.layers, self.weights, strict=True)]
        )
        self._stamp, self._learns_from = stamp, learns_from

    def lend(self, holder: object) -> None:
        """Let the present weights be as they are for as long as `holder` lives: it holds them for a
        backward pass, and until then another pass may have other parameters."""
        self._lent.append(weakref.ref(holder))

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy of an encoder, or one that is read back, has none, and makes its own."""
        return type(None), ()

    def _refuse_others(self) -> None:
        """Kernels read fp32, number after number, wherever they are pointed at."""
        for parameter in self.parameters():
            in_one_piece = parameter.dim() > 1 or parameter.is_contiguous()  # matrices are packed
            if parameter.dtype != torch.float32 or not in_one_piece:
                raise TypeError(
                    "compiled kernels take parameters in fp32, and vectors in one piece; one of "
                    f"shape {tuple(parameter.shape)} is {parameter.dtype} with strides "
                    f"{parameter.stride()}. TRIVIUM_NATIVE=0 does without them."
                )

    def _fresh(self) -> list[LayerWeights]:
        return [
            LayerWeights(*(Packed(parts, self.form) for parts in each.products()))
            for each in self.layers
        ]

    def _state(self) -> tuple[int, ...]:
        """What differs as soon as any parameter is another, or has other values."""
        pairs = [pair._parameters for part in self._linear if (pair := lora_of(part)) is not None]
        there = (p for own in (*self._own, *pairs) for p in own.values() if p is not None)
        # `_version` counts changes in place, as in `kernels`.
        return tuple([number for p in there for number in (p.data_ptr(), p._version)])


def _pointers(layer: LayerModules, weights: LayerWeights) -> list[int]:
    norms = (layer.mixed_norm, layer.outer_norm)
    tensors = [
        *(each.ahead for each in weights), *(each.bias for each in weights),
        *(tensor for norm in norms for tensor in (norm.weight, norm.bias)),
    ]  # fmt: skip
    return [tensor.data_ptr() for tensor in tensors]
