"""Compile the native module: `python native/build.py [--out FILE] [--flag=-g]`.

One shared library without any dependency but the C library: it is opened by `ctypes`, knows nothing
of Python or PyTorch, and so serves every version of both. It is built by installing the package,
where there is a C compiler for x86-64 Linux; elsewhere the same is computed in PyTorch.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
# In a folder that is no package: a library beside modules would pass for one of them.
LIBRARY = HERE.parent / "src" / "trivium" / "_native" / "kernels.so"

COMMON = ("-O3", "-std=c11", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=implicit")
VECTORS = (
    *("-march=x86-64-v4", "-mavx512bf16", "-mprefer-vector-width=512", "-mtune=icelake-server"),
    # A product and a sum are rounded once only where the source says so: every compiler then gives
    # the same numbers.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
ANYWHERE = ("cpu",)
"""Sources that must run on any processor: they ask what it can do."""


class CannotBuildError(Exception):
    """There is no compiler, or it does not know these processors; str() says which."""


def build(out: Path = LIBRARY, flags: Sequence[str] = (), program: Path | None = None) -> Path:
    """Compile and link; the library replaces `out` when it is whole. Raises CannotBuildError.

    program: a source with a `main`, of which and the others a program is made instead.
    """
    compiler = _compiler()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".native-") as folder:
        sources = [*_sources(), *([program] if program else [])]
        objects = [_compiled(compiler, source, Path(folder), flags) for source in sources]
        made = Path(folder) / out.name
        # The library's OpenMP functions are those of the process that opens it: undefined here.
        kind = ["-pthread"] if program else ["-shared"]
        _run([*compiler, *kind, *flags, "-o", str(made), *map(str, objects), "-lm"])
        os.replace(made, out)
    return out


def _sources() -> list[Path]:
    return sorted(HERE.glob("*.c"))


def _compiler() -> list[str]:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise CannotBuildError(f"not made for {sys.platform} on {platform.machine()}")
    given = shlex.split(os.environ.get("CC", ""))
    for command in (given,) if given else (["cc"], ["gcc"], ["clang"]):
        if shutil.which(command[0]):
            return command
    raise CannotBuildError("there is no C compiler (tried $CC, cc, gcc, clang)")


def _compiled(compiler: list[str], source: Path, folder: Path, flags: Sequence[str]) -> Path:
    made = folder / f"{source.stem}.o"
    vectors = () if source.stem in ANYWHERE else VECTORS
    _run([*compiler, *COMMON, *vectors, *flags, "-c", str(source), "-o", str(made)])
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuildError(f"{shlex.join(command)}: {done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=LIBRARY)
    parser.add_argument("--program", type=Path, help="a source with a main: make this of it")
    parser.add_argument("--flag", action="append", default=[], help="of the compiler; may repeat")
    given = parser.parse_args()
    try:
        print(build(given.out, given.flag, given.program))
    except CannotBuildError as error:
        sys.exit(f"native module: {error}")
