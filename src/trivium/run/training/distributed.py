"""Several processes that train one model: no-ops when there is only one.

Every process draws the same tasks and rows and takes its share of each batch, so a run with two
processes does what a run with one does, up to rounding and the noise of dropout. Losses that
compare rows are told what the other processes say of theirs. Launch with:
torchrun --nproc-per-node 2 -m trivium train RECIPE --out RUN

Only the first process reads and writes the run's folder; what stands there it tells the others,
which may be on hosts that do not see it.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from trivium.errors import NotWrittenError, RecipeError
from trivium.run.assembly.device import make_current
from trivium.run.training.meeting import store_of_this_try

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, *flags: bool) -> list[bool]:
        """Each flag, true where it is true in any process."""
        if self.world == 1:
            return list(flags)
        any_F = torch.tensor(flags, dtype=torch.int32, device=self._device)
        dist.all_reduce(any_F, dist.ReduceOp.MAX)
        return [bool(flag) for flag in any_F.tolist()]

    def from_first(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared)
        return shared[0]

    def asked_of_first(self, find: Callable[[], Found]) -> Found:
        """What the first process finds. Raises in all of them the RecipeError that it raises."""
        if self.world == 1:
            return find()
        found: Found | None = None
        wrong = None
        if self.first:
            try:
                found = find()
            except RecipeError as error:
                wrong = str(error)
        told, wrong = self.from_first((found, wrong))
        if wrong is not None:
            raise RecipeError(wrong)
        answer: Found = told
        return answer

    def tensors_of_first(
        self, tensors: Mapping[str, Tensor], device: torch.device
    ) -> dict[str, Tensor]:
        """The first process's CPU tensors, in all of them; what the others give is not looked at.

        device: where this process computes, by way of which NCCL sends them.
        """
        if self.world == 1:
            return dict(tensors)
        kinds = self.from_first({name: (t.shape, t.dtype) for name, t in tensors.items()})
        found = {}
        for name, (shape, kind) in kinds.items():
            ours = tensors[name] if self.first else torch.empty(shape, dtype=kind)
            on_device = ours.to(device).contiguous()
            dist.broadcast(on_device, 0)
            found[name] = on_device.cpu()
        return found

    def share_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the first process's, in place."""
        if self.world == 1:
            return
        for tensor in tensors:
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
            dist.broadcast(copy, 0)
            if not self.first:
                tensor.detach().copy_(copy)  # which, unlike a broadcast, counts as a change of it

    def sum_begun(self, flat: Tensor) -> dist.Work:
        """The sum over processes, underway into this tensor of one axis."""
        work: dist.Work = dist.all_reduce(flat, async_op=True)
        return work

    def marked_by_any(self, mark_R: Tensor) -> Tensor:
        """Where a process or another says so, of a CPU tensor of booleans."""
        any_R = mark_R.to(torch.uint8)
        dist.all_reduce(any_R, dist.ReduceOp.MAX)
        return any_R.bool()

    def from_each(self, value: Tensor) -> list[Tensor]:
        """Every process's CPU tensor, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def rows_of_each(self, mine_BK: Tensor, rows: int) -> list[Tensor]:
        """What every process has of a batch of so many rows, each of its share; without gradient.

        mine_BK: of this one's, which are every n-th. All processes must come here, those without a
        row, too.
        """
        if self.world == 1:
            return [mine_BK.detach()]
        shares = [len(range(rank, rows, self.world)) for rank in range(self.world)]
        padded_BK = mine_BK.new_zeros(shares[0], mine_BK.shape[1])
        padded_BK[: len(mine_BK)] = mine_BK.detach()
        found = [torch.empty_like(padded_BK) for _ in shares]
        dist.all_gather(found, padded_BK)
        return [each_BK[:share] for each_BK, share in zip(found, shares, strict=True)]

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            dist.barrier()

    @property
    def _device(self) -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Meet the other processes that torchrun started, if it did; this one's device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    make_current(device)
    if world == 1:
        return Processes(), device
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise RecipeError(
                f"torchrun started {local + 1} or more processes here, but there are only "
                f"{torch.cuda.device_count()} GPUs; lower --nproc-per-node, or set `device: cpu`."
            )
        device = torch.device("cuda", local)
        make_current(device)
    if not dist.is_initialized():
        # The others wait while the first one evaluates, however long that takes.
        backend = "nccl" if device.type == "cuda" else "gloo"
        here, patience = int(os.environ["RANK"]), timedelta(days=7)
        if (store := store_of_this_try()) is None:
            dist.init_process_group(backend, timeout=patience)
        else:
            dist.init_process_group(
                backend, store=store, rank=here, world_size=world, timeout=patience
            )
    return Processes(dist.get_rank(), dist.get_world_size()), device


def leave() -> None:
    """Leave the other processes, if this one has met any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_LOST = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|Broken pipe|Timed out waiting")


@contextmanager
def others_lost(processes: Processes) -> Iterator[None]:
    """Tells of another process's end in a line, where a collective fails because of it.

    Raises NotWrittenError, which is no mistake in the recipe: torchrun may start again.
    """
    try:
        yield
    except RuntimeError as error:
        if processes.world == 1 or not _LOST.search(str(error)):
            raise
        raise ProcessLostError(processes.rank) from error


class ProcessLostError(NotWrittenError):
    """Another process of the run ended before this one, which cannot go on alone."""

    def __init__(self, rank: int) -> None:
        super().__init__(
            f"process {rank} lost another process of this run, which ended or cannot be reached; "
            "what that one said stands above, or on its host. With --max-restarts, torchrun goes "
            "on from the last checkpoint; by hand, --resume does."
        )
