"""An exported graph says what the model says: every head, pooling and adapter."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import trivium
from tests.support.exports import LABELS, PAIR, SCORE, TEXT, untrained
from trivium.model.multitask import pool
from trivium.run.exporting.graph import names_of
from trivium.run.predictor.trained import load_single
from trivium.types import Tokens

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

pytestmark = [  # the graph of all heads is written once
    pytest.mark.thorough,
    pytest.mark.xdist_group("exported"),
]

MLP = {"kind": "mlp", "width": 12, "trunk": "shared"}
ORDERED = {**TEXT, "kind": "ordinal", "labels": ["low", "mid", "high"]}

TASKS: dict[str, Any] = {
    **{
        f"linear-{pooling}": {**TEXT, **LABELS, "head": {"kind": "linear", "pooling": pooling}}
        for pooling in ("cls", "pooler", "mean", "max")
    },
    "cosine": {**PAIR, **SCORE},
    "cosine-pooler": {**PAIR, **SCORE, "head": {"kind": "cosine", "pooling": "pooler"}},
    # Called as something in the graph may be.
    "embedding": {**TEXT, **SCORE, "head": "linear"},
    "input_ids": {**TEXT, **LABELS, "cut": "head_tail", "max_length": 9},
    "linear": {**TEXT, "kind": "multilabel", "labels": ["a", "b", "c"], "threshold": 0.4},
    "pairs": {**PAIR, **LABELS, "encode": "joint"},
    "output_0": {**PAIR, **SCORE, "encode": "joint", "cut": "tail"},
    "mlp": {**TEXT, **LABELS, "head": {"kind": "mlp", "depth": 2, "width": 8}},
    "trunk": {**TEXT, **LABELS, "head": MLP},
    "ordinal-trunk": {**ORDERED, "head": MLP},
    "ordinal": ORDERED,
    "mlp-apart": {**PAIR, **LABELS, "head": {"kind": "mlp", "pooling": "max"}},
    "concat": {**PAIR, **LABELS, "head": "concat"},
    "concat-uv": {**PAIR, **LABELS, "head": {"kind": "concat", "features": "uv"}},
    "sigmoid": {**PAIR, **SCORE, "head": "sigmoid_cosine"},
    "bilstm": {**PAIR, **LABELS, "head": {"kind": "bilstm", "width": 5, "layers": 2}},
    "words": {"kind": "mlm", "of": ["linear"]},
}

ADAPTERS: list[Any] = [
    {"kind": "pals", "size": 8, "heads": 2, "tasks": ["pairs"]},
    {"kind": "houlsby", "size": 4, "top": 1, "tasks": ["concat", "pairs"]},
    {"kind": "lhuc", "tasks": ["bilstm"]},
    {"kind": "lora", "rank": 2, "alpha": 8, "on": ["query", "value", "output", "pooler"]},
]


class Exported:
    """A run and its export, the latter as it is asked without Trivium."""

    def __init__(self, run: Path, folder: Path) -> None:
        self.facts = trivium.export(run, folder, console=Console(file=StringIO()))
        self.folder = folder
        self.model = load_single(run, precision="fp32", device="cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", options)

    def said(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        names = [output.name for output in self.session.get_outputs()]
        found = zip(names, self.session.run(names, inputs), strict=True)
        return {name: torch.from_numpy(values) for name, values in found}

    @torch.inference_mode()
    def wanted(self, task: str, tokens: Tokens, pairs: torch.Tensor) -> torch.Tensor:
        """What the model makes of a pack, task by task."""
        model, one = self.model.model, self.model.task(task)
        hidden_ND = model.encoder(tokens, task)
        vector_RC = model.head(task).represent(hidden_ND, tokens, model.encoder)
        vector_BSC = vector_RC[pairs] if one.sequences == 2 else vector_RC[:, None]
        return one.readout(model.decide(task, vector_BSC))


def drawn(texts: int, longest: int) -> tuple[dict[str, Any], Tokens, torch.Tensor]:
    """Random word pieces on a padded grid, the same as a pack, and pairs of them."""
    draw = np.random.default_rng(longest)
    lengths = [longest, *draw.integers(1, longest, texts - 1, endpoint=True).tolist()]
    mask = np.arange(longest) < np.array(lengths)[:, None]
    ids, segments = draw.integers(5, 20, mask.shape), draw.integers(0, 2, mask.shape)
    place = np.broadcast_to(np.arange(longest), mask.shape)
    pairs = draw.integers(0, texts, (3, 2))
    ids_N, place_N, segments_N = (torch.from_numpy(grid[mask]) for grid in (ids, place, segments))
    tokens = Tokens(ids_N, place_N, segments_N, torch.tensor(lengths), longest)
    inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    return {**inputs, "token_type_ids": segments, "pairs": pairs}, tokens, torch.tensor(pairs)


SHAPES = [(1, 1), (1, 2), (2, 2), (1, 64), (3, 64), (5, 7), (8, 3)]
"""Texts, and tokens of the longest."""


@pytest.fixture(scope="session")
def exported(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    home = tmp_path_factory.mktemp("exported")
    return Exported(untrained(home / "run", tiny, TASKS, *ADAPTERS), home / "out")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_head_and_pooling_says_the_same_on_a_grid_of_any_shape(
    exported: Exported, shape: tuple[int, int]
) -> None:
    inputs, tokens, pairs = drawn(*shape)
    said = exported.said(inputs)
    assert set(exported.facts["outputs"]) == set(TASKS) - {"words"}
    for task, output in exported.facts["outputs"].items():
        wanted = exported.wanted(task, tokens, pairs)
        assert said[output].shape == wanted.shape, task
        torch.testing.assert_close(said[output], wanted, rtol=0, atol=1e-5, msg=task)
    encoder = exported.model.model.encoder
    with torch.inference_mode():
        vector_RD = pool(encoder(tokens), tokens, encoder, "mean")
    torch.testing.assert_close(said["_embedding"], vector_RD, rtol=0, atol=1e-5)


def test_adapters_of_single_tasks_change_their_answers_only(exported: Exported) -> None:
    _, tokens, _ = drawn(3, 64)
    encoder = exported.model.model.encoder
    with torch.inference_mode():
        hidden_ND = encoder(tokens)
        far = {task: float((encoder(tokens, task) - hidden_ND).abs().max()) for task in TASKS}
    assert {task for task in far if far[task] > 0.01} == {"pairs", "concat", "bilstm"}
    assert {task for task in far if far[task] == 0} == set(TASKS) - {"pairs", "concat", "bilstm"}


def test_numbers_of_padding_do_not_matter(exported: Exported) -> None:
    inputs, _, _ = drawn(5, 9)
    padding = inputs["attention_mask"] == 0
    assert padding.any()
    said = exported.said(inputs)
    for name in ("input_ids", "token_type_ids"):
        inputs[name] = np.where(padding, 1, inputs[name])
    for name, values in exported.said(inputs).items():
        torch.testing.assert_close(values, said[name], rtol=0, atol=1e-6, msg=name)


def test_inputs_and_outputs_have_the_names_that_are_told(exported: Exported) -> None:
    facts = exported.facts
    assert [one.name for one in exported.session.get_inputs()] == facts["inputs"]
    outputs = [*facts["outputs"].values(), facts["embedding"]]
    assert [one.name for one in exported.session.get_outputs()] == outputs
    assert facts["embedding"] == "_embedding"
    others = {name: output for name, output in facts["outputs"].items() if name != output}
    assert others == {"input_ids": "_input_ids", "pairs": "_pairs"}
    written = json.loads((exported.folder / "trivium.json").read_text("utf-8"))
    assert written.items() >= facts.items()
    assert written["tasks"]["linear"]["threshold"] == 0.4


def test_a_graph_without_pairs_that_are_encoded_apart_has_three_inputs(exported: Exported) -> None:
    tasks = {name: task for name, task in exported.model.tasks.items() if task.sequences == 1}
    assert names_of(tasks).inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert names_of({"linear": tasks["linear"]}).embedding == "embedding"


def test_the_file_holds_everything_and_nothing_of_the_machine(exported: Exported) -> None:
    content = (exported.folder / "model.onnx").read_bytes()
    for word in (str(Path(trivium.__file__).parent), "stack_trace", "/site-packages/"):
        assert word.encode() not in content
    onnx.checker.check_model(exported.folder / "model.onnx", full_check=True)
    axes = [one.shape for one in exported.session.get_inputs()]
    assert axes == [["batch", "length"]] * 3 + [["pairs", 2]]


QUESTIONS: dict[str, tuple[str, ...]] = {
    "linear-cls": ("good cat",),
    "embedding": ("",),
    "input_ids": ("very good day",),
    "linear": ("red fish eats",),
    "ordinal": ("awful",),
    "pairs": ("good day", "a very bad night"),
    "cosine": ("good", "a very bad night"),
    "bilstm": ("very very very bad", "x"),
}


def test_the_example_answers_as_predict_does_without_torch_and_without_trivium(
    exported: Exported,
) -> None:
    code = (
        "import json, runpy, sys\n"
        "for name in ('torch', 'trivium', 'transformers'): sys.modules[name] = None\n"
        "for task, texts in json.loads(sys.argv[2]).items():\n"
        "    kept, sys.argv = sys.argv, ['example.py', task, *texts]\n"
        "    runpy.run_path(kept[1])\n"
        "    sys.argv = kept\n"
    )
    example = str(exported.folder / "example.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, example, json.dumps(QUESTIONS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    for answer, (task, texts) in zip(said, QUESTIONS.items(), strict=True):
        (wanted,) = exported.model.predict(task, [texts])
        if isinstance(wanted, float):
            assert float(answer) == pytest.approx(wanted, abs=1e-4), task
        else:
            assert answer == wanted, task


@pytest.mark.parametrize("words", [[], ["--help"], ["no task", "a text"]])
def test_the_example_says_what_it_wants(exported: Exported, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(exported.folder / "example.py"), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    first, *_, last = done.stderr.splitlines()
    assert first.endswith("python example.py TASK TEXT [SECOND TEXT]")
    assert last.startswith("TASK is one of: ")
    assert set(QUESTIONS) < set(last.removeprefix("TASK is one of: ").split(", "))


def test_the_example_is_about_as_long_as_promised(exported: Exported) -> None:
    text = (exported.folder / "example.py").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 53
