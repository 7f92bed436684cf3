"""The files that are read: those of the default project of Stanford's course CS224N."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "cs224n"
"""Beside the repository, where the recipes look too."""


def existing(folder: Path, name: str) -> Path:
    """The path of a file; ends the program where there is none."""
    path = folder / name
    if not path.is_file():
        raise SystemExit(
            f"{path}: no such file. The benchmarks read the files of the default project of "
            "Stanford's course CS224N; name their folder with --data."
        )
    return path
