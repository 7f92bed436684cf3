"""What every test starts from: no network, one thread, the packaged MiniLM, hand-made batches."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is first imported

import pytest
import torch
from hypothesis import settings

from trivium.model.encoder import Encoder
from trivium.model.ownership import is_adapter_parameter
from trivium.model.pretrained import find_checkpoint
from trivium.types import Tokens

# A shell that runs the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tensors here are small, and other work may share the machine
settings.register_profile("steady", deadline=None)  # a busy machine is no failure
settings.load_profile("steady")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the packaged all-MiniLM-L6-v2."""
    return find_checkpoint("minilm")


def packed(texts: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] = ()) -> Tokens:
    """Texts given as ids (and, if not all zero, their segments), packed one after another."""
    lengths = [len(ids) for ids in texts]
    flat = [segment for each in segments for segment in each] or [0] * sum(lengths)
    return Tokens(
        ids_N=torch.tensor([piece for ids in texts for piece in ids]),
        positions_N=torch.cat([torch.arange(length) for length in lengths]),
        segments_N=torch.tensor(flat),
        lengths_R=torch.tensor(lengths),
        longest=max(lengths),
    )


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was wanted."""
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm())


def adapter_names(encoder: Encoder) -> list[str]:
    """Names of the parameters that adapters added, in the encoder's order."""
    return [name for name, _ in encoder.named_parameters() if is_adapter_parameter(name)]
