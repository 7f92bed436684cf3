"""The command: what it refuses, what it leaves, and what fewer bits cost."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trivium
from tests.support.exports import untrained
from tests.support.shell import call
from tests.support.tables import make_recipe
from trivium.answering.reading import PLAIN
from trivium.errors import RecipeError
from trivium.run.exporting import backends, losses, opened
from trivium.run.exporting.parity import Difference, refuse_different
from trivium.run.folder.sealed import unseal

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.xdist_group("exported")  # what writes graphs is loaded once

QUIET = Console(file=StringIO())


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks with dev rows."""
    home = tmp_path_factory.mktemp("export")
    values = make_recipe(tiny, home)
    values["tasks"]["mood"]["labels"] = ["down", "up"]
    return untrained(home / "run", tiny, values["tasks"], data=values["data"])


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    trivium.export(run, run.parent / "onnx", console=QUIET)
    return run.parent / "onnx"


@pytest.fixture
def again(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Graphs are not made anew: they are the one that was made, changed as is said."""

    def give(change: Callable[[Any], None] | None = None) -> None:
        def write(_graph: Any, _names: Any, _limit: int, path: Path) -> None:
            if change is None:
                shutil.copyfile(exported / "model.onnx", path)
                return
            model = onnx.load(exported / "model.onnx")
            change(model)
            onnx.save(model, path)

        monkeypatch.setattr(backends, "write_onnx", write)

    return give


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is written ---------------------------------------------------------------------------


def test_the_folder_is_sealed_and_says_what_is_in_it(exported: Path) -> None:
    facts = unseal(exported, "trivium.json")
    assert facts["backend"] == "onnx"
    assert facts["precision"] == "fp32"
    assert facts["outputs"] == {"mood": "mood", "same": "same", "near": "near"}
    assert facts["limit"] == 64
    assert facts["tasks"]["same"]["labels"] == {"0": "no", "1": "yes"}
    assert "dev" not in facts["tasks"]["same"]
    assert {"model.onnx", "tokenizer.json", "parity.json", "example.py"} <= set(facts["files"])


def test_the_parity_is_told_of_dev_rows_and_of_batches_of_every_shape(exported: Path) -> None:
    told = json.loads((exported / "parity.json").read_text())["parity"]
    on_dev = {one["task"]: one for one in told if one["on"] == "dev"}
    assert {name: one["rows"] for name, one in on_dev.items()} == {
        "mood": 32, "same": 48, "near": 32,
    }  # fmt: skip
    assert on_dev["near"]["flips"] is None
    assert on_dev["mood"]["flips"] == 0
    shapes = {one["task"] for one in told if one["on"].startswith("batches of 1, 2, 5 texts of 2")}
    assert shapes == {"mood", "same", "near", "embedding"}
    assert all(0 <= one["largest"] <= one["tolerance"] for one in told)


def test_an_export_is_loaded_as_a_run_is_and_answers_the_same(run: Path, exported: Path) -> None:
    ours, theirs = trivium.load(run, precision="fp32"), trivium.load(exported)
    assert theirs.precision == "fp32"
    texts = ["good cat", "bad dog runs not " * 9, "", "good cat"]
    pairs = [(a, b) for a in texts for b in texts[:2]]
    asks: dict[str, Any] = {"mood": texts, "same": pairs, "near": pairs, PLAIN: texts}
    wanted, found = ours.arrays(asks), theirs.arrays(asks)
    for task in asks:
        np.testing.assert_allclose(found[task], wanted[task], atol=1e-5, err_msg=task)
    row = {"text": "good cat", "first": "bad dog", "second": "cat"}
    assert list(theirs.answer([row])[0]) == list(ours.answer([row])[0])


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import json, trivium
from trivium.cli import app
model = trivium.load(sys.argv[1])
print(json.dumps(model.predict("mood", ["good cat", "bad dog"])))
try: app(["predict", sys.argv[1], "--all", "--file", sys.argv[2], "--out", sys.argv[3]])
except SystemExit as stop: assert not stop.code, stop.code
try: app(["evaluate", sys.argv[1]])
except SystemExit as stop: assert stop.code == 2, stop.code
"""


def test_an_export_answers_where_torch_is_not_installed(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\ngood cat\nbad dog\n")
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, (exported, source, target))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = trivium.load(run, precision="fp32").predict("mood", ["good cat", "bad dog"])
    assert json.loads(done.stdout) == wanted
    rows = target.read_text().splitlines()
    assert rows[0] == "text,mood_prediction,mood_confidence"
    assert [row.split(",")[1] for row in rows[1:]] == wanted
    assert 'this command needs PyTorch: pip install "trivium[train]"' in " ".join(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "torch"}, "is written for onnx, not for torch; leave --backend out"),
        ({"backend": "openvino"}, "is written for onnx, not for openvino"),
        ({"backend": "tensorflow"}, "'tensorflow' is none of auto, torch, onnx, openvino"),
        ({"precision": "bf16"}, "was exported in fp32, not in bf16"),
        ({"device": "cuda"}, "'cuda' is not what this ONNX Runtime can use"),
        ({"device": "cuda:1"}, "'cuda:1' is not what this ONNX Runtime can use"),
        ({"device": "cuda:x"}, "'cuda:x' is not what this ONNX Runtime can use"),
    ],
)
def test_what_an_export_was_not_written_for_is_refused(
    exported: Path, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        trivium.load(exported, **settings)


class OneGpu:
    """A session as ONNX Runtime's for GPUs gives it, whose libraries may be missing."""

    def __init__(self, usable: list[str]) -> None:
        self.usable = usable
        self.asked: list[Any] = []

    def __call__(self, _path: str, _options: Any, providers: list[Any]) -> "OneGpu":
        self.asked = providers
        return self

    def get_providers(self) -> list[str]:
        return self.usable


def test_a_gpu_is_the_one_that_was_named_and_no_cpu_in_its_place(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    session = OneGpu(both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    trivium.load(exported, device="cuda:1")
    assert session.asked == [("CUDAExecutionProvider", {"device_id": "1"})]
    session.usable = both[1:]
    with pytest.raises(RecipeError, match="has CUDAExecutionProvider, but cannot use it here"):
        trivium.load(exported, device="cuda")


def test_a_run_is_not_taken_for_an_export(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"is a model for torch\. Write it for onnx first"):
        trivium.load(run, backend="onnx")


# --- parity ------------------------------------------------------------------------------------


def nudge(task: str) -> Callable[[Any], None]:
    """Changes one number of a head's bias, as if a graph were wrong."""

    def change(model: Any) -> None:
        (bias,) = (
            one for one in model.graph.initializer if one.name.endswith(f"heads.{task}.linear.bias")
        )
        values = np.array(onnx.numpy_helper.to_array(bias))
        values[0] += 1e-3
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    return change


def test_a_graph_that_says_something_else_is_refused_and_nothing_is_left(
    run: Path, again: Callable[..., None], tmp_path: Path
) -> None:
    again(nudge("mood"))
    with pytest.raises(RecipeError, match="mood: on dev the graph differs from the model by"):
        trivium.export(run, tmp_path / "out", console=QUIET)
    assert left(tmp_path) == []


def test_an_answer_that_is_no_number_is_a_difference() -> None:
    one = Difference("mood", "dev", 3, float("nan"), 1e-5)
    with pytest.raises(RecipeError, match="differs from the model by nan"):
        refuse_different([one])


def test_without_dev_rows_texts_are_made_up(
    run: Path, again: Callable[..., None], tmp_path: Path
) -> None:
    again()
    alone = shutil.copytree(run / "model", tmp_path / "alone")
    trivium.export(alone, tmp_path / "out", console=QUIET)
    told = json.loads((tmp_path / "out" / "parity.json").read_text())["parity"]
    assert {one["on"] for one in told if one["task"] == "same"} >= {"texts made up"}


# --- fewer bits --------------------------------------------------------------------------------


def test_int8_is_measured_on_dev_and_smaller(
    run: Path, exported: Path, again: Callable[..., None], tmp_path: Path
) -> None:
    again()
    text = StringIO()
    console = Console(file=text, width=200)
    facts = trivium.export(run, tmp_path / "out", precision="int8", max_loss=1, console=console)
    assert (facts["precision"], facts["how"]) == ("int8", "dynamic")
    told = json.loads((tmp_path / "out" / "parity.json").read_text())["losses"]
    assert [(one["task"], one["metric"], one["rows"]) for one in told] == [
        ("mood", "accuracy", 32), ("same", "accuracy", 48), ("near", "pearson", 32),
    ]  # fmt: skip
    assert "On dev, in int8 (dynamic)" in text.getvalue()
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert "MatMulInteger" in {node.op_type for node in model.graph.node}
    assert left(tmp_path / "out") == left(exported)
    unseal(tmp_path / "out", "trivium.json")


def test_int8_that_loses_too_much_is_refused_and_nothing_is_left(
    run: Path, again: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again()

    def ruin(source: Path, target: Path) -> None:
        model = onnx.load(source)
        for one in model.graph.initializer:
            if one.name.endswith("heads.near.scale"):
                values = -onnx.numpy_helper.to_array(one)
                one.CopyFrom(onnx.numpy_helper.from_array(values, one.name))
        onnx.save(model, target)

    monkeypatch.setattr(backends, "onnx_dynamic", ruin)
    before = trivium.evaluate(run)["tasks"]["near"]["dev"]["pearson"]
    assert before > 0.1, "else turning the score round would be no loss"
    with pytest.raises(RecipeError, match=rf"near: pearson fell from {before:.4f} to .*max-loss"):
        trivium.export(run, tmp_path / "out", precision="int8", console=QUIET)
    assert left(tmp_path) == []


def test_what_a_task_may_lose_is_exactly_what_is_said() -> None:
    lost = losses.Loss("a", "accuracy", 8, 0.75, 0.5, 2, 0.1)
    assert losses.too_much([lost], 0.25) is None
    assert losses.too_much([lost], 0.2499) == lost
    gained = losses.Loss("b", "accuracy", 8, 0.5, 0.75, 2, 0.1)
    assert losses.too_much([gained], 0) is None
    unknown = losses.Loss("c", "pearson", 8, 0.5, float("nan"), None, 0.1)
    assert losses.too_much([unknown], 1) == unknown


def test_int8_without_dev_rows_is_refused_before_any_work(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="those of task 'mood' are not there"):
        trivium.export(run / "model", tmp_path / "out", precision="int8", console=QUIET)
    assert left(tmp_path) == []


# --- OpenVINO ----------------------------------------------------------------------------------


def test_openvino_says_the_same_with_its_precision_always_said(
    run: Path, again: Callable[..., None], tmp_path: Path
) -> None:
    openvino = pytest.importorskip("openvino")
    again()
    facts = trivium.export(run, tmp_path / "out", to="openvino", console=QUIET)
    assert (facts["backend"], facts["hint"], facts["model"]) == ("openvino", "f32", "model.xml")
    assert {"model.xml", "model.bin"} <= set(left(tmp_path / "out"))
    assert "model.onnx" not in left(tmp_path / "out")
    asks: dict[str, Any] = {"mood": ["good cat", "bad"], "near": [("good", "cat"), ("bad", "dog")]}
    wanted = trivium.load(run, precision="fp32").arrays(asks)
    for task, found in trivium.load(tmp_path / "out").arrays(asks).items():
        np.testing.assert_allclose(found, wanted[task], atol=1e-5)
    model = openvino.Core().read_model(tmp_path / "out" / "model.xml")
    assert [one.get_names() for one in model.outputs] == [
        {"mood"}, {"same"}, {"near"}, {"embedding"},
    ]  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "out" / "model.xml").read_text()


@pytest.mark.thorough
@pytest.mark.whole_run
def test_openvino_in_8_bits_takes_weights_alone_where_activations_lose_too_much(
    run: Path, again: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    again()
    monkeypatch.setattr(opened, "CALIBRATION", 6)
    enough = losses.too_much

    def refuse_the_first(found: Any, most: float) -> Any:
        monkeypatch.setattr(losses, "too_much", enough)
        return found[0]

    monkeypatch.setattr(losses, "too_much", refuse_the_first)
    said = StringIO()
    console = Console(file=said, width=200)
    out = tmp_path / "out"
    facts = trivium.export(run, out, to="openvino", precision="int8", max_loss=1, console=console)
    assert (facts["how"], facts["hint"]) == ("weights", "f32")
    assert said.getvalue().index("(smoothquant)") < said.getvalue().index("(weights)")
    assert {"model.xml", "model.bin"} <= set(left(out))
    assert not (out / "int8").exists()
    unseal(out, "trivium.json")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"to": "tflite"}, "'tflite' is none of onnx, openvino, sentence-transformers"),
        ({"precision": "int4"}, "precision 'int4': --to onnx has fp32 or int8"),
        ({"precision": "bf16"}, "--to onnx has fp32 or int8"),
        ({"to": "transformers", "precision": "int8"}, "--to transformers has fp32"),
        ({"max_loss": -0.1}, "max_loss is -0.1"),
        ({"max_loss": 0.5}, "max_loss is about fewer bits, and fp32 loses nothing"),
        ({"to": "transformers", "max_loss": 0.5}, "max_loss is about fewer bits"),
        ({"max_loss": float("nan")}, "max_loss is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_any_work(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        trivium.export(tmp_path / "none", tmp_path / "out", **settings)
    assert left(tmp_path) == []


def test_what_is_in_the_way_is_replaced_only_if_it_is_an_export_and_so_wanted(
    tiny: Path, tmp_path: Path
) -> None:
    pooled = {"kind": "linear", "pooling": "pooler"}
    task = {"kind": "classification", "text": "a", "label": "y", "labels": ["0", "1"]}
    run = untrained(tmp_path / "run", tiny, {"one": {**task, "head": pooled}})
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    with pytest.raises(RecipeError, match="is not empty and holds no export"):
        trivium.export(run, out, to="transformers", overwrite=True)
    (out / "letter.txt").unlink()
    trivium.export(run, out, to="transformers")
    with pytest.raises(RecipeError, match=r"there is an earlier export\. Replace it"):
        trivium.export(run, out, to="sentence-transformers")
    trivium.export(run, out, to="sentence-transformers", overwrite=True)
    assert left(out) == ["one", "trivium.json"]
    assert (out / "one" / "modules.json").is_file()
    with pytest.raises(RecipeError, match="is not empty and holds no export"):
        trivium.export(run, run / "model", to="transformers", overwrite=True)
    (out / "letter.txt").write_text("mine")
    with pytest.raises(RecipeError, match="no part of the export and would be lost"):
        trivium.export(run, out, to="transformers", overwrite=True)


def test_without_its_extra_the_command_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "onnxscript.optimizer", raising=False)
    with pytest.raises(RecipeError, match=r"needs onnxscript.*pip install 'trivium\[export\]'"):
        trivium.export(run, tmp_path / "out", console=QUIET)
    assert left(tmp_path) == []


def test_at_a_shell(run: Path, again: Callable[..., None], tmp_path: Path) -> None:
    again()
    out = str(tmp_path / "out")
    code, said = call("export", str(run), "--out", out)
    assert code == 0, said
    assert "The graph beside the model" in said
    assert f"written: {out}" in said
    code, said = call("export", str(run), "--out", out, "--int8", "--precision", "bf16")
    assert code == 2
    assert "--int8 and --precision bf16: choose one" in said
