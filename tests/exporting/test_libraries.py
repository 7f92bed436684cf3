"""Folders for transformers and sentence-transformers answer as the model does."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import trivium
from tests.support.exports import LABELS, PAIR, SCORE, TEXT, untrained
from trivium.errors import RecipeError
from trivium.run.predictor.trained import load_trained

transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

pytestmark = pytest.mark.xdist_group("exported")  # what writes graphs is loaded once

TEXTS = ["good", "bad cat runs", "very good day sleeps", "z"]
PAIRS = list(zip(TEXTS, TEXTS[::-1], strict=True))
TASKS: dict[str, Any] = {
    "cls": {**TEXT, **LABELS, "head": {"kind": "linear", "pooling": "cls"}},
    "pooler": {**PAIR, **LABELS, "encode": "joint",
               "head": {"kind": "linear", "pooling": "pooler"}},
    "several": {**TEXT, "kind": "multilabel", "labels": ["a", "b"], "threshold": 0.4,
                "head": {"kind": "linear", "pooling": "pooler"}},
    "score": {**TEXT, **SCORE, "head": {"kind": "linear", "pooling": "cls"}},
    "mean": {**TEXT, **LABELS},
    "mlp": {**TEXT, **SCORE, "head": {"kind": "mlp", "depth": 2, "width": 9, "pooling": "pooler"}},
    "joint": {**PAIR, **LABELS, "encode": "joint", "head": {"kind": "mlp", "pooling": "max"}},
    "near": {**PAIR, **SCORE},
    "concat": {**PAIR, **LABELS, "head": "concat"},
    "bilstm": {**TEXT, **LABELS, "head": "bilstm"},
    "ordinal": {**TEXT, "kind": "ordinal", "labels": ["1", "2"]},
    "aside": {**TEXT, **LABELS, "head": {"kind": "linear", "pooling": "cls"}},
}  # fmt: skip
ADAPTERS: list[Any] = [
    {"kind": "lora", "rank": 2, "alpha": 8},
    {"kind": "houlsby", "size": 4, "tasks": ["aside"]},
]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("libraries") / "run", tiny, TASKS, *ADAPTERS)


@pytest.fixture(scope="module")
def stock(run: Path) -> Path:
    quiet = Console(file=StringIO())
    trivium.export(run, run.parent / "stock", to="transformers", console=quiet)
    return run.parent / "stock"


@pytest.fixture(scope="module")
def sentences(run: Path) -> Path:
    quiet = Console(file=StringIO())
    trivium.export(run, run.parent / "sentences", to="sentence-transformers", console=quiet)
    return run.parent / "sentences"


def readout(run: Path, task: str) -> torch.Tensor:
    model = load_trained(run, precision="fp32", device="cpu")
    return model.readout(task, PAIRS if model.task(task).is_pair else TEXTS)


def logits(folder: Path, *, pairs: bool) -> torch.Tensor:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 64
    rows = tuple(map(list, zip(*PAIRS, strict=True))) if pairs else (TEXTS,)
    with torch.inference_mode():
        found = model(**tokenizer(*rows, return_tensors="pt", padding=True)).logits
    assert isinstance(found, torch.Tensor)
    return found


def same(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_stock_bert_says_the_same_where_it_has_such_a_head(run: Path, stock: Path) -> None:
    same(logits(stock / "cls", pairs=False).softmax(-1), readout(run, "cls"))
    same(logits(stock / "pooler", pairs=True).softmax(-1), readout(run, "pooler"))
    same(logits(stock / "several", pairs=False).sigmoid(), readout(run, "several"))
    same(logits(stock / "score", pairs=False), readout(run, "score"), 5e-6)


def test_stock_bert_knows_labels_kind_threshold_and_range(stock: Path) -> None:
    told = {task: json.loads((stock / task / "config.json").read_text()) for task in TASKS
            if (stock / task).is_dir()}  # fmt: skip
    assert told["cls"]["id2label"] == {"0": "no", "1": "yes", "2": "maybe"}
    assert told["cls"]["problem_type"] == "single_label_classification"
    assert told["several"]["problem_type"] == "multi_label_classification"
    assert told["several"]["trivium"] == {"task": "several", "threshold": 0.4}
    assert told["score"]["problem_type"] == "regression"
    assert told["score"]["trivium"] == {"task": "score", "range": [-1.0, 4.0]}


def test_what_stock_bert_cannot_say_is_left_out_with_the_reason(stock: Path) -> None:
    facts = json.loads((stock / "trivium.json").read_text())
    assert set(facts["folders"]) == {"cls", "pooler", "several", "score"}
    why = facts["left_out"]
    assert set(why) == set(TASKS) - set(facts["folders"])
    assert "pools by `mean`" in why["mean"]
    assert "--to sentence-transformers" in why["mean"]
    assert "hidden layers" in why["mlp"]
    assert "two texts" in why["near"]
    assert "(bilstm, for classification)" in why["bilstm"]
    assert "for ordinal" in why["ordinal"]
    assert "adapters of its own" in why["aside"]
    assert not (stock / "mean").exists()


def test_sentence_transformers_says_the_same_of_texts(run: Path, sentences: Path) -> None:
    for task in ("cls", "mean", "several", "score", "mlp"):
        model = sentence_transformers.SentenceTransformer(str(sentences / task), device="cpu")
        found = torch.from_numpy(model.encode(TEXTS))
        one = load_trained(run).task(task)
        low, high = one.scale
        same(one.readout((found - low) / (high - low)), readout(run, task), 5e-6)


def test_a_cross_encoder_says_the_same_of_pairs_read_together(run: Path, sentences: Path) -> None:
    for task in ("pooler", "joint"):
        model = sentence_transformers.CrossEncoder(str(sentences / task), device="cpu")
        found = torch.from_numpy(model.predict(PAIRS, apply_softmax=True))
        same(found, readout(run, task))


def test_a_cosine_is_told_with_what_makes_a_score_of_it(run: Path, sentences: Path) -> None:
    model = sentence_transformers.SentenceTransformer(str(sentences / "near"), device="cpu")
    first, second = (model.encode(list(texts)) for texts in zip(*PAIRS, strict=True))
    cosine_B = torch.as_tensor(model.similarity_pairwise(first, second))
    told = json.loads((sentences / "trivium.json").read_text())["folders"]["near"]
    low, high = told["range"]
    unit_B = told["cosine"]["scale"] * cosine_B + told["cosine"]["offset"]
    assert told["cosine"]["sigmoid"] is False
    same((low + (high - low) * unit_B)[:, None], readout(run, "near"), 5e-6)


def test_what_sentence_transformers_cannot_say_is_left_out(sentences: Path) -> None:
    why = json.loads((sentences / "trivium.json").read_text())["left_out"]
    assert set(why) == {"concat", "bilstm", "ordinal", "aside"}
    assert "more of a pair than the cosine" in why["concat"]


def test_a_model_of_which_nothing_can_be_written_is_refused(tiny: Path, tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", tiny, {name: TASKS[name] for name in ("bilstm", "concat")})
    with pytest.raises(RecipeError, match="no task can be written for transformers:\nbilstm: its"):
        trivium.export(run, tmp_path / "out", to="transformers")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


# --- the lines of a folder's README ------------------------------------------------------------

LONG = " ".join(["good", "bad", "cat"] * 40)
OTHER = " ".join(["day", "very"] * 35)


def told(folder: Path, first: str, second: str) -> Any:
    """What the lines in a task's README give, asked about other texts."""
    lines = (folder / "README.md").read_text().partition("```python\n")[2].partition("\n```")[0]
    lines = lines.replace("path/to/this/folder", str(folder)).replace('"One text."', repr(first))
    lines = lines.replace('"Another."', repr(second)).replace('"Another text."', repr(second))
    before, _, last = lines.rpartition("\n")
    names: dict[str, Any] = {}
    exec(before, names)
    return eval(last, names)


