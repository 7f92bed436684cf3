"""Whole programs on few rows: that they run, compare the same work, and say all that they found."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks.fitting import CFIMDB, QUORA, SST
from benchmarks.measure import LOW
from benchmarks.start import TASK

from benchmarks import start, training
from tests.support.exports import LABELS, untrained
from tests.support.forks import Forks
from tests.support.tables import sentence, write_table

pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("programs")]
Program = Callable[..., dict[str, Any]]
wants_datasets = pytest.mark.skipif(
    find_spec("datasets") is None, reason="sentence-transformers trains only where it is installed"
)
wants_engines = pytest.mark.skipif(
    not all(map(find_spec, ("onnxscript", "onnx_ir", "onnxruntime", "openvino"))),
    reason="an engine, or what writes its graph, is not installed",
)

LOADED = """
import functools, importlib.util, os, subprocess, sys, tempfile, types
import torch._dynamo
import benchmarks.start, benchmarks.training, benchmarks.prediction, benchmarks.quality
if importlib.util.find_spec("datasets"):
    import benchmarks.pairs

def run(command, *, check, stdout, text, env):
    python, _, module, *words = command
    assert (python, check, stdout, text) == (sys.executable, True, subprocess.PIPE, True)
    with tempfile.NamedTemporaryFile("r") as said:
        child = os.fork()
        if child == 0:
            files = [said.name, "/dev/stderr"]
            begin(dict(module=module, words=words, files=files, folder=".", environment=dict(env)))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise subprocess.CalledProcessError(code, command)
        return subprocess.CompletedProcess(command, code, said.read())

# A variant has a process of its own, as always; it need not load everything anew.
benchmarks.training.subprocess = types.SimpleNamespace(run=run, PIPE=subprocess.PIPE)
# What is started a second time, warm, takes as long as the first time, and says the same.
benchmarks.start._start = functools.cache(benchmarks.start._start)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the course's files, of a few made-up rows each; reviews are long."""
    folder = tmp_path_factory.mktemp("cs224n")
    for data_set, words in ((SST, 1), (CFIMDB, 200)):
        for name in (data_set.train, data_set.dev):
            text = " ".join(sentence(place) for place in range(words))
            rows = [[n, n, f"{sentence(n)} {text}", n % len(data_set.labels)] for n in range(10)]
            write_table(folder / name, ["", "id", "sentence", "sentiment"], rows)
    for name in (QUORA.train, QUORA.dev):
        rows = [[n, n, sentence(n), f"{sentence(n)} {sentence(2 * n)}", n % 2] for n in range(10)]
        write_table(folder / name, ["", "id", "sentence1", "sentence2", "is_duplicate"], rows)
    return folder


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts programs and their own processes, all with the peers' libraries loaded."""
    found = Forks(tmp_path_factory.mktemp("programs"), LOADED)
    yield found
    found.close()


@pytest.fixture
def run(data: Path, programs: Forks) -> Program:
    """Run a program of `benchmarks`; its last line, and nothing else, unless something is off."""

    def ask(name: str, *told: str) -> dict[str, Any]:
        words = ["--data", str(data), *told, "--threads", "1", "--json-only"]
        done = programs.start(*words, module=f"benchmarks.{name}")
        output, errors = done.communicate()
        assert done.returncode == 0, errors
        (line,) = output.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    return ask


@pytest.mark.thorough
@wants_datasets
def test_training_on_pairs_is_compared_with_sentence_transformers_and_with_the_limit(
    run: Program,
) -> None:
    told = ("--batches", "2", "--batch-size", "3", "--repetitions", "1")
    found = run("training", "--pairs", *told)
    assert found["peer"] == "SentenceTransformerTrainer"
    assert (found["batch_size"], found["batches"]) == (3, 2)
    rates = {name: found[f"{name}_tokens_per_s"] for name in found["share_of_limit"]}
    assert set(rates) == {"ours_fp32", f"ours_{LOW}", "trainer", "trainer_best"}
    for name, rate in rates.items():
        precision = LOW if name in (f"ours_{LOW}", "trainer_best") else "fp32"
        wanted = rate / found["limit_tokens_per_s"][precision]
        assert found["share_of_limit"][name] == pytest.approx(wanted, abs=0.001)
    assert set(found["peer_preparing_share"]) == {"trainer", "trainer_best"}
    wanted = found[f"ours_{LOW}_tokens_per_s"] / found["trainer_best_tokens_per_s"]
    assert found[f"ours_{LOW}_over_trainer_best"] == pytest.approx(wanted, rel=0.01)


