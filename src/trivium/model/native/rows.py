"""A matrix of which a step reads few rows, such as the word embedding.

With momentum and weight decay AdamW moves every row at every step, whether a text holds it or not.
Here the rows that no text holds make up for the steps that they missed when they are next read,
with the bits that they would have had all along. Until then the matrix, and the moments that AdamW
keeps of it, are behind, and nobody can see it: whatever reads one of them first brings all of its
rows up to date.

Shape letters as in `trivium.types`; V rows of the matrix, U of them in a batch.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from trivium.model.native.library import Library

RULE = 8
"""Numbers that say what a step does to a parameter; see `Rule` in `native/adamw.h`."""

Context = Any  # what autograd hands to forward and backward


class Held(NamedTuple):
    """Three [V, D] matrices, as one step leaves them for the next."""

    weight_VD: Tensor
    mean_VD: Tensor
    """Of the gradients."""
    squares_VD: Tensor
    """Mean of their squares."""


class Some(NamedTuple):
    """Distinct rows of a matrix, and what each is given."""

    row_U: Tensor
    value_UD: Tensor


class Rows:
    """What is to be done to the rows of a matrix that have not been read for some steps.

    `AdamW.rows_of` makes it. The gradient of what it reads is sparse: rows and their values.
    """

    def __init__(self, library: Library, weight: Tensor) -> None:
        self.library, self.weight = library, weight
        self._seen_V = torch.zeros(len(weight), dtype=torch.int32)
        self._rules = torch.empty(64, RULE)
        """Of each step since the matrix was last up to date."""
        self._steps = 0
        self._held: Held | None = None
        """The matrices while they are behind, for those who know it."""
        self._owing: list[_Owing] = []
        """The same, as all others have them."""

    def read(self, ids_N: Tensor, padding: int | None) -> Tensor:
        """The rows ids_N, up to date: x_ND. Row `padding` learns nothing."""
        found = _Found.of(ids_N, padding)
        self._catch_up(found.row_U)
        weight_VD = self.weight.detach() if self._held is None else self._held.weight_VD
        x_ND: Tensor = _Read.apply(self.weight, weight_VD, found, self.library)  # type: ignore[no-untyped-call]
        return x_ND

    def merged(self, gradient: Tensor) -> Some:
        """A sparse gradient's rows, each once: values of equal rows are summed in their order."""
        if gradient.is_coalesced():
            return Some(gradient.indices()[0], gradient.values().contiguous())
        found = _Found.of(gradient._indices()[0])
        return Some(found.row_U, found.sums(self.library, gradient._values()))

    def step(
        self, some: Some, moments: tuple[Tensor, Tensor], rule: Sequence[float], scale: float
    ) -> None:
        """One step of AdamW with the gradient `some` times `scale`; the other rows owe it.

        moments: the means of gradients and of their squares.
        """
        seen = (self.weight, *moments)
        held = self._held or Held(*(tensor.detach() for tensor in seen))
        self._note(rule)
        self._run(held, some.row_U, self._steps - 1, some.value_UD, scale)
        increment_version([held.weight_VD])  # which it shares with the parameter
        if self._held is None:
            self._held, self._owing = held, [_Owing.put(tensor, self) for tensor in seen]
            _BEHIND.add(self)

    def settle(self) -> None:
        """Bring all rows up to date."""
        if self._held is None:
            return
        self._run(self._held, None, self._steps)
        for owing in self._owing:
            owing.take_back()
        self._seen_V.zero_()
        self._steps, self._held, self._owing = 0, None, []
        _BEHIND.discard(self)

    def _catch_up(self, row_U: Tensor) -> None:
        if self._held is not None:
            self._run(self._held, row_U, self._steps)

    def _note(self, rule: Sequence[float]) -> None:
        if self._steps == len(self._rules):
            self._rules = torch.cat([self._rules, torch.empty_like(self._rules)])
        self._rules[self._steps] = torch.tensor(rule)
        self._steps += 1

    def _run(
        self,
        held: Held,
        row_U: Tensor | None,
        steps: int,
        value_UD: Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        count = len(self._seen_V) if row_U is None else len(row_U)
        self.library.rows(
            held.weight_VD, held.mean_VD, held.squares_VD, self._seen_V, row_U,
            count, held.weight_VD.shape[1], self._rules, steps, value_UD, scale,
        )  # fmt: skip


# --- reading -----------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The distinct rows of what is read, and where each is."""

    ids_N: Tensor
    row_U: Tensor
    order_N: Tensor
    """Places of equal rows side by side, in the rows' order."""
    end_U: Tensor
    """Of each row's places."""
    padding: int | None

    @classmethod
    def of(cls, ids_N: Tensor, padding: int | None = None) -> "_Found":
        ordered_N, order_N = ids_N.sort(stable=True)
        row_U, count_U = torch.unique_consecutive(ordered_N, return_counts=True)
        return cls(ids_N, row_U, order_N, count_U.cumsum(0), padding)

    def sums(self, library: Library, value_ND: Tensor) -> Tensor:
        """Of the values of equal rows, one after another: sum_UD."""
        value_ND, width = value_ND.contiguous(), value_ND.shape[1]
        sum_UD = value_ND.new_empty(len(self.row_U), width)
        library.row_sums(value_ND, self.order_N, self.end_U, len(self.row_U), width, sum_UD)
        return sum_UD


class _Read(torch.autograd.Function):
    """The rows of a matrix; its gradient is sparse, and no part of it is as large as the matrix."""

    @staticmethod
    def forward(
        ctx: Context,
        weight: Tensor,  # noqa: ARG004 whose gradient it is
        held_VD: Tensor,
        found: _Found,
        library: Library,
    ) -> Tensor:
        ctx.library, ctx.found, ctx.shape = library, found, held_VD.shape
        return held_VD.index_select(0, found.ids_N)

    @staticmethod
    def backward(ctx: Context, grad_ND: Tensor) -> tuple[Tensor | None, ...]:
        found: _Found = ctx.found
        sum_UD = found.sums(ctx.library, grad_ND)
        if found.padding is not None:
            sum_UD[found.row_U == found.padding] = 0.0
        return sparse(Some(found.row_U, sum_UD), ctx.shape), None, None, None


def sparse(some: Some, shape: torch.Size) -> Tensor:
    """A gradient that is 0 but for some rows."""
    return torch.sparse_coo_tensor(
        some.row_U[None], some.value_UD, shape, is_coalesced=True, check_invariants=False
    )


# --- what is behind -----------------------------------------------------------------------------

_BEHIND: WeakSet[Rows] = WeakSet()
"""A matrix that is behind has its rows among its attributes: they live as long."""


def settle_all() -> None:
    """Bring whatever is behind up to date."""
    for rows in list(_BEHIND):
        rows.settle()


_UNREAD = {
    getattr(getattr(Tensor, name), access)
    for name, accesses in {
        "grad": ("__get__", "__set__"),
        "requires_grad": ("__get__", "__set__"),
        **dict.fromkeys(("shape", "dtype", "device", "is_leaf", "ndim"), ("__get__",)),
    }.items()
    for access in accesses
} | {Tensor.size, Tensor.dim, Tensor.numel, Tensor.requires_grad_}
"""What can be asked of a tensor without reading its numbers."""


class _Behind:
    """Mixed into a tensor's class while it is behind, as torch's own
    `nn.parameter.UninitializedTensorMixin` is into that of one without numbers: every operation on
    it comes here first."""

    @classmethod
    def __torch_function__(
        cls,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function not in _UNREAD:
            settle_all()
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        settle_all()
        return copy.deepcopy(self, memo)  # by its own class now

    def __reduce_ex__(self, protocol: Any) -> Any:
        settle_all()
        return self.__reduce_ex__(protocol)


class _BehindParameter(_Behind, nn.Parameter):
    pass


class _BehindTensor(_Behind, Tensor):
    pass


class _Owing(NamedTuple):
    """A tensor that is behind, and the class that it had and will have again."""

    tensor: Tensor
    own: type[Tensor]

    @classmethod
    def put(cls, tensor: Tensor, rows: Rows) -> "_Owing":
        own = type(tensor)
        tensor.__dict__["_rows"] = rows
        tensor.__class__ = _BehindParameter if issubclass(own, nn.Parameter) else _BehindTensor
        return cls(tensor, own)

    def take_back(self) -> None:
        self.tensor.__class__ = self.own
        del self.tensor.__dict__["_rows"]
