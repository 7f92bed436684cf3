"""A folder here, or a model's name on the hub?

This module loads nothing of the hub's library: only a model that is not here needs it.
"""

import re
from importlib import import_module
from pathlib import Path

from trivium.errors import RecipeError

RUNS = "runs"
"""Where runs lie unless they are told to lie elsewhere: never the name of somebody on the hub."""
_PART = r"[A-Za-z0-9][\w.-]*"


def local_folder(run: str | Path, revision: str | None = None) -> Path:
    """The folder that is meant: `run` itself, or where a model of that name on the hub now lies.

    A folder that is here always wins. revision: a branch, tag or commit of the hub's model. Raises
    RecipeError where a name of the hub cannot be had, or has no revision that is wanted.
    """
    folder = Path(run)
    name = run if isinstance(run, str) else run.as_posix()
    if folder.exists():
        if revision is not None:
            raise RecipeError(
                f"{run}: is a folder here, which has no revisions. Leave the revision out, or name "
                "a model on the hub."
            )
        return folder
    if not is_hub_name(name):
        if revision is not None:
            raise RecipeError(
                f"{run}: no such folder, and no name of a model on the hub, which is user/name."
            )
        return folder  # whoever opens it says what is wrong
    owner = name.split("/")[0]
    if revision is None and (owner == RUNS or folder.parent.is_dir()):
        why = f"{owner}/ is a folder here" if folder.parent.is_dir() else f"{owner}/ is for runs"
        raise RecipeError(
            f"{run}: no such folder. Name a run's folder or its model folder. (The hub was not "
            f"asked, since {why}; if you mean a model there: trivium pull {name}, or a revision "
            "such as main.)"
        )
    # Loading the hub's library takes longer than starting a small model.
    download = import_module("trivium.run.hub.download")
    fetched: Path = download.download(name, revision, instead="no such folder here, and ").folder
    return fetched


def is_hub_name(name: str) -> bool:
    """Whether it looks like user/name."""
    return re.fullmatch(f"{_PART}/{_PART}", name) is not None
