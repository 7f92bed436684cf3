"""Whether a folder can be written to, asked before any work."""

from pathlib import Path

from trivium.errors import NotWrittenError, RecipeError, is_of_the_disk
from trivium.run.folder.atomic import fresh_name, nearest_there, refuse_file


def refuse_no_folder(out: Path, what: str) -> None:
    """As `refuse_file`, and a folder that cannot be written to."""
    refuse_file(out, what)
    try_writing(out)


def try_writing(out: Path) -> None:
    """Raises RecipeError, and NotWrittenError where the disk is full, or fails."""
    place = nearest_there(out)
    probe = fresh_name(place / (out.resolve().name or "run"))
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        if is_of_the_disk(error):
            why = f"{out}: {error.strerror}. Nothing was kept: start again once there is room."
            raise NotWrittenError(why, error) from error
        raise RecipeError(f"{out}: cannot be written to: {error.strerror}.") from error
