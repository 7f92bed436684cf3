"""What a message says to type can be typed as it stands, and does not end in another refusal."""

import shlex
from pathlib import Path

import pytest

from trivium.errors import RecipeError
from trivium.run.folder.finished import refuse_unfinished
from trivium.run.folder.model import find_model
from trivium.run.folder.names import RECIPE
from trivium.run.folder.start import refuse_unusable
from trivium.text.tables import open_table


def typed(message: str, first: str) -> list[str]:
    """The words of a shell's line in a message, from its first on."""
    return shlex.split(first + message.partition(first)[2].rstrip("`."))


def test_a_folder_with_blanks_is_one_word_of_the_line_that_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "my run [1]'s"
    run.mkdir()
    (run / RECIPE).write_text("")
    wanted = ["trivium", "train", "RECIPE", "--out", str(run), "--resume"]
    for refuse in (find_model, refuse_unfinished):
        with pytest.raises(RecipeError) as caught:
            refuse(run)
        assert typed(str(caught.value), "trivium train")[:6] == wanted


def test_a_table_with_blanks_is_one_word_of_the_line_that_converts_it(tmp_path: Path) -> None:
    table = tmp_path / "my data.json"
    table.write_text('{"it\'s": [{"a": 1}]}')
    with pytest.raises(RecipeError) as caught:
        open_table(table)
    assert typed(str(caught.value), "jq")[:4] == ["jq", "-c", '.["it\'s"][]', str(table)]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_not_offered_to_be_replaced(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(RecipeError, match="is not empty and not a run; name another") as caught:
        refuse_unusable(tmp_path, resume=False, overwrite=overwrite)
    assert "replace it" not in str(caught.value)
    assert (tmp_path / "thesis.doc").read_text() == "mine"
