"""What makes two processes compute the same numbers: variables, and how many threads."""

import os
import sys

from trivium.run.assembly.cores import cores

NUMBERS = (
    "OMP_",
    "MKL_",
    "KMP_",
    "GOMP_",
    "ATEN_",
    "TRIVIUM_NATIVE",
    "TRIVIUM_TRITON",
    "TRIVIUM_GRAPHS",
)
"""How the names of variables begin by which the same numbers, and as fast, come out."""
THREADS = "OMP_NUM_THREADS"
TOKENIZER_THREADS = "RAYON_NUM_THREADS"


def numbers_as_here(cpus: int) -> dict[str, str]:
    """Variables that a process needs to have to compute as a child of this one would."""
    same = {name: value for name, value in os.environ.items() if name.startswith(NUMBERS)}
    return same | dict.fromkeys((THREADS, TOKENIZER_THREADS), str(cpus))


def set_numbers(environment: dict[str, str]) -> None:
    """Before PyTorch is loaded. Ray sets the number of threads, too: as many as cores are asked
    for."""
    for name in [name for name in os.environ if name.startswith(NUMBERS)]:
        del os.environ[name]
    os.environ.update(environment)


def threads_here() -> int:
    """As many threads as this process, or a child of it, has where nobody says how many."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    told = os.environ.get(THREADS, "")
    return int(told) if told.isdigit() and int(told) else cores()