@pytest.mark.thorough
def test_both_sides_train_on_the_same_tokens_of_long_reviews_cut_alike(run: Program) -> None:
    told = ("--data-set", "cfimdb", "--batches", "1", "--batch-size", "2")
    sides = [run("training", *told, "--one", name) for name in (f"ours_{LOW}", "trainer_best")]
    assert [side["tokens"] for side in sides] == [2 * 512, 2 * 512]
    assert all(side["seconds"] > 0 for side in sides)


def test_without_the_package_pairs_are_refused_in_a_line(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["training", "--data", str(data), "--pairs"])
    with pytest.raises(SystemExit, match="pip install datasets"):
        training.main()


@pytest.mark.thorough
def test_quality_is_told_of_every_variant_and_a_finished_run_is_not_run_again(
    run: Program, tmp_path: Path
) -> None:
    out = tmp_path / "runs.jsonl"
    told = ("--seeds", "1", "--epochs", "1", "--steps", "1", "--out", str(out))
    variants = ("ours-bf16-plain", "trainer")
    found = run("quality", *told, "--only", ",".join(variants))
    assert len(out.read_text().splitlines()) == len(variants)
    for name in variants:
        last = found[name.replace("-", "_")]["last"]
        assert [last["mean"]] == last["each"]
        assert 0 <= last["mean"] <= 1
    before = out.read_bytes()
    assert run("quality", *told, "--only", ",".join(variants)) == found
    assert out.read_bytes() == before


@pytest.mark.thorough
@wants_engines
def test_prediction_is_compared_with_graphs_in_two_engines(run: Program) -> None:
    found = run("prediction", "--texts", "12", "--repetitions", "1")
    assert found["skipped"] == {}
    assert found["texts"] == 12
    for name in ("st", "openvino_bf16", *(["st_bf16"] if LOW == "bf16" else [])):
        assert found[f"ours_{LOW}_over_{name}"] > 0
    for name in ("st", "ort_fp32"):
        assert found[f"ours_fp32_over_{name}"] > 0
    assert found["drifts"]["ort_fp32"][0] < 1e-9
    assert found["drifts"]["openvino_bf16"][0] < 1e-3
    assert found["openvino"]["setting"] in found["openvino"]["tried_texts_per_s"]


@pytest.mark.thorough
@wants_engines
def test_processes_of_four_libraries_are_started_and_answer(
    run: Program, tiny: Path, tmp_path: Path
) -> None:
    head = {"kind": "linear", "pooling": "pooler"}
    task = LABELS | {"text": "message", "label": "y", "head": head}
    folder = untrained(tmp_path / "run", tiny, {TASK: task})
    found = run("start", "--run", str(folder), "--processes", "1")
    assert found["skipped"] == {}
    for name in ("ours", "ours_onnx", "st", "pipeline"):
        assert found[f"{name}_ms"] > 0
    assert found["st_over_ours"] == pytest.approx(found["st_ms"] / found["ours_ms"], rel=0.01)


@pytest.mark.thorough
def test_what_cannot_be_written_for_a_library_is_left_out_of_the_start(
    tiny: Path, tmp_path: Path
) -> None:
    head = {"kind": "linear", "pooling": "mean"}
    task = LABELS | {"text": "message", "label": "y", "head": head}
    run = untrained(tmp_path / "run", tiny, {TASK: task})
    skipped: dict[str, str] = {}
    assert "pipeline" not in start.programs(run, tmp_path, skipped)
    assert "pools by `mean`" in skipped["pipeline"]


def test_libraries_that_answer_differently_are_not_compared() -> None:
    start.refuse_different({"ours": "yes", "pipeline": "yes"})
    with pytest.raises(SystemExit, match="do not answer the same"):
        start.refuse_different({"ours": "yes", "pipeline": "no"})
