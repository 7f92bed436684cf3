"""Ctrl-C at once, closed standard streams, and messages that name what there is."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

import trivium
from tests.support.shell import call
from trivium.errors import RecipeError
from trivium.model.pretrained import load_encoder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="closes streams as a shell does")

GREEDY = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass  # signals are looked at between instructions
except BaseException:
    pass  # as modules do that try to import what may not be there
"""


def test_ctrl_c_while_a_module_is_loaded_ends_the_process(tmp_path: Path) -> None:
    """Although the module would catch it."""
    (tmp_path / "greedy.py").write_text(GREEDY)
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from trivium.interrupts import end_while_loading; end_while_loading()\n"
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import greedy; print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize("ignored", [False, True])
def test_elsewhere_ctrl_c_is_what_it_always_is(ignored: bool) -> None:
    before = "SIG_IGN" if ignored else "default_int_handler"
    code = (
        f"import os, signal; signal.signal(signal.SIGINT, signal.{before})\n"
        "from trivium.interrupts import end_while_loading; end_while_loading()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "else: print('ignored')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ("ignored\n" if ignored else "interrupted\n")


@pytest.fixture
def run(recipe_values: dict[str, Any], tmp_path: Path) -> Path:
    changes = ["stages.0.steps=1"]
    trivium.train(recipe_values, tmp_path / "run", changes=changes, console=Console(quiet=True))
    return tmp_path / "run"


@pytest.mark.thorough
@pytest.mark.whole_run
def test_closed_streams_are_told_or_done_without(run: Path) -> None:
    table = run.parent / "data" / "mood-dev.tsv"
    predict = f"predict {run} --task mood --file"
    for words, code, said in (
        (f"evaluate {run} --json >&-", 2, "standard output is closed"),
        (f"{predict} {table} >&-", 2, "standard output is closed"),
        (f"{predict} - <&-", 2, "standard input is closed"),
        (f"evaluate {run} 2>&-", 0, ""),
        (f"{predict} {table} --out {run.parent / 'all.csv'} <&- >&- 2>&-", 0, ""),
        (f"soup {run} 2>&-", 2, ""),
        ("--version >&- 2>&- <&-", 0, ""),
        ("--help >&- 2>&-", 0, ""),
    ):
        line = f"{shlex.quote(sys.executable)} -m trivium {words}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == code, (words, done)
        assert said in done.stderr, (words, done)
        assert "Traceback" not in done.stderr, (words, done)
    assert len((run.parent / "all.csv").read_text().splitlines()) == 33


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_holds_nan_is_refused_by_the_tensors_name(
    value: float, tiny: Path, recipe_values: dict[str, Any], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    tensors = load_file(broken / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name].index_fill(0, torch.tensor([3]), value)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=f"tensor {name} holds NaN or infinity"):
        load_encoder(broken)
    with pytest.raises(RecipeError, match="the checkpoint is damaged") as caught:
        trivium.train(
            recipe_values | {"encoder": str(broken)}, tmp_path / "run", console=Console(quiet=True)
        )
    assert "learning rate" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_table_of_an_unknown_kind_is_told_what_there_is(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.docx").write_text("text\n")
    code, said = call("predict", run, "--task", "mood", "--file", tmp_path / "in.docx")
    assert code == 2
    assert "in.docx: the ending '.docx' is not one of .csv, .tsv," in said
    assert "`format`" not in said
