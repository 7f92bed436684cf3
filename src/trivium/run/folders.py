"""The runs that a folder on the command line stands for."""

import json
from pathlib import Path

from trivium.errors import RecipeError
from trivium.run.directory import SCORES

TABLE = "table.json"
"""What makes a folder a study's."""


def folders_of(path: Path, notes: list[str]) -> list[Path]:
    """The folder itself; or a study's finished runs, in the order of its table.

    None for the log of a study's run, which `study/*/seed-*` names, too. notes: gains what people
    should know of runs that were left out. Raises RecipeError for a study without finished runs.
    """
    if path.suffix == ".log" and path.is_file() and path.with_suffix("").is_dir():
        return []
    if not (path / TABLE).is_file() or (path / SCORES).is_file():
        return [path]
    try:
        rows = json.loads((path / TABLE).read_text(encoding="utf-8"))["recipes"]
        each = [path / row["name"] / f"seed-{run['seed']}" for row in rows for run in row["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path / TABLE}: is no study's table, or damaged: {error!r}") from None
    finished = [run for run in each if (run / SCORES).is_file()]
    if not finished:
        raise RecipeError(f"{path}: no run of this study is finished.")
    if missing := [str(run.relative_to(path)) for run in each if run not in finished]:
        notes.append(f"{path}: left out, since they are not finished: {', '.join(missing)}.")
    return finished
