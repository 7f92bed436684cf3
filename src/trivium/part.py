"""Part: the one way a recipe's choice becomes code."""

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler


class Part(BaseModel):
    """A piece a recipe can choose: its fields are the settings, its methods the behaviour.

    Parts are frozen and hold no state between steps, so that a recipe can be hashed, saved,
    compared and sent to another machine. What must be remembered goes in `Step.memory`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """With what stands under each field as its description.

        pydantic has a setting for that, but then reads the sources of every class when it is made:
        a quarter of a second at each start, for schemas that hardly anybody asks for.
        """
        found = handler(core_schema)
        settings = handler.resolve_ref_schema(found).get("properties", {})
        for name, said in _said_of_fields(cls).items():
            if said and name in settings:
                settings[name].setdefault("description", said)
        return found


def _said_of_fields(part: type[Part]) -> dict[str, str | None]:
    """The docstring of each field, where it was declared last; None of one without."""
    found: dict[str, str | None] = {}
    for kind in reversed([each for each in part.__mro__ if issubclass(each, Part)]):
        try:
            source = inspect.getsource(kind)
        except (OSError, TypeError):  # made where no file is, such as a notebook of old
            continue
        (made,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(made, ast.ClassDef)
        for field, after in zip(made.body, [*made.body[1:], ast.Pass()], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[field.target.id] = _docstring(after)
    return found


def _docstring(statement: ast.stmt) -> str | None:
    value = statement.value if isinstance(statement, ast.Expr) else None
    text = value.value if isinstance(value, ast.Constant) else None
    return inspect.cleandoc(text) if isinstance(text, str) else None
