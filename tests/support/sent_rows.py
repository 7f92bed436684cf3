"""A process of several that averages a gradient of few rows, and tells what it sent and has."""

import json
import sys

import torch
from torch import Tensor

from trivium.run.training import buckets
from trivium.run.training.buckets import Mean
from trivium.run.training.distributed import Processes, join, leave


class Told(Processes):
    """Processes that tell how many numbers are summed up."""

    __slots__ = ()

    def sum_begun(self, flat: Tensor) -> torch.distributed.Work:
        print(json.dumps({"sent": flat.numel()}), file=sys.stderr)
        return super().sum_begun(flat)


def main() -> None:
    buckets.TABLE_BYTES = 1000
    processes, _ = join(torch.device("cpu"))
    rank = processes.rank
    table_RK = torch.zeros(100, 8)
    table_RK[[3 + rank, 90]] = 1.0 + rank
    Mean(Told(rank, processes.world)).all_([table_RK])
    rows = {str(row): table_RK[row].tolist() for row in table_RK.any(1).nonzero().view(-1).tolist()}
    print(json.dumps({"rows": rows}), file=sys.stderr)
    leave()
