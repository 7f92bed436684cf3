"""A real S3 server of this machine, in a process of its own, where its packages are installed."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import pytest

NEEDED = ("moto", "flask", "flask_cors", "s3fs")
PATIENCE_S = 60


def skip_without_server() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"no S3 here: {missing[0]} is missing (pip install 'moto[server]' s3fs)")


class Server:
    """moto's server. Its buckets are gone with it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.05)
        raise RuntimeError("the S3 server did not begin")

    @property
    def environment(self) -> dict[str, str]:
        """By which s3fs, here and in processes that are started, finds it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3_with(bucket: str) -> Iterator[Server]:
    """While the block lasts, this process's environment leads there. Skips where there is none."""
    skip_without_server()
    import s3fs

    server = Server()
    before = dict(os.environ)
    os.environ.update(server.environment)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem().mkdir(bucket)
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        s3fs.S3FileSystem.clear_instance_cache()
        server.process.kill()
        server.process.wait()
