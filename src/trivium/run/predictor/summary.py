"""A predictor in words, as a notebook shows it."""

from collections.abc import Mapping

from trivium.answering.form import Form
from trivium.answering.says import Labels, Score

LABELS_SHOWN = 8


def summary(kind: str, encoder: str, precision: str, forms: Mapping[str, Form]) -> str:
    """A line for the model, and one for each task: its kind, what it reads, what it answers."""
    lines = [f"  {name}: {_of_task(form)}" for name, form in forms.items()]
    return "\n".join([f"{kind}({encoder}, {precision})", *lines])


def _of_task(form: Form) -> str:
    reads = f"{form.kind} of {' and '.join(map(repr, form.text))}"
    if isinstance(form.says, Score):
        low, high = form.says.range
        return f"{reads} from {low:g} to {high:g}"
    if not isinstance(form.says, Labels):
        return f"{reads}, without answers"
    names = [*form.says.names]
    more = f", … ({len(names):,} labels)" if len(names) > LABELS_SHOWN else ""
    return f"{reads} into {', '.join(map(_plain, names[:LABELS_SHOWN]))}{more}"


def _plain(name: str) -> str:
    """A label as a Python terminal may be shown it, which obeys escape sequences."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
