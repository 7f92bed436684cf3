"""A part's schema says of each setting what its source does."""

from pydantic import BaseModel, ConfigDict, Field

from trivium.part import Part
from trivium.recipe import Recipe


class Inner(Part):
    width: int = Field(default=1, gt=0)
    """Numbers.

    Of a row.
    """


class Ours(Part):
    plain: int
    inner: Inner = Inner()
    """A part."""
    maybe: Inner | None = None
    """One, or none."""
    words: list[str] = Field(default=[], description="Said otherwise.")
    """Not this."""

    @property
    def after(self) -> int:
        """No setting."""
        return self.plain


class More(Ours):
    plain: int
    """Now with words."""
    maybe: Inner | None = None


class TheirInner(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    width: int = Field(default=1, gt=0)
    """Numbers.

    Of a row.
    """


class Theirs(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    plain: int
    inner: TheirInner = TheirInner()
    """A part."""
    maybe: TheirInner | None = None
    """One, or none."""
    words: list[str] = Field(default=[], description="Said otherwise.")
    """Not this."""


class TheirMore(Theirs):
    plain: int
    """Now with words."""
    maybe: TheirInner | None = None


def said(model: type[BaseModel]) -> dict[str, str | None]:
    properties = model.model_json_schema()["properties"]
    return {name: each.get("description") for name, each in properties.items()}


def test_settings_are_described_as_pydantic_describes_attributes() -> None:
    assert said(Ours) == said(Theirs)
    assert said(More) == said(TheirMore)
    assert said(Inner) == said(TheirInner) == {"width": "Numbers.\n\nOf a row."}
    assert said(More)["plain"] == "Now with words."


def test_parts_within_a_part_are_described_too() -> None:
    schema = Recipe.model_json_schema()
    stage = schema["$defs"]["Stage"]["properties"]
    assert "Optimizer steps" in stage["steps"]["description"]
    rates = schema["$defs"]["LearningRates"]["properties"]
    assert "layer" in rates["layer_decay"]["description"]


def test_no_source_is_read_when_a_part_is_made() -> None:
    """Which took a quarter of a second at each start."""
    assert "description" not in repr(Ours.model_fields["inner"])
