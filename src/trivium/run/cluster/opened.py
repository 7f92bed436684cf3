"""Ray itself: found, begun on this machine or joined, and left."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trivium.errors import RecipeError, first_line
from trivium.run.assembly.cores import cores
from trivium.run.cluster.asked import OnRay

ADDRESS = "RAY_ADDRESS"
OBJECTS_BYTES = 100 * 2**20
"""Of shared memory for what tasks say: outcomes, no data."""
PATIENCE_S = 10.0
ANSWER_S = 30.0
"""Within which a cluster's head says that it is well."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of work that asks for no GPU Ray would warn that it will hide them from it one day.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def load_ray() -> Any:
    """The package. Raises RecipeError where it is not installed."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray").setLevel(logging.ERROR)  # what there is to say, we say
    try:
        import ray
    except ImportError as error:
        raise RecipeError(
            f"--on ray needs {error.name or 'ray'}, which is not installed: "
            "pip install 'trivium[ray]'"
        ) from error
    return ray


@contextmanager
def opened(asked: OnRay) -> Iterator[Any]:
    """Ray, connected while the block lasts; or as it is, where this process had connected it.

    Raises RecipeError where it is not installed or the cluster does not answer.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address_of(asked)
    common = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        _begin(ray, max(cores(), asked.cpus or 1), common)
    else:
        _join(ray, address, common)
    try:
        yield ray
    finally:
        ray.shutdown()


def why_lost(ray: Any, error: Exception) -> str:
    """Why there is no answer to what Ray was asked, in a line. error: a RayError."""
    said = first_line(error)
    if isinstance(error, ray.exceptions.RayTaskError):  # the trace, which ends with what it was
        said = str(error).strip().splitlines()[-1]
    return f"lost by Ray: {said.rstrip('.')}"


def address_of(asked: OnRay) -> str | None:
    """Of a cluster that is there; None: this machine alone."""
    return asked.address or os.environ.get(ADDRESS)


def _begin(ray: Any, cpus: int, common: dict[str, Any]) -> None:
    """Ray on this machine alone. Raises RecipeError where it does not come up."""
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECTS_BYTES,
            include_dashboard=False,
            **common,
        )
    except Exception as error:  # bare, where one of its processes does not answer in time
        raise RecipeError(
            f"--on ray: Ray does not come up on this machine: {first_line(error).rstrip('.')}. It "
            "waits half a minute for its own processes, which may be too little where others keep "
            "the machine busy: try again, or leave --on ray out."
        ) from error


def _join(ray: Any, address: str, common: dict[str, Any]) -> None:
    _refuse_silent(address)
    _refuse_stranger(address)
    from ray.exceptions import RayError

    try:
        ray.init(address=address, **common)
    except (ConnectionError, ValueError, RuntimeError, OSError, AssertionError, RayError) as error:
        raise RecipeError(_no_cluster(address, first_line(error).rstrip("."))) from error


def _refuse_silent(address: str) -> None:
    """At once, where Ray would try for a minute. Raises RecipeError."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local"):
        return
    if not colon or not host or not port.isdigit():
        raise RecipeError(_no_cluster(address, "it is not of the form HOST:PORT"))
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise RecipeError(_no_cluster(address, str(error))) from error


def _refuse_stranger(address: str) -> None:
    """Where somebody else answers, whom Ray would ask for minutes. Raises RecipeError."""
    if address in ("auto", "local") or address.startswith("ray://"):
        return
    asking = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        code = subprocess.run(asking, capture_output=True, timeout=ANSWER_S, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code:
        raise RecipeError(_no_cluster(address, "what is there does not answer as Ray does"))


def _no_cluster(address: str, reason: str) -> str:
    return (
        f"--address {address}: no Ray cluster answers there: {reason}. Give HOST:PORT of its head "
        "node (what `ray start --head` printed), or leave --address out for this machine alone."
    )
