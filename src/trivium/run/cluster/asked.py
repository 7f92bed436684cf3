"""Where runs are trained, several at a time: here or on which cluster, and what each asks of it."""

import re
from dataclasses import dataclass
from decimal import Decimal

from trivium.errors import RecipeError

HERE, RAY = "here", "ray"
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True, slots=True)
class OnRay:
    """Have Ray carry out what a study, a search or a prediction consists of.

    A run is given whole cores, and has as many threads; what it is given changes no bit of what it
    computes but through their number.

        trivium.OnRay(address="10.0.0.1:6379", cpus=4, memory=8 * 10**9)
    """

    address: str | None = None
    """Of a cluster that is there, as Ray takes it; None: RAY_ADDRESS, or else one of this machine
    alone, which begins and ends with the work."""
    cpus: int | None = None
    """Of each run, and its threads; None: as many threads as it would have without Ray."""
    memory: int | None = None
    """Bytes for each run; None: what its preview says that it will hold."""
    gpus: float | None = None
    """Of each run; None: one where its recipe may use one and the cluster has any."""
    at_once: int | None = None
    """Runs at a time; None: as many as there is room for."""
    store: str | None = None
    """Where machines without a common folder hand runs over: a URL that fsspec knows."""


@dataclass(frozen=True, slots=True)
class OnHere:
    """Have this machine train several of the runs of a study or a search at a time.

    Each is a child process, as where they are trained one after another, and computes the same but
    for what the number of its threads changes.

        trivium.OnHere(at_once=4)
    """

    at_once: int
    """Runs at a time."""
    cpus: int | None = None
    """Threads of each run; None: an equal share of the cores."""


def asked_for(  # noqa: PLR0917 as many as there are options
    on: str,
    address: str | None = None,
    cpus: int | None = None,
    memory: str | None = None,
    gpus: float | None = None,
    at_once: int | None = None,
    store: str | None = None,
) -> OnRay | OnHere | None:
    """What a command's options ask for; None: here, one after another. Raises RecipeError."""
    given = {"--address": address, "--memory": memory, "--gpus": gpus, "--store": store}
    named = [name for name, value in given.items() if value is not None]
    if on not in (HERE, RAY):
        raise RecipeError(f"--on {on}: is neither {HERE} (this machine) nor {RAY}.")
    if on == HERE and named:
        raise RecipeError(f"{named[0]}: is asked of a cluster; say which with --on {RAY}.")
    for name, number in (("--cpus", cpus), ("--jobs", at_once)):
        if number is not None and number < 1:
            raise RecipeError(f"{name} {number}: is below 1.")
    if gpus is not None and gpus < 0:
        raise RecipeError(f"--gpus {gpus}: is below 0.")
    if on == RAY:
        size = None if memory is None else bytes_of(memory)
        return OnRay(address, cpus, size, gpus, at_once, store)
    if cpus is not None and at_once is None:
        raise RecipeError(
            "--cpus: is of each of several runs at a time; say how many with --jobs, or on which "
            f"cluster with --on {RAY}."
        )
    return OnHere(at_once, cpus) if at_once and (at_once, cpus) != (1, None) else None


def words_of(asked: OnRay | OnHere | None) -> list[str]:
    """The options that ask for the same."""
    if asked is None:
        return []
    if isinstance(asked, OnHere):
        cpus = [] if asked.cpus is None else ["--cpus", str(asked.cpus)]
        return ["--jobs", str(asked.at_once), *cpus]
    given: dict[str, object] = {"--address": asked.address, "--cpus": asked.cpus}
    size = None if asked.memory is None else f"{Decimal(asked.memory).scaleb(-6).normalize():f}MB"
    given |= {
        "--memory": size,
        "--gpus": asked.gpus,
        "--jobs": asked.at_once,
        "--store": asked.store,
    }
    said = {name: value for name, value in given.items() if value is not None}
    return ["--on", RAY, *(word for name, value in said.items() for word in (name, str(value)))]


def bytes_of(text: str) -> int:
    """Of a size as people write it: 8GB, 512 MiB. Raises RecipeError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?b)\s*", text.lower())
    if match is None:
        raise RecipeError(f"--memory {text}: is no size such as 8GB or 500MB.")
    return int(Decimal(match[1]) * _UNITS[match[2]])
