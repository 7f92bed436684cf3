"""The raw cosine of a pair against its label, in the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import runs
from trivium.apps.report.answers import scatters
from trivium.apps.report.runs import open_runs
from trivium.model.weights import write_tensors

TARGETS = [0.0, 2.5, 5.0]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float] | None]:
    """The cosines that a report draws of a run whose head says these scores."""

    def draw(
        head: dict[str, Any], scores: list[float], learned: dict[str, torch.Tensor] | None = None
    ) -> list[float] | None:
        monkeypatch.setitem(runs.TASKS, "near", runs.NEAR | {"head": head})
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        runs.write_run(folder, {"near": (TARGETS, torch.tensor(scores)[:, None])})
        if learned:
            (folder / "model").mkdir()
            write_tensors(learned, folder / "model" / "heads.safetensors")
        section = scatters(open_runs([folder]))
        found = [p for p in section.panels if p.title.endswith("cosine")]
        if not found:
            return None
        assert found[0].figure is not None
        assert found[0].figure.traces[0]["x"] == TARGETS
        return list(found[0].figure.traces[0]["y"])

    return draw


Draw = Callable[..., list[float] | None]


def test_the_cosine_of_every_pair_stands_against_its_label(drawn: Draw) -> None:
    assert drawn({"kind": "cosine", "map": "fixed"}, [0.0, 2.0, 4.5]) == pytest.approx(
        [-1.0, -0.2, 0.8]
    )
    wanted = [5 * torch.sigmoid(torch.tensor(c)).item() for c in (-0.5, 0.0, 0.9)]
    found = drawn({"kind": "sigmoid_cosine"}, wanted)
    assert found == pytest.approx([-0.5, 0.0, 0.9], abs=1e-3)
    assert drawn({"kind": "concat"}, wanted) is None
    assert drawn({"kind": "cosine"}, wanted) is None  # its model is not there


def test_a_learned_map_is_read_from_the_model(drawn: Draw) -> None:
    learned = {"near.scale": torch.tensor(2.0), "near.offset": torch.tensor(0.1)}
    found = drawn({"kind": "cosine"}, [0.5, 2.5, 4.5], learned)
    assert found == pytest.approx([0.0, 0.2, 0.4], abs=1e-6)
