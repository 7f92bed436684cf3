"""A command that was stopped says what was kept, and ends with exit code 130."""

import importlib
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.shell import call
from trivium.errors import Interrupted

KEPT = "stopped; what was kept. Go on with: the same command"


@pytest.mark.parametrize(
    ("words", "module", "verb"),
    [
        (["study", "a.yaml", "--out", "out"], "trivium.apps.study", "study"),
        (["tune", "a.yaml", "--out", "out"], "trivium.apps.tune", "tune"),
        (["affinity", "a.yaml", "--out", "out"], "trivium.run.affinity", "affinity"),
        (["compare", "run", "--against-singles", "a.yaml"], "trivium.apps.study", "study"),
    ],
)
def test_what_was_kept_is_said_in_a_line(
    words: list[str], module: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> NoReturn:
        raise Interrupted(KEPT)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module(module), verb, stopped)
    code, said = call(*words)
    assert code == 130
    assert said == KEPT
