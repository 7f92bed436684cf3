"""The process itself, made fit for training on CPUs; changes no number."""

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    _HAS_RESOURCE = False
else:
    _HAS_RESOURCE = True

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_MIB = 2**20
_KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""oneDNN's own cache, and the one that torch puts before it."""
_KERNELS = 64
_FEW = 16
"""Of a pass forward: all that its layers repeat, with room to spare."""


@cache
def keep_memory() -> None:
    """Have freed memory kept for the next batch, and few kernels; call it before any product.

    A step allocates and frees hundreds of MB in sizes that differ from batch to batch. By default,
    on Linux with glibc, the large ones are mapped anew each time, some 15,000 page faults a step:
    a sixth of the time. The process then holds on to its largest need until it ends.

    For every number of tokens oneDNN makes kernels of their own, some 0.5 MB each with their
    working memory, and both caches keep the last 1,024 of them, which are never asked for again: a
    batch of the same number of tokens seldom comes back. What a step repeats, in all its layers, is
    far fewer. The caches read their size once, at the first product of the process.
    """
    for name in _KERNEL_CACHES:
        os.environ.setdefault(name, str(_KERNELS))
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for setting, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 * _MIB)):
        mallopt(setting, value)


def keep_few_kernels() -> None:
    """Of a process that only answers; call it before a model is loaded.

    Packs of texts have many sizes, of which none is repeated soon: all that is kept of past ones is
    memory that grows with the rows until the caches are full.
    """
    for name in _KERNEL_CACHES:
        os.environ.setdefault(name, str(_FEW))


def cpu_name() -> str:
    """What the processor calls itself, as far as the system says."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_now() -> int:
    """Bytes of memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_memory() -> int:
    """Most bytes of memory that this process has held at any time."""
    if sys.platform == "win32" or not _HAS_RESOURCE:
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))  # the first is Windows' own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # others count KiB
