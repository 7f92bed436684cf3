"""The run that a new one is to replace: set aside in its folder until there is something of the new
one that could be gone on with.

Set aside it is a run's folder itself, `RUN/.replaced`, which every verb reads. It holds its recipe
last and gives it back first: so it is whole if it has one, and else what it holds was underway,
there or back, when its process was killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trivium.errors import Interrupted
from trivium.run.folder.atomic import clear, remove, remove_whole, sync
from trivium.run.folder.given import remove_given
from trivium.run.folder.names import OURS, RECIPE, REPLACED, RESUME, SCORES

_BUT_RECIPE = [name for name in OURS if name != RECIPE]


def set_aside(run_dir: Path) -> None:
    """Everything of the run that is there; of a new run that never got far, nothing, where an older
    one is set aside already.

    Links must stay where they are: where a file or folder of the run is one, the run cannot be set
    aside, and is emptied.
    """
    aside = run_dir / REPLACED
    if aside.exists() or any((run_dir / name).is_symlink() for name in OURS):
        for name in _BUT_RECIPE:
            clear(run_dir / name)
        return
    aside.mkdir()
    _move(run_dir, aside, [*_BUT_RECIPE, RECIPE])


def put_back(run_dir: Path) -> None:
    """The run that was set aside, in the place of a new one that kept nothing."""
    if not (run_dir / REPLACED / RECIPE).is_file() or _has_kept(run_dir):
        return
    for name in [RECIPE, *_BUT_RECIPE]:
        remove(run_dir / name)
    _give_back(run_dir)


@contextmanager
def old_run_back(run_dir: Path, wanted: bool) -> Iterator[None]:
    """After an error in the block, the run that was to be replaced, if there is nothing else to go
    on with. wanted: whether there was one to be replaced, by this process."""
    try:
        yield
    except Interrupted:  # kept something, if only what teachers said
        raise
    except BaseException:
        if wanted:
            with suppress(OSError):  # it stays aside, whole
                put_back(run_dir)
        raise


def let_go(run_dir: Path) -> None:
    """The new run can be gone on with, or is finished: the old one is removed."""
    if (run_dir / REPLACED).is_dir():
        with suppress(OSError):  # it does no harm where it is
            remove_whole(run_dir / REPLACED)
            remove_given(run_dir, (run_dir / RECIPE).read_text("utf-8"))


def settle(run_dir: Path) -> None:
    """Finish what a crash interrupted in one of the others."""
    if not (run_dir / REPLACED).is_dir():
        return
    is_whole = (run_dir / REPLACED / RECIPE).is_file()
    if not is_whole or not (run_dir / RECIPE).is_file():
        _give_back(run_dir)
    elif _has_kept(run_dir):
        let_go(run_dir)


def _has_kept(run_dir: Path) -> bool:
    return (run_dir / SCORES).is_file() or any((run_dir / RESUME).glob("[0-9]*"))


def _give_back(run_dir: Path) -> None:
    _move(run_dir / REPLACED, run_dir, [RECIPE, *_BUT_RECIPE])
    (run_dir / REPLACED).rmdir()


def _move(source: Path, target: Path, names: list[str]) -> None:
    for name in names:
        if (source / name).exists():
            remove(target / name)
            (source / name).rename(target / name)
    for folder in (target, source):
        sync(folder)
