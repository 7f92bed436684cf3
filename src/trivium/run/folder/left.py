"""What the disk's failure left of a run, in words."""

from pathlib import Path

from trivium.run.folder.names import RECIPE, REPLACED
from trivium.run.folder.resume import saved_state


def earlier_recipes(run_dir: Path) -> set[int]:
    """Which recipes are there before training begins: of the run, and of one that is set aside."""
    numbers = (_number_of(home / RECIPE) for home in (run_dir, run_dir / REPLACED))
    return {number for number in numbers if number is not None}


def what_is_left(run_dir: Path, earlier: set[int], overwrite: bool) -> str:
    """After the disk failed: what was kept, and how to go on.

    earlier: `earlier_recipes` of before; overwrite: whether these were to be replaced.
    """
    now = _number_of(run_dir / RECIPE)
    if now is None:
        return "Nothing was kept: start again once there is room."
    if overwrite and now in earlier:
        return (
            "Nothing was kept of the new run, and the old one is as it was: start again, with "
            "--overwrite, once there is room."
        )
    saved = saved_state(run_dir)
    if saved is None:
        aside = run_dir / REPLACED
        return (
            "No step was saved; once there is room, or the disk is sound, --resume begins with the "
            "first." + (f" The run that was there is in {aside}." if aside.is_dir() else "")
        )
    counters = saved["counters"]
    return (
        f"Kept: the state after step {counters['step']} of stage {counters['stage'] + 1}; once "
        "there is room, or the disk is sound, --resume goes on from there."
    )


def _number_of(file: Path) -> int | None:
    """Tells a file from the one that takes its place."""
    return file.stat().st_ino if file.is_file() else None
