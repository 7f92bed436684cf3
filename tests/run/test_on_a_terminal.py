"""At a terminal, where bars are drawn, commands end as they do without one."""

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.forks import Forks
from tests.support.tables import make_recipe
from tests.support.thorough import some_of

CODE = re.compile(r"\x1b\[[0-9;]*m")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    """A pseudo-terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        self.path = Path(os.ttyname(self._slave))
        self._heard = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._master, 65536)
            except OSError:  # nobody has it open any more
                return
            self._heard += some

    def close(self) -> str:
        """What was said, once nobody speaks any more."""
        os.close(self._slave)
        self._reader.join()
        os.close(self._master)
        return self._heard.decode()


COMMANDS: dict[str, list[str]] = {
    "init": ["init", "{home}/data/mood-train.tsv", "--out", "{home}/drafted.yaml", "--yes"],
    "check": ["check", "{recipe}"],
    "train": ["train", "{recipe}", "--out", "{home}/trained"],
    "evaluate": ["evaluate", "{a}"],
    "predict": [
        "predict", "{a}", "--all", "--file", "{home}/data/mood-dev.tsv",
        "--out", "{home}/answers.tsv",
    ],
    "predict several files": [
        "predict", "{a}", "--task", "mood", "--file", "{home}/data/mood-*.tsv",
        "--out", "{home}/many",
    ],
    "embed": [
        "embed", "{a}", "--file", "{home}/data/mood-dev.tsv", "--out", "{home}/vectors.npy",
    ],
    "explain": ["explain", "{a}", "--task", "mood", "--text", "good cat"],
    "calibrate": ["calibrate", "{a}"],
    "ensemble": ["ensemble", "{a}", "{b}", "--how", "weights", "--out", "{home}/both"],
    "soup": ["soup", "{a}", "{b}", "--out", "{home}/soup"],
    "compare": ["compare", "{a}", "{other}"],
    "report": ["report", "{a}", "--out", "{home}/report.html"],
    "affinity": [
        "affinity", "{recipe}", "--steps", "4", "--every", "2", "--out", "{home}/gains",
    ],
    "study": ["study", "{recipe}", "--seeds", "1", "--out", "{home}/study"],
}  # fmt: skip

HAVE_BARS = ("train", "predict", "predict several files", "embed", "evaluate", "init")


@pytest.fixture(scope="module")
def runs(tiny: Path, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> dict[str, str]:
    """Two runs that differ in their seed, one of another recipe, and where all that is."""
    home = tmp_path_factory.mktemp("terminal")
    values = make_recipe(tiny, home)
    recipe, other = home / "recipe.yaml", home / "other.yaml"
    recipe.write_text(yaml.safe_dump(values))
    other.write_text(yaml.safe_dump(values | {"stages": [{**values["stages"][0], "steps": 8}]}))
    forks.finish("train", recipe, "--out", home / "a")
    forks.finish("train", recipe, "--set", "seed=1", "--out", home / "b")
    forks.finish("train", other, "--out", home / "other")
    names = {name: str(home / name) for name in ("a", "b", "other")}
    return {"home": str(home), "recipe": str(recipe), **names}


@pytest.mark.whole_run
@pytest.mark.parametrize("command", some_of(COMMANDS, lambda command: command != "study"), ids=str)
def test_a_command_at_a_terminal_draws_its_bars_and_ends_well(
    command: str, runs: dict[str, str], forks: Forks
) -> None:
    terminal = Terminal()
    words = [word.format(**runs) for word in COMMANDS[command]]
    environment: dict[str, Any] = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = forks.start(
        *words, environment=environment, output=terminal.path, errors=terminal.path
    )
    code = process.wait()
    said = terminal.close()
    assert code == 0, said
    assert "Traceback" not in said
    assert CODE.search(said), "it did not take this for a terminal"
    assert (HIDDEN in said) >= (command in HAVE_BARS)  # while bars move there is no cursor
    assert said.count(HIDDEN) == said.count(SHOWN)