def probabilities(folder: Path, task: str, *row: str) -> dict[str, float]:
    model = trivium.load(folder, precision="fp32", device="cpu")
    return model.probabilities(task, [row if len(row) > 1 else row[0]])[0]


def number(run: Path, task: str, *row: str) -> float:
    model = load_trained(run, precision="fp32", device="cpu")
    return float(model.readout(task, [row if len(row) > 1 else row[0]]))


@pytest.mark.parametrize(("first", "second"), [("good cat", "bad"), (LONG, OTHER), ("bad", LONG)])
def test_the_lines_of_a_readme_say_of_any_length_what_the_model_says(
    run: Path, stock: Path, sentences: Path, first: str, second: str
) -> None:
    of = {"cls": (first,), "several": (first,), "pooler": (first, second), "score": (first,)}
    for task, row in of.items():
        found = told(stock / task, first, second)
        labels = {one["label"]: one["score"] for one in (found[0] if len(row) == 1 else found)}
        if task == "score":
            wanted = {"score": number(run, "score", first)}
        else:
            wanted = probabilities(run, task, *row)
        assert labels == pytest.approx(wanted, abs=1e-5)
    for task in ("cls", "mean", "score", "mlp"):
        found = torch.from_numpy(told(sentences / task, first, second))
        one = load_trained(run).task(task)
        readout_BK = load_trained(run, precision="fp32").readout(task, [first])
        low, high = one.scale
        same(one.readout((found - low) / (high - low)), readout_BK, 1e-5)
    for task in ("pooler", "joint"):
        found = told(sentences / task, first, second)[0]
        wanted = probabilities(run, task, first, second)
        assert found.tolist() == pytest.approx(list(wanted.values()), abs=1e-5)
    unit = float(told(sentences / "near", first, second))
    cosine = json.loads((sentences / "trivium.json").read_text())["folders"]["near"]["cosine"]
    score = -1 + 5 * (cosine["scale"] * unit + cosine["offset"])
    assert score == pytest.approx(number(run, "near", first, second), abs=1e-4)


def test_a_pair_whose_second_text_is_empty_is_asked_with_a_blank(
    run: Path, stock: Path, sentences: Path
) -> None:
    wanted = probabilities(run, "pooler", "good cat", "")
    found = {one["label"]: one["score"] for one in told(stock / "pooler", "good cat", " ")}
    assert found == pytest.approx(wanted, abs=1e-5)
    crossed = told(sentences / "pooler", "good cat", "")[0].tolist()
    assert crossed == pytest.approx(list(wanted.values()), abs=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(stock / "pooler")
    listed, blank = tokenizer(["good cat"], [""]), tokenizer(["good cat"], [" "])
    assert listed["input_ids"] == blank["input_ids"]
    readme = (stock / "pooler" / "README.md").read_text()
    assert 'say `text_pair=" "`' in readme
    assert "text_pair" not in (stock / "cls" / "README.md").read_text()
