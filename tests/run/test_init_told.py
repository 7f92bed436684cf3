"""What a draft says of files that are not as they should be, in words that help."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import trivium
from tests.support.drafts import drafted, moods, only, table, texts
from tests.support.shell import call
from trivium.recipe.parse import parse_recipe
from trivium.recipe.plain_yaml import read_yaml
from trivium.run.rows.load import load_data


def test_a_recipe_goes_into_a_folder_that_is_made_and_is_named_as_a_shell_reads_it(
    tmp_path: Path,
) -> None:
    file = table(tmp_path / "t.csv", ["text", "mood"], moods(60))
    recipe = tmp_path / "new one" / "my recipe.yaml"
    code, output = call("init", file, "--yes", "--out", recipe)
    assert code == 0
    assert f"trivium check '{recipe}'" in output
    assert "tasks" in read_yaml(recipe)


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (["text", "mood", "more"], moods(9), "no rows that can be read: line 2 has 2 cells"),
        (
            ["text", "label"],
            [[t, "a", "b"] if n % 2 else [t, "a"] for n, t in enumerate(texts(9))],
            "4 rows were not looked at: line 3 has 3 cells where the header has 2",
        ),
        (
            ["text", "size"],
            [[t, f"{n},{n}"] for n, t in enumerate(texts(9))],
            "'size' holds numbers with a comma, such as '0,0', which are words here: for scores "
            "write 0.0.",
        ),
    ],
)
def test_a_refusal_says_what_was_not_understood(
    tmp_path: Path, columns: list[str], rows: Sequence[Sequence[object]], said: str
) -> None:
    file = table(tmp_path / "t.csv", columns, rows)
    code, output = call("init", file, "--yes", "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert said in output


def test_labels_are_counted_as_they_are_trained(tmp_path: Path) -> None:
    rows = [[t, ("True", "TRUE", "False", " true")[n % 4]] for n, t in enumerate(texts(60))]
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "spam"], rows))
    assert only(values)["train"]["relabel"] == {"True": "true", "TRUE": "true"}
    assert "by 'spam', 2 labels" in said


def test_what_was_assumed_and_could_not_be_is_not_told(tmp_path: Path) -> None:
    _, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "mood"], moods(3)))
    assert "too few rows to hold some out" in said
    assert "there is no dev file" not in said


def test_scores_with_a_comma_are_labels_and_that_is_told(tmp_path: Path) -> None:
    rows = [[t, f"{n % 5},{n % 2 * 5}"] for n, t in enumerate(texts(60))]
    values, said = drafted(tmp_path, table(tmp_path / "t.csv", ["text", "score"], rows))
    assert only(values)["kind"] == "classification"
    assert "note t.csv: 'score' holds numbers with a comma, such as '0,0'" in said
    names = [[t, ("Lee, Bo", "1,5")[n % 2]] for n, t in enumerate(texts(60))]
    named = table(tmp_path / "u.csv", ["text", "score"], names)
    assert "with a comma" not in drafted(tmp_path, named, overwrite=True)[1]
    values["tasks"]["t"] |= {"kind": "regression", "range": [0, 5], "dev": 0.1}
    with pytest.raises(trivium.RecipeError, match=r"'0,0', which is not a number here: .* 0\.0\."):
        load_data(parse_recipe(values | {"data": str(tmp_path)}))
