"""JSON files of a folder as typed records: one reader, which says where a file is damaged, and one
writer."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trivium.errors import RecipeError
from trivium.run.folder.atomic import write_text


class Record(BaseModel):
    """What a file, or a part of it, holds.

    What a record does not name is nobody's business; what may be absent, older runs lack.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)
    damaged: ClassVar[str] = "copy the whole folder again, or train the run again"
    """What to do about a file of this kind that is damaged."""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in its file: what was not told is not there."""
        return self.model_dump(exclude_unset=True)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """The record in a file. Raises RecipeError with the place of what is wrong."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: is damaged: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: is damaged: wanted a table, found {type(values).__name__}.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        # Of a table inside, pydantic says by what class it would be read: no concern of people.
        wrong = first["msg"].partition(" or instance of ")[0].lower()
        shown = "" if first["type"] == "missing" else f", found {str(first['input'])[:60]!r}"
        raise RecipeError(
            f"{path}: {place}: {wrong}{shown}. The file is damaged; {kind.damaged}."
        ) from None


def write_record(path: Path, record: Record) -> None:
    """Replace the file, all or nothing. What is no number is null: JSON knows neither NaN nor
    Infinity, and readers other than Python's would refuse the whole file."""
    told = _finite(record.as_dict())
    write_text(path, json.dumps(told, indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
