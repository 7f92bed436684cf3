"""What errors of libraries say is told in a line, also of those that say nothing."""

import huggingface_hub
import pytest
from sqlalchemy.exc import SQLAlchemyError

from trivium.apps.tune.storage import explained
from trivium.errors import RecipeError, first_line
from trivium.model.pretrained import find_checkpoint


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no room\nand more words"), "no room"),
        (ValueError("\n\n  no room  \nand more"), "no room"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_the_first_line_with_words_in_it_or_else_the_errors_name(
    error: Exception, told: str
) -> None:
    assert first_line(error) == told


def test_a_hub_that_breaks_off_without_a_word_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> str:
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", silent)
    with pytest.raises(RecipeError, match=r"could not be had from the hub: TimeoutError$"):
        find_checkpoint("somebody/some-bert")


def test_a_database_that_breaks_off_without_a_word_is_told_of() -> None:
    with (
        pytest.raises(RecipeError, match=r"^storage db: TimeoutError\. Once"),
        explained("db"),
    ):
        raise SQLAlchemyError("lost") from TimeoutError()
