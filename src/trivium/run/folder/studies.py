"""The runs that a folder on the command line stands for."""

import json
from pathlib import Path

from trivium.errors import RecipeError
from trivium.run.folder.names import SCORES, TABLE


def folders_of(path: Path, notes: list[str]) -> list[Path]:
    """The folder itself; or the finished runs of a study, or of one recipe in a study, in the order
    of its table.

    None for the log of a study's run, which `study/*/seed-*` names, too. notes: gains what people
    should know of runs that were left out. Raises RecipeError where no run of them is finished.
    """
    if path.suffix == ".log" and path.is_file() and path.with_suffix("").is_dir():
        return []
    study = next((each for each in (path, path.parent) if (each / TABLE).is_file()), None)
    if study is None or not path.is_dir() or (path / SCORES).is_file():
        return [path]
    try:
        rows = json.loads((study / TABLE).read_text(encoding="utf-8"))["recipes"]
        each = [study / row["name"] / f"seed-{run['seed']}" for row in rows for run in row["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{study / TABLE}: is no study's table, or damaged: {error!r}") from None
    if path != study:
        each = [run for run in each if run.parent == path]
        if not each:  # a folder that happens to lie there
            return [path]
    finished = [run for run in each if (run / SCORES).is_file()]
    if not finished:
        raise RecipeError(f"{path}: no run of this study is finished.")
    if missing := [str(run.relative_to(study)) for run in each if run not in finished]:
        notes.append(f"{study}: left out, since they are not finished: {', '.join(missing)}.")
    return finished
