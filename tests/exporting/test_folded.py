"""Folders for other libraries of a calibrated model: the temperature is in their weights, and what
cannot be is told, so that whoever applies it answers as `trivium predict` does."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import trivium
from tests.support.exports import LABELS, PAIR, SCORE, TEXT, untrained
from tests.support.hub import OWNER, running, turn_to
from tests.support.tables import sentence
from trivium.answering.decide import Decide
from trivium.parts.tasks import Classification
from trivium.run.exporting.folded import folded
from trivium.run.exporting.layers import Layer, Plain
from trivium.run.folder.decisions import write_decisions
from trivium.run.predictor.trained import load_single

transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

pytestmark = pytest.mark.xdist_group("exported")  # what writes graphs is loaded once

POOLER = {"head": {"kind": "linear", "pooling": "pooler"}}
JOINT = {**PAIR, **LABELS, "encode": "joint", **POOLER}
TASKS: dict[str, Any] = {
    "one": {**TEXT, **LABELS, "head": {"kind": "linear", "pooling": "cls"}},
    "sharp": {**TEXT, **LABELS, **POOLER},
    "several": {**TEXT, "kind": "multilabel", "labels": ["a", "b", "c"], "threshold": 0.4,
                **POOLER},
    "pair": JOINT,
    "softer": {**TEXT, "kind": "multilabel", "labels": ["a", "b"], "threshold": 0.45, **POOLER},
    "plain": {**TEXT, **LABELS, **POOLER},
    "score": {**TEXT, **SCORE, **POOLER},
    "near": {**PAIR, **SCORE},
}  # fmt: skip
WEIGHTS = {"no": 0.5, "yes": 2.5, "maybe": 1.0}
DECISIONS = {
    "one": Decide(temperature=1.7, prior={"maybe": 1.4}, weights=WEIGHTS, abstain=0.3),
    "sharp": Decide(temperature=0.02),
    "several": Decide(temperature=2.0, prior={"b": 0.7}, thresholds={"a": 0.45}, abstain=0.145),
    "pair": Decide(temperature=3.0, costs={"no": {"no": 0, "yes": 1, "maybe": 1},
                                           "yes": {"no": 9, "yes": 0, "maybe": 2},
                                           "maybe": {"no": 1, "yes": 1, "maybe": 0}}),
    "softer": Decide(temperature=1.3),
}  # fmt: skip
TEXTS = [sentence(13 * number) for number in range(40)]
PAIRS = [(sentence(7 * number), sentence(5 * number)) for number in range(40)]


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = untrained(tmp_path_factory.mktemp("folded") / "run", tiny, TASKS)
    write_decisions(run / "model", DECISIONS)
    return run


@pytest.fixture(scope="module")
def model(run: Path) -> trivium.Predictor:
    return load_single(run, precision="fp32", device="cpu")


def exported(run: Path, to: str) -> tuple[Path, str]:
    """A folder, and what was said on the screen."""
    said = StringIO()
    trivium.export(run, run.parent / to, to=to, console=Console(file=said, width=1000))
    return run.parent / to, said.getvalue()


@pytest.fixture(scope="module")
def stock(run: Path) -> tuple[Path, str]:
    return exported(run, "transformers")


@pytest.fixture(scope="module")
def sentences(run: Path) -> tuple[Path, str]:
    return exported(run, "sentence-transformers")


def rows_of(task: str) -> list[Any]:
    return PAIRS if task in ("pair", "near") else TEXTS


def wanted_of(model: trivium.Predictor, task: str) -> torch.Tensor:
    each = model.probabilities(task, rows_of(task))
    return torch.tensor([list(row.values()) for row in each])


def answered(model: trivium.Predictor, task: str, p_BK: Any, to_apply: dict[str, Any]) -> list[str]:
    """What the folder's README says is to be done, done by hand."""
    names = list(model.form(task).says.names)  # type: ignore[union-attr]
    found = []
    for p_K in np.asarray(p_BK, dtype=np.float64):
        if "thresholds" in to_apply:
            said = [p >= to_apply["thresholds"][n] for p, n in zip(p_K, names, strict=True)]
            sure = np.prod([p if s else 1 - p for p, s in zip(p_K, said, strict=True)])
            answer = ",".join(n for n, s in zip(names, said, strict=True) if s)
        else:
            told = dict(zip(names, p_K, strict=True))
            value_K = [p * to_apply.get("weights", {}).get(n, 1) for n, p in told.items()]
            if costs := to_apply.get("costs"):
                value_K = [-sum(p * costs[t][n] for t, p in told.items()) for n in names]
            best = int(np.argmax(value_K))
            answer, sure = names[best], p_K[best]
        found.append(answer if sure >= to_apply.get("abstain", 0) else "")
    return found


def of_config(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "config.json").read_text())["trivium"]
    return values


def of_stock(folder: Path, task: str) -> torch.Tensor:
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder / task)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / task)
    rows = rows_of(task)
    texts = tuple(map(list, zip(*rows, strict=True))) if task == "pair" else (rows,)
    with torch.inference_mode():
        found: torch.Tensor = network.eval()(**tokenizer(*texts, return_tensors="pt", padding=True,
                                                         truncation=True)).logits  # fmt: skip
    return found


def as_probabilities(task: str, logit_BK: torch.Tensor) -> torch.Tensor:
    return logit_BK.sigmoid() if task in ("several", "softer") else logit_BK.softmax(-1)


