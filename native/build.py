"""Compile the native module: `python native/build.py [--kind avx2] [--out FILE] [--flag=-g]`.

Two shared libraries of the same functions: one for processors with AVX-512 and its products of
bf16, one for those with AVX2 alone, which computes in fp32. Neither depends on anything but the C
library: they are opened by `ctypes`, know nothing of Python or PyTorch, and so serve every version
of both. They are built by installing the package, where there is a C compiler for x86-64 Linux;
elsewhere the same is computed in PyTorch.
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
from typing import NamedTuple

HERE = Path(__file__).parent
# In a folder that is no package: a library beside modules would pass for one of them.
FOLDER = HERE.parent / "src" / "trivium" / "_native"

COMMON = ("-O3", "-std=c11", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=implicit")
# A product and a sum are rounded once only where the source says so: every compiler then gives the
# same numbers.
ROUNDING = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")


class Kind(NamedTuple):
    """A library for one sort of processor."""

    file: str
    folder: str
    """With the sources that are its own."""
    flags: tuple[str, ...]
    vectors: tuple[str, ...]
    """Flags of all sources that need not run on any processor."""


KINDS = {
    "avx512": Kind(
        "kernels.so", "bf16", (),
        ("-march=x86-64-v4", "-mavx512bf16", "-mprefer-vector-width=512", "-mtune=icelake-server"),
    ),
    "avx2": Kind("kernels_avx2.so", "fp32", ("-DFP32",), ("-mavx2", "-mfma", "-mtune=haswell")),
}  # fmt: skip
ANYWHERE = ("cpu",)
"""Sources that must run on any processor: they ask what it can do."""


class CannotBuildError(Exception):
    """There is no compiler, or it does not know these processors; str() says which."""


def build_all(folder: Path = FOLDER) -> tuple[list[Path], list[CannotBuildError]]:
    """Every kind, in a folder; and why those are missing that cannot be built."""
    made: list[Path] = []
    missing: list[CannotBuildError] = []
    for kind in KINDS.values():
        try:
            made.append(build(kind, folder / kind.file))
        except CannotBuildError as error:
            missing.append(error)
    return made, missing


def build(kind: Kind, out: Path, flags: Sequence[str] = (), program: Path | None = None) -> Path:
    """Compile and link; the library replaces `out` when it is whole. Raises CannotBuildError.

    program: a source with a `main`, of which and the others a program is made instead.
    """
    compiler = _compiler()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".native-") as folder:
        sources = [*_sources(kind), *([program] if program else [])]
        told = [*kind.flags, *flags]
        objects = [_compiled(compiler, source, Path(folder), kind, told) for source in sources]
        made = Path(folder) / out.name
        # The library's OpenMP functions are those of the process that opens it: undefined here.
        kind_of_file = ["-pthread"] if program else ["-shared"]
        _run([*compiler, *kind_of_file, *flags, "-o", str(made), *map(str, objects), "-lm"])
        os.replace(made, out)
    return out


def _sources(kind: Kind) -> list[Path]:
    return sorted([*HERE.glob("*.c"), *(HERE / kind.folder).glob("*.c")])


def _compiler() -> list[str]:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise CannotBuildError(f"not made for {sys.platform} on {platform.machine()}")
    given = shlex.split(os.environ.get("CC", ""))
    for command in (given,) if given else (["cc"], ["gcc"], ["clang"]):
        if shutil.which(command[0]):
            return command
    raise CannotBuildError("there is no C compiler (tried $CC, cc, gcc, clang)")


def _compiled(
    compiler: list[str], source: Path, folder: Path, kind: Kind, flags: Sequence[str]
) -> Path:
    made = folder / f"{source.stem}.o"
    vectors = () if source.stem in ANYWHERE else (*kind.vectors, *ROUNDING)
    _run([*compiler, *COMMON, *vectors, *flags, "-c", str(source), "-o", str(made)])
    return made


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuildError(f"{shlex.join(command)}: {done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, help="this one alone")
    parser.add_argument("--out", type=Path, help="file of one kind; by default in the package")
    parser.add_argument("--program", type=Path, help="a source with a main: make this of it")
    parser.add_argument("--flag", action="append", default=[], help="of the compiler; may repeat")
    given = parser.parse_args()
    if given.kind is None and (given.out or given.program or given.flag):
        parser.error("these options are for one kind: name it with --kind")
    try:
        if given.kind is None:
            made, missing = build_all()
            print(*made, sep="\n")
            if missing:
                raise missing[0]
        else:
            one = KINDS[given.kind]
            print(build(one, given.out or FOLDER / one.file, given.flag, given.program))
    except CannotBuildError as error:
        sys.exit(f"native module: {error}")
