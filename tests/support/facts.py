"""What of a run does not depend on the clock."""

import json
from pathlib import Path

from trivium.digest import sha256
from trivium.run.folder.names import JOURNAL


def facts(run_dir: Path) -> dict[str, object]:
    """All of a run that does not depend on the clock."""
    scores = json.loads((run_dir / "scores.json").read_text())
    events = [json.loads(line) for line in (run_dir / JOURNAL).read_text().splitlines()]
    return {
        "encoder": sha256(run_dir / "model" / "model.safetensors"),
        "heads": sha256(run_dir / "model" / "heads.safetensors"),
        "scores": {key: scores[key] for key in ("tasks", "overall", "selected")},
        "journal": [{k: v for k, v in event.items() if k != "seconds"} for event in events],
    }
