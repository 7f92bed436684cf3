"""What is computed on a CPU asks no GPU for its random state, which would take memory there."""

from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from tests.support.stepping import begun
from tests.support.tables import make_recipe
from trivium.run.assembly.device import undisturbed
from trivium.run.training.distributed import Processes
from trivium.run.training.state import pack_state, unpack_state

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> NoReturn:
        raise AssertionError("a GPU was asked for its random state")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked)
    monkeypatch.setattr(torch.cuda, "set_rng_state", asked)


def test_a_checkpoint_of_a_run_on_a_cpu_neither_holds_nor_restores_it(
    tiny: Path, tmp_path: Path
) -> None:
    run = begun(make_recipe(tiny, tmp_path))
    tensors, values = pack_state(run.state, "", Processes())
    assert not [name for name in tensors if name.startswith("random.cuda")]
    of_a_gpu = tensors | {"random.cuda.0": torch.zeros(16, dtype=torch.uint8)}
    unpack_state(run.state, of_a_gpu, values, 0)


def test_draws_inside_change_nothing_of_those_outside() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    with undisturbed(CPU):
        torch.rand(5)
    assert torch.equal(torch.rand(2), wanted)
