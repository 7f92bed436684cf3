"""What a server says of itself at `/v1/info`."""

from typing import Any

from trivium import __version__
from trivium.answering.form import Form
from trivium.answering.says import Labels, Says, Score, SeveralLabels
from trivium.apps.serve.front import Front
from trivium.apps.serve.sayings import says_of
from trivium.apps.serve.settings import MAX_CHARACTERS
from trivium.run.assembly.cores import cores


def information(front: Front) -> dict[str, Any]:
    """All that a client needs to know to ask well."""
    settings, load = front.settings, front.service.load()
    return {
        "model": {"name": settings.name, "sha256": settings.sha256},
        "tasks": {name: of_task(form) for name, form in front.forms.items()},
        "embeds": front.described.embeds,
        "limits": limits(front),
        "precision": front.described.precision,
        "backend": front.described.backend,
        "workers": load.workers,
        "wanted_workers": load.wanted_workers,
        "cores": cores(),
        "trivium": __version__,
    }


def limits(front: Front) -> dict[str, float]:
    """What a request may hold, and how long it may take."""
    settings, load = front.settings, front.service.load()
    return {
        "rows": min(settings.max_rows, load.most_rows),
        "body_bytes": settings.max_body_bytes,
        "characters": MAX_CHARACTERS,
        "queue_rows": load.most_rows,
        "queue_tokens": load.most_tokens,
        "timeout_s": settings.timeout_s,
    }


def of_task(form: Form) -> dict[str, Any]:
    """A task: what it reads, and what it says."""
    told = {"kind": form.kind, "columns": list(form.text), "max_tokens": form.max_length}
    return told | {"keeps": form.cut, **_answers(says_of(form))}


def _answers(says: Says) -> dict[str, Any]:
    if isinstance(says, Score):
        return {"answers": "score", "range": list(says.range)}
    assert isinstance(says, Labels)
    told: dict[str, Any] = {"answers": "one label", "labels": list(says.names)}
    if isinstance(says, SeveralLabels):
        told |= {"answers": "several labels", "threshold": says.threshold}
    if says.decide is not None:
        told["decide"] = says.decide.model_dump(exclude_defaults=True)
    return told
