"""The end of a run: the kept model is judged, and the scores are written."""

from typing import Any

import torch

from trivium.run.assembly.device import precision_name
from trivium.run.assembly.machine import peak_memory
from trivium.run.folder.scores import Cost, Scores, Selected
from trivium.run.predictor.scoring import evaluate_into, overall
from trivium.run.predictor.trained import load_single
from trivium.run.training.seen import beside, scores_on_seen
from trivium.run.training.state import Counters
from trivium.run.training.work import Work


def finish(work: Work, counters: Counters) -> Scores:
    """Judge the saved model as `evaluate` would, and write its predictions; what there is to know
    of the run."""
    predictor = load_single(work.run_dir, device=str(work.setup.device))
    tasks = evaluate_into(work.run_dir, predictor, work.data)
    seen = scores_on_seen(work, [name for name in tasks if "dev" in tasks[name]], predictor)
    model = predictor.model
    known: dict[str, Any] = {"baselines": dict(work.baselines)} if work.baselines else {}
    return Scores(
        tasks=beside(tasks, seen),
        overall=overall(work.tasks, tasks),
        precision=precision_name(model.encoder.precision),
        cost=Cost(
            seconds=round(counters.seconds, 2),
            cpu_seconds=round(counters.cpu_seconds, 2),
            first_step_s=round(counters.first_step_s, 2),
            rows=counters.rows,
            tokens=counters.tokens,
            tokens_per_s=round(counters.tokens / max(counters.seconds, 1e-9), 1),
            peak_memory_bytes=_peak_memory(work.setup.device),
            parameters=sum(p.numel() for p in model.parameters()),
            trained_parameters=counters.trained,
        ),
        selected=Selected.model_validate(counters.kept),
        **known,
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
