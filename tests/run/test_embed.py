"""`trivium embed` and `trivium explain`: vectors in files, and words on a terminal."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe, sentence, write_table
from trivium.cli import app
from trivium.errors import RecipeError

TEXTS = [sentence(3 * number) for number in range(20)]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed")
    trivium.train(
        make_recipe(tiny, folder),
        folder / "run",
        changes=["stages.0.steps=2"],
        console=Console(file=StringIO()),
    )
    write_table(folder / "in.csv", ["id", "text"], [[n, t] for n, t in enumerate(TEXTS)])
    return folder / "run"


@pytest.fixture(scope="module")
def source(run: Path) -> Path:
    return run.parent / "in.csv"


@pytest.fixture(scope="module")
def model(run: Path) -> trivium.Predictor:
    return trivium.load(run)


def test_an_array_holds_a_vector_for_every_row_whatever_the_parts(
    run: Path,
    source: Path,
    model: trivium.Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trivium.run.embed.ROWS_AT_ONCE", 7)
    target = tmp_path / "vectors.npy"
    done = CliRunner().invoke(app, ["embed", str(run), "--file", str(source), "--out", str(target)])
    assert done.exit_code == 0, done.output
    assert "20 rows embedded" in done.output
    found = np.load(target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.embed(TEXTS), atol=1e-6)
    trivium.embed_file(model, source, target, normalize=False, overwrite=True)
    np.testing.assert_allclose(np.load(target), model.vectors(TEXTS), atol=1e-5)


@pytest.mark.parametrize("texts", [[], (), np.array([], dtype=object)])
def test_no_texts_have_no_vectors_of_their_usual_width(
    model: trivium.Predictor, texts: Any
) -> None:
    found = model.embed(texts)
    assert found.shape == (0, 32)
    assert found.dtype == np.float32
    assert model.vectors(texts).shape == (0, 32)
    assert model.pooled(texts).shape == (0, 32)  # type: ignore[attr-defined]


def test_a_table_without_rows_has_no_vectors_of_their_usual_width(
    model: trivium.Predictor, tmp_path: Path
) -> None:
    write_table(tmp_path / "in.csv", ["text"], [])
    assert trivium.embed_file(model, tmp_path / "in.csv", tmp_path / "out.npy") == 0
    assert np.load(tmp_path / "out.npy").shape == (0, 32)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_table_keeps_its_columns_beside_the_vectors(
    source: Path, model: trivium.Predictor, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / f"out.{ending}"
    trivium.embed_file(model, source, target, column="text")
    if ending == "jsonl":
        rows = [json.loads(line) for line in target.read_text().splitlines()]
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
    assert [row["id"] for row in rows] == [str(number) for number in range(20)]
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    np.testing.assert_allclose(vectors, model.embed(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("columns", "target", "column", "said"),
    [
        (["text"], "out.csv", None, r"written as \.npy, \.jsonl, \.parquet"),
        (["words"], "out.npy", None, "it has none; say which holds the texts"),
        (["first", "second"], "out.npy", None, "it has 'first' and 'second'"),
        (["text"], "out.npy", "txt", "no column 'txt'.*did you mean 'text'"),
        (["text", "embedding"], "out.jsonl", None, "already has a column 'embedding'"),
    ],
)
def test_what_cannot_be_embedded_is_refused_before_anything_is_written(
    model: trivium.Predictor, tmp_path: Path, columns: list[str], target: str,
    column: str | None, said: str,
) -> None:  # fmt: skip
    write_table(tmp_path / "in.csv", columns, [["good"] * len(columns)])
    with pytest.raises(RecipeError, match=said):
        trivium.embed_file(model, tmp_path / "in.csv", tmp_path / target, column=column)
    assert not (tmp_path / target).exists()


def read_otherwise(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch, **ways: dict[str, str]
) -> None:
    """Have tasks of the model read their tables in these ways."""
    changed = {name: model.forms[name].model_copy(update=way) for name, way in ways.items()}
    monkeypatch.setattr(model, "forms", {**model.forms, **changed})


def test_texts_are_read_as_the_tasks_of_their_column_read_theirs(
    model: trivium.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, target = tmp_path / "in.tsv", tmp_path / "out.jsonl"
    table.write_text('id\ttext\n1\t"good cat\n2\tdog"\n')
    with pytest.raises(RecipeError, match="quot"):
        trivium.embed_file(model, table, target, column="text")
    read_otherwise(model, monkeypatch, mood={"quoting": "none"})
    assert trivium.embed_file(model, table, target, column="text") == 2
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in rows] == ['"good cat', 'dog"']
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    np.testing.assert_allclose(vectors, model.embed(['"good cat', 'dog"']), atol=1e-6)


def test_texts_are_separated_as_the_tasks_of_their_column_say(
    model: trivium.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, target = tmp_path / "in.csv", tmp_path / "out.npy"
    table.write_text("id~text\n1~good, cat; dog\n")
    read_otherwise(model, monkeypatch, mood={"delimiter": "~"})
    assert trivium.embed_file(model, table, target, column="text") == 1
    np.testing.assert_allclose(np.load(target), model.embed(["good, cat; dog"]), atol=1e-6)


def test_tasks_that_read_their_tables_in_different_ways_are_told_with_what_to_do(
    model: trivium.Predictor, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.npy"
    read_otherwise(model, monkeypatch, mood={"quoting": "none"}, near={"quoting": "none"})
    with pytest.raises(RecipeError, match=r"in different ways .*; say which .* --column NAME"):
        trivium.embed_file(model, source, target)
    assert trivium.embed_file(model, source, target, column="text") == 20
    write_table(tmp_path / "in.csv", ["first", "second"], [["good", "cat"]])
    with pytest.raises(RecipeError, match=r"in different ways .*; save it as \.jsonl or"):
        trivium.embed_file(model, tmp_path / "in.csv", target, column="first", overwrite=True)
    (tmp_path / "in.jsonl").write_text('{"first": "good"}\n')
    lines = tmp_path / "in.jsonl"
    assert trivium.embed_file(model, lines, target, column="first", overwrite=True) == 1


def test_an_answer_is_explained_on_the_terminal(run: Path, model: trivium.Predictor) -> None:
    text = "good cat runs"
    command = ["explain", str(run), "--task", "mood", "--text", text]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = model.explain("mood", text)
    assert done.output.startswith(f"mood: {found.about} {found.value:.4g}\n{text}\n")
    for word in found.words:
        assert f"{word.effect:+.4f}" in done.output
    other = "up" if found.about == "down" else "down"
    told = CliRunner().invoke(app, [*command, "--label", other]).output
    assert f"(the answer is {found.answer})" in told


def test_a_pair_is_explained_as_json(run: Path, model: trivium.Predictor) -> None:
    command = ["explain", str(run), "--task", "near", "--json"]
    done = CliRunner().invoke(app, [*command, "--text", "good cat", "--text", "cat"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["about"] == "score"
    assert [(word["word"], word["place"]["text"]) for word in told["words"]] == [
        ("good", 0), ("cat", 0), ("cat", 1),
    ]  # fmt: skip
    wrong = CliRunner().invoke(app, [*command, "--text", "good cat"])
    assert wrong.exit_code == 2
