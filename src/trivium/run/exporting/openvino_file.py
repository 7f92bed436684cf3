"""OpenVINO's two files, written; what the system refuses is an OSError, as of any other writer."""

import errno
import shutil
from pathlib import Path
from typing import Any

from trivium.run.exporting import extras


def save_openvino(model: Any, path: Path) -> None:
    """The graph, and its weights beside it. Raises OSError."""
    try:
        extras.openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        # C++ says of its streams that they failed, never why.
        if "iostream" not in str(error):
            raise
        free = shutil.disk_usage(path.parent).free / 2**20
        why = f"OpenVINO could not write its graph, with {free:,.0f} MiB free on the disk"
        raise OSError(errno.EIO, why, str(path)) from error