@pytest.mark.parametrize("task", ["one", "sharp", "several", "pair", "softer", "plain"])
def test_stock_bert_has_the_calibrated_probabilities_and_the_rest_can_be_applied(
    model: trivium.Predictor, stock: tuple[Path, str], task: str
) -> None:
    found = as_probabilities(task, of_stock(stock[0], task))
    # A temperature of 0.02 makes what fp32 rounds of logits fifty times as large.
    tolerance = 1e-4 if task == "sharp" else 5e-6
    torch.testing.assert_close(found, wanted_of(model, task), rtol=0, atol=tolerance)
    facts = of_config(stock[0] / task)
    to_apply = facts.get("calibrated", {}).get("to_be_applied", {})
    if task == "softer":
        to_apply = {"thresholds": dict.fromkeys("ab", facts["threshold"])}
    wanted = model.predict(task, rows_of(task))
    assert answered(model, task, found, to_apply) == wanted
    if "abstain" in to_apply:
        assert 0 < wanted.count("") < len(wanted)
    if "weights" in to_apply or "costs" in to_apply:
        assert answered(model, task, found, {}) != wanted  # else nothing was tried


def test_a_pipeline_has_the_calibrated_probabilities(
    model: trivium.Predictor, stock: tuple[Path, str]
) -> None:
    ask = transformers.pipeline("text-classification", str(stock[0] / "one"), top_k=None)
    for row, wanted in zip(ask(TEXTS[:4]), model.probabilities("one", TEXTS[:4]), strict=True):
        found = {each["label"]: each["score"] for each in row}
        assert found == pytest.approx(wanted, abs=5e-6)


@pytest.mark.thorough
def test_sentence_transformers_has_the_calibrated_logits(
    model: trivium.Predictor, sentences: tuple[Path, str]
) -> None:
    for task in ("one", "sharp", "several", "softer", "plain"):
        known = sentence_transformers.SentenceTransformer(str(sentences[0] / task), device="cpu")
        found = as_probabilities(task, torch.from_numpy(known.encode(TEXTS)))
        tolerance = 1e-4 if task == "sharp" else 5e-6
        torch.testing.assert_close(found, wanted_of(model, task), rtol=0, atol=tolerance)
    crossing = sentence_transformers.CrossEncoder(str(sentences[0] / "pair"), device="cpu")
    found = torch.from_numpy(crossing.predict(PAIRS, apply_softmax=True))
    torch.testing.assert_close(found, wanted_of(model, "pair"), rtol=0, atol=5e-6)
    costs = of_config(sentences[0] / "pair")["calibrated"]["to_be_applied"]
    assert answered(model, "pair", found, costs) == model.predict("pair", PAIRS)


def test_what_is_in_the_weights_and_what_is_left_stand_in_every_file_that_tells_of_it(
    stock: tuple[Path, str], sentences: tuple[Path, str]
) -> None:
    for folder, _ in (stock, sentences):
        facts = json.loads((folder / "trivium.json").read_text())["folders"]
        for task, decide in DECISIONS.items():
            of = facts[task]["calibrated"]
            assert of == of_config(folder / task)["calibrated"]
            assert of["in_the_weights"]["temperature"] == decide.temperature
            assert ("prior" in of["in_the_weights"]) == bool(decide.prior)
            left = [n for n in ("weights", "costs", "thresholds", "abstain") if getattr(decide, n)]
            assert list(of["to_be_applied"]) == left
            text = (folder / task / "README.md").read_text()
            assert "nothing is to be divided by the temperature again" in text
            assert ("**the library does not apply it**" in text) == bool(left)
            assert all(f"- `{name}`: " in text for name in left)
            assert ("the product of p" in text) == (task == "several")
        several = facts["several"]["calibrated"]["to_be_applied"]
        assert several["thresholds"] == {"a": 0.45, "b": 0.4, "c": 0.4}
        for task in ("plain", *({"score", "near"} & facts.keys())):
            assert "calibrated" not in facts[task]
            assert "alibrat" not in (folder / task / "README.md").read_text()


def test_the_screen_tells_what_could_not_be_carried(
    stock: tuple[Path, str], sentences: tuple[Path, str]
) -> None:
    for _, said in (stock, sentences):
        (line,) = (line for line in said.splitlines() if line.startswith("note "))
        told = "one (weights, abstain), several (thresholds, abstain), pair (costs): found by triv"
        assert line.startswith(f"note {told}")
        assert "README.md says what is left to you" in line


def test_the_python_of_every_readme_runs_as_it_stands(
    stock: tuple[Path, str], sentences: tuple[Path, str]
) -> None:
    readmes = [path for folder, _ in (stock, sentences) for path in folder.glob("*/README.md")]
    assert len(readmes) == 7 + 8
    for path in (p for p in readmes if p.parent.name in ("pair", "several", "near")):
        (code,) = (part.partition("```")[0] for part in path.read_text().split("```python\n")[1:])
        exec(code.replace("path/to/this/folder", str(path.parent)), {})


@pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")
def test_what_a_folder_says_of_itself_is_pushed_with_it(
    stock: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as hub:
        turn_to(hub, tmp_path / "cache", monkeypatch)
        trivium.push(stock[0], f"{OWNER}/stock", console=Console(file=StringIO()))
        files = hub.files(f"{OWNER}/stock")
    assert files["one/README.md"] == (stock[0] / "one" / "README.md").read_bytes()
    assert "several/model.safetensors" in files


def test_a_folded_layer_is_the_softmax_of_what_was_found() -> None:
    """By hand: logits 0 and log 9, T = 2, the second label twice as frequent elsewhere."""
    decide = Decide(temperature=2, prior={"b": 2.0})
    task = Classification(text="x", label="y", labels={"a": "a", "b": "b"}, decide=decide)
    layer = Layer(torch.tensor([[1.0], [3.0]]).log(), torch.tensor([1.0, 3.0]).log())
    (made,) = folded(Plain("cls", (layer,)), task).plain.layers
    odds = made(torch.ones(1, 1)).exp()
    assert (odds[0, 1] / odds[0, 0]).item() == pytest.approx(2 * 3)
