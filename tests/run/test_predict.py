"""Prediction: the same answers in any company, whole files in and out."""

import csv
import datetime
import decimal
import io
import json
import math
import random
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

import trivium
from tests.support.processes import loaded_after
from tests.support.tables import sentence
from trivium.errors import RecipeError
from trivium.recipe import parse_recipe
from trivium.run.predictor import torch as torch_predictor
from trivium.run.predictor.trained import load_single, load_trained


@pytest.fixture
def trained(recipe_values: dict[str, Any], tmp_path: Path) -> Path:
    trivium.train(parse_recipe(recipe_values), tmp_path / "run", console=Console(file=StringIO()))
    return tmp_path / "run"


def texts_of(count: int) -> list[str]:
    rng = random.Random(3)
    return [
        " ".join(sentence(rng.randrange(4000)) for _ in range(rng.randrange(1, 9)))
        for _ in range(count)
    ]


def test_answers_do_not_depend_on_order_company_or_pack_size(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_trained(trained, precision="fp32")
    texts = texts_of(60)
    wanted = predictor.readout("mood", texts)
    order = random.Random(1).sample(range(60), 60)
    shuffled = predictor.readout("mood", [texts[i] for i in order])
    torch.testing.assert_close(shuffled, wanted[order], atol=1e-4, rtol=0)
    alone = torch.cat([predictor.readout("mood", [text]) for text in texts])
    torch.testing.assert_close(alone, wanted, atol=1e-4, rtol=0)
    for tokens in (16, 100_000):
        monkeypatch.setattr(torch_predictor, "TOKENS_PER_PACK", tokens)
        torch.testing.assert_close(predictor.readout("mood", texts), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", ["same", "near"])
def test_pairs_are_answered_as_pairs_together_or_apart(trained: Path, task: str) -> None:
    predictor = load_trained(trained)
    firsts, seconds = texts_of(20), list(reversed(texts_of(20)))
    pairs = list(zip(firsts, seconds, strict=True))
    together = predictor.readout(task, pairs)
    alone = torch.cat([predictor.readout(task, [pair]) for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_repeated_text_is_encoded_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = load_single(trained)
    seen: list[int] = []
    forward = predictor.model.encoder.forward

    def counted(tokens: Any, task: str = "", **how: Any) -> Any:
        seen.append(len(tokens.lengths_R))
        return forward(tokens, task, **how)

    monkeypatch.setattr(predictor.model.encoder, "forward", counted)
    predictor.readout("near", [("good cat", "bad dog"), ("bad dog", "good cat")] * 50)
    assert sum(seen) == 2


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_is_answered_row_by_row_with_its_columns_kept(
    trained: Path, tmp_path: Path, ending: str
) -> None:
    texts = ['a "quoted" cat', "with, comma", "tab\tand\nline", "NA", " null", "", "good"]
    source = tmp_path / "in.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["id", "text", "note"], *([f"r{i}", t, ""] for i, t in enumerate(texts))])
    target = tmp_path / f"out.{ending}"
    assert trivium.predict_file(trained, "mood", source, target, probabilities=True) == len(texts)
    rows = _read(target)
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(len(texts))]
    assert [row["text"] for row in rows] == texts
    predictor = load_trained(trained)
    assert [row["prediction"] for row in rows] == predictor.predict("mood", texts)
    for row in rows:
        chances = [float(row["probability_up"]), float(row["probability_down"])]
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert float(row["confidence"]) == pytest.approx(max(chances), abs=1e-6)


def test_chunks_of_a_long_file_give_what_one_call_gives(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = texts_of(50) * 2
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("text\n" + "".join(f"{text}\n" for text in texts))
    monkeypatch.setattr("trivium.run.predict.ROWS_AT_ONCE", 7)
    trivium.predict_file(trained, "mood", source, target)
    rows = _read(target)
    assert [r["prediction"] for r in rows] == load_trained(trained).predict("mood", texts)


def test_standard_input_to_standard_output(trained: Path) -> None:
    command = [sys.executable, "-m", "trivium", "predict", str(trained), "--task", "mood"]
    done = subprocess.run(
        [*command, "--file", "-"], input="id\ttext\n7\tgood cat\n9\tbad dog\n",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))
    assert [row["id"] for row in rows] == ["7", "9"]
    assert {row["prediction"] for row in rows} <= {"up", "down"}


def test_a_bad_row_leaves_the_target_as_it_was(trained: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("id\ttext\n1\tgood\n2\n")
    target.write_text("precious")
    with pytest.raises(RecipeError, match=r"in\.tsv:3: "):
        trivium.predict_file(trained, "mood", source, target, overwrite=True)
    assert target.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.glob("*out*")) == ["out.tsv"]


def test_columns_that_would_clash_or_lack_are_refused(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.tsv"
    source.write_text("text\tprediction\ngood\tx\n")
    with pytest.raises(RecipeError, match="already has a column 'prediction'"):
        trivium.predict_file(trained, "mood", source, tmp_path / "out.tsv")
    source.write_text("txt\ngood\n")
    with pytest.raises(RecipeError, match="no column 'text'; did you mean 'txt'"):
        trivium.predict_file(trained, "mood", source, tmp_path / "out.tsv")


def test_an_answer_goes_into_columns_of_another_name_where_one_is_taken(
    trained: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("text\tprediction\ngood\tx\n")
    trivium.predict_file(trained, "mood", source, target, prefix="new_")
    assert list(_read(target)[0]) == ["text", "prediction", "new_prediction", "new_confidence"]
    assert _read(target)[0]["prediction"] == "x"


@pytest.mark.parametrize("form", ["table", "cs224n"])
def test_a_file_that_is_there_is_replaced_only_when_told(
    trained: Path, tmp_path: Path, form: str
) -> None:
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("id\tfirst\tsecond\n1\tgood\tbad\n")
    target.write_text("precious")
    with pytest.raises(RecipeError, match=r"out\.tsv: is there already\. Replace it \(--overwrite"):
        trivium.predict_file(trained, "near", source, target, form=form)
    assert target.read_text() == "precious"
    trivium.predict_file(trained, "near", source, target, form=form, overwrite=True)
    assert "precious" not in target.read_text()


@pytest.mark.parametrize("by_link", [False, True])
def test_the_table_that_is_read_is_never_replaced(
    trained: Path, tmp_path: Path, by_link: bool
) -> None:
    source, link = tmp_path / "in.tsv", tmp_path / "link.tsv"
    source.write_text("text\ngood\n")
    link.symlink_to(source)
    target = link if by_link else source
    with pytest.raises(RecipeError, match="is the table that is read"):
        trivium.predict_file(trained, "mood", source, target, overwrite=True)
    assert source.read_text() == "text\ngood\n"


TYPED = """\
{"text": "good", "n": 0, "x": 1.50, "yes": false, "none": null, "any": 1, "word": "0"}
{"text": "bad", "n": -3, "x": 2, "yes": true, "none": null, "any": "a", "word": "true"}
"""


def test_values_of_json_lines_come_back_as_they_were(trained: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(TYPED)
    trivium.predict_file(trained, "mood", source, target)
    for before, after in zip(TYPED.splitlines(), target.read_text().splitlines(), strict=True):
        assert after.startswith(before.removesuffix("}") + ', "prediction": ')


def test_values_of_json_lines_have_their_types_in_parquet(trained: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text(TYPED)
    trivium.predict_file(trained, "mood", source, target)
    kept = ["n", "x", "yes", "none", "any", "word"]
    found = pq.read_table(target).select(kept)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (0, 1.5, False, None, "1", "0"),
        (-3, 2.0, True, None, "a", "true"),
    ]
    assert [str(field.type) for field in found.schema] == [
        "int64", "double", "bool", "string", "string", "string",
    ]  # fmt: skip


def test_a_table_without_rows_has_the_types_of_one_with_rows(trained: Path, tmp_path: Path) -> None:
    schemas = []
    for name, rows in (("none", ""), ("some", "good,bad\n")):
        (tmp_path / f"{name}.csv").write_text(f"text,other\n{rows}")
        out = tmp_path / f"{name}.parquet"
        trivium.predict_file(
            trained, None, tmp_path / f"{name}.csv", out, probabilities=True, top_k=1, prefix="my_"
        )
        schemas.append(pq.read_schema(out))
    assert schemas[0] == schemas[1]
    assert schemas[0].field("my_mood_confidence").type == pa.float64()


def test_columns_of_parquet_come_back_as_they_were(trained: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    day, price = datetime.date(2024, 2, 29), decimal.Decimal("1.50")
    table = pa.table({
        "text": ["good", "bad"],
        "small": pa.array([0, None], pa.int8()),
        "narrow": pa.array([0.8, math.nan], pa.float32()),
        "yes": [False, None],
        "day": [day, None],
        "moment": pa.array([1, None], pa.timestamp("ns")),
        "price": pa.array([price, None], pa.decimal128(12, 2)),
        "empty": pa.array([None, None], pa.float64()),
    })  # fmt: skip
    pq.write_table(table, source)
    trivium.predict_file(trained, "mood", source, target)
    found = pq.read_table(target).select(table.column_names)
    assert found.schema.equals(table.schema)
    assert str(found) == str(table)
    trivium.predict_file(trained, "mood", source, tmp_path / "out.jsonl")
    first, second = _read(tmp_path / "out.jsonl")
    del first["prediction"], first["confidence"]
    assert first == {
        "text": "good", "small": 0, "narrow": 0.8, "yes": False, "day": "2024-02-29",
        "moment": "1970-01-01 00:00:00.000000001", "price": "1.50", "empty": None,
    }  # fmt: skip
    assert {second[name] for name in table.column_names[1:]} == {None}


def test_scores_stay_in_their_range(trained: Path) -> None:
    predictor = load_single(trained)
    with torch.no_grad():
        next(iter(predictor.model.head("near").parameters())).mul_(100)
    pairs = [("good cat", "good cat"), ("red fish eats", "not very blue")]
    answers = predictor.predict("near", pairs)
    assert all(isinstance(answer, float) and 0 <= answer <= 3 for answer in answers)


@pytest.mark.parametrize(
    ("task", "rows", "said"),
    [
        ("moood", ["x"], "no task 'moood'.*did you mean 'mood'"),
        ("mood", [("a", "b")], "row 0 must be a text"),
        ("near", ["a"], "row 0 must be a pair of texts"),
    ],
)
def test_wrong_questions_are_refused(trained: Path, task: str, rows: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_trained(trained).predict(task, rows)


def test_a_single_text_and_a_single_pair_are_one_row(trained: Path) -> None:
    model = load_trained(trained)
    assert model.predict("mood", "good cat") == model.predict("mood", ["good cat"])
    assert model.predict("near", ("a", "b")) == model.predict("near", [("a", "b")])
    assert model.probabilities("mood", "good") == model.probabilities("mood", ["good"])
    assert model.vectors("good cat").shape == (1, 32)
    assert load_single(trained).pooled("good cat").shape == (1, 32)
    row = {"text": "good cat"}
    assert model.answer(row) == model.answer([row]) == model.answer([row], "mood")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "rows must be a list of texts, found NoneType"),
        (b"text", "rows must be a list of texts, found bytes"),
        (math.nan, "rows must be a list of texts, found float"),
        ({"text": "a"}, "rows must be a list of texts, found dict"),
        (["a", None], r"row 1 must be a text, found None\."),
        (["a", "b", math.nan], r"row 2 must be a text, found nan\."),
        (["a", b"b"], r"row 1 must be a text, found b'b'\."),
        (["fine", "x\ud800"], "row 1: character 2 of the text is half a surrogate pair"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(trained: Path, rows: Any, said: str) -> None:
    model = load_trained(trained)
    for ask in (model.predict, model.probabilities, model.readout):
        with pytest.raises(RecipeError, match=said):
            ask("mood", rows)
    with pytest.raises(RecipeError, match=said):
        model.vectors(rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "rows: must be a list of tables, texts by column; found NoneType"),
        ("good", "rows: must be a list of tables, texts by column; found str"),
        ([{"text": "a"}, None], r"rows\[1\]: must be a table, texts by column; found NoneType"),
        (["good"], r"rows\[0\]: must be a table, texts by column; found str"),
        ([{"text": None}], r"rows\[0\].text: must be a text, found NoneType"),
        ([{"text": "a"}, {"text": math.nan}], r"rows\[1\].text: must be a text, found float"),
        ([{"text": "\udfff"}], "row 0: character 1 of the text is half a surrogate pair"),
    ],
)
def test_what_is_no_row_is_refused_by_its_place(trained: Path, rows: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_trained(trained).answer(rows)


@pytest.mark.parametrize("name", ["model.safetensors", "heads.safetensors", "vocab.txt"])
def test_an_altered_or_missing_file_of_a_model_is_refused(trained: Path, name: str) -> None:
    path = trained / "model" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=f"{name}: was altered"):
        load_trained(trained)
    path.unlink()
    with pytest.raises(RecipeError, match=f"{name}: is missing"):
        load_trained(trained)


def test_a_head_tensor_is_never_silently_random(trained: Path) -> None:
    told = trained / "model" / "trivium.json"
    values = json.loads(told.read_text())
    values["tasks"]["extra"] = values["tasks"]["mood"] | {"name": "extra"}
    told.write_text(json.dumps(values))
    with pytest.raises(RecipeError, match=r"tensor extra\.linear\.bias is missing"):
        load_trained(trained)


def test_embeddings_are_the_mean_of_the_texts_tokens(trained: Path) -> None:
    predictor = load_single(trained)
    texts = ["good cat", "bad", "good cat"]
    vector_BD = predictor.pooled(texts)
    assert vector_BD.shape == (3, 32)
    torch.testing.assert_close(vector_BD[0], vector_BD[2])
    torch.testing.assert_close(predictor.pooled(["bad"])[0], vector_BD[1], atol=1e-5, rtol=0)


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    delimiter = "," if path.suffix == ".csv" else "\t"
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.thorough
def test_judging_and_predicting_load_no_compiler_and_nothing_that_happens_to_be_there(
    trained: Path,
) -> None:
    """Either takes as long to import as PyTorch, where transformers is installed."""
    recipe = str(trained / "recipe.yaml")
    code = (
        "import io, trivium\nfrom rich.console import Console\n"
        f"trivium.check(trivium.load_recipe({recipe!r}), Console(file=io.StringIO()))\n"
        f"trivium.evaluate({str(trained)!r}, console=Console(file=io.StringIO()))\n"
        f"trivium.load({str(trained)!r}).predict('mood', ['fine'])"
    )
    strangers = {"torch._dynamo", "sympy", "transformers", "scipy", "sklearn", "matplotlib"}
    assert not strangers & {*loaded_after(code)}
