"""What resuming needs: the training state, in generations, so that a damaged one costs little."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from trivium.errors import RecipeError
from trivium.model.weights import read_tensors, write_tensors
from trivium.run.folder.atomic import in_place_of, remove_whole
from trivium.run.folder.names import RESUME, STATE, STATE_TENSORS
from trivium.run.folder.replaced import let_go
from trivium.run.folder.sealed import seal, unseal

KEPT_GENERATIONS = 2


# --- resuming ----------------------------------------------------------------------------------


def save_resume(
    run_dir: Path,
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    keep: int = KEPT_GENERATIONS,
) -> None:
    """One more generation of the training state; of all, the last `keep` stay."""
    home = run_dir / RESUME
    home.mkdir(exist_ok=True)
    numbers = _generations(home)
    folder = home / f"{(numbers[-1] if numbers else 0) + 1:06d}"
    with in_place_of(folder) as fresh:
        write_tensors(tensors, fresh / STATE_TENSORS)
        seal(fresh, STATE, dict(values))
    # Only now: until the new one is whole and on disk, the old ones are all there is.
    let_go(run_dir)
    for number in numbers[: len(numbers) + 1 - keep]:
        remove_whole(home / f"{number:06d}")


def load_resume(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest state that is whole; None where there is none."""
    for folder, values in _whole(run_dir):
        return read_tensors(folder / STATE_TENSORS), values
    return None


def saved_state(run_dir: Path) -> dict[str, Any] | None:
    """What `load_resume` would tell of the newest state, without its tensors."""
    return next((values for _, values in _whole(run_dir)), None)


def _whole(run_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The generations that are not damaged, which the one before is kept for; newest first."""
    home = run_dir / RESUME
    for number in reversed(_generations(home)):
        folder = home / f"{number:06d}"
        with suppress(RecipeError):
            yield folder, unseal(folder, STATE)


def remove_resume(run_dir: Path) -> None:
    """Remove the training state of a finished run, if there is any."""
    if (run_dir / RESUME).is_dir():
        with suppress(OSError):  # it does no harm: a run with scores is never resumed
            remove_whole(run_dir / RESUME)


def _generations(home: Path) -> list[int]:
    if not home.is_dir():
        return []
    return sorted(int(path.name) for path in home.iterdir() if path.name.isdigit())
