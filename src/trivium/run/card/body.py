"""A card's text: tasks, scores, data, encoder, cost, limits."""

from collections.abc import Iterator

from trivium.parts.tasks import Labelled, Multilabel, Regression, Task
from trivium.run.card.calibrated import calibration, uncalibrated
from trivium.run.card.facts import PACKAGED, Facts, Judged, shown
from trivium.run.card.markup import code
from trivium.run.card.usage import usage
from trivium.run.rows.splits import ALL
from trivium.run.screen.grid import MINILM, markdown_table
from trivium.text.cutting import Cut

MOST_LABELS = 30
FEW_ROWS = 200
"""Dev rows below which a card warns of them."""
NOT_TOLD = "not told"
READ: dict[Cut, str] = {
    "head": "the start",
    "tail": "the end",
    "head_tail": "the start and the end",
}


def body(facts: Facts) -> str:
    count = len(facts.tasks)
    many = f"{count} tasks" if count != 1 else "one task"
    lines = [
        f"# {code(facts.title)}",
        "",
        f"One BERT encoder that answers {many} in one pass, trained with "
        "Trivium: several tables of labelled text in, one small encoder with a head per task out.",
        "",
        *_tasks(facts),
        *_scores(facts),
        *calibration(facts),
        *usage(facts),
        *_data(facts),
        *_origin(facts),
        *_cost(facts),
        *_limits(facts),
    ]
    return "\n".join(lines)


def _tasks(facts: Facts) -> list[str]:
    rows = [
        [
            code(name),
            task.kind,
            " and ".join(map(code, task.text_columns)),
            _answers(task),
            _head(task),
            f"`{task.metric}`",
        ]
        for name, task in facts.tasks.items()
    ]
    lines = ["## Tasks", ""]
    if rows:
        titles = ("task", "kind", "reads the column", "answers", "head", "judged by")
        lines += [markdown_table(titles, rows, left=range(6)), ""]
    if facts.practised:
        names = ", ".join(map(code, facts.practised))
        lines += [f"Trained beside, as practice in reading; it has no answers: {names}.", ""]
    return lines


def _answers(task: Task) -> str:
    if isinstance(task, Regression):
        low, high = task.range
        return f"a number from {low:g} to {high:g}"
    if not isinstance(task, Labelled):
        return "–"
    names = list(task.names)
    said = ", ".join(map(code, names[:MOST_LABELS]))
    more = len(names) - MOST_LABELS
    said = f"any of {said}" if isinstance(task, Multilabel) else said
    return said + (f" and {more:,} more, which `trivium.json` lists" if more > 0 else "")


def _head(task: Task) -> str:
    head = task.resolved_head
    pooling = getattr(head, "pooling", None)
    return f"{head.kind}, {pooling} pooling" if pooling else str(head.kind)


def _scores(facts: Facts) -> list[str]:
    if not facts.judged:
        return ["## Scores", "", "It was not judged: no task has dev rows.", ""]
    titles = ("task", "rows", "metric", "score", "95 % interval", "other scores")
    rows = [_score(each) for each in facts.judged]
    drawn = {each.resamples for each in facts.judged if each.between}
    lines = ["## Scores", "", markdown_table(titles, rows, left=(0, 2, 5)), ""]
    if drawn:
        each = " or ".join(f"{number:,}" for number in sorted(drawn))
        lines += [
            f"Intervals: the rows drawn anew {each} times (percentile bootstrap). They tell what "
            "other rows of this kind would change, not what training again would.",
            "",
        ]
    return lines


def _score(judged: Judged) -> list[str]:
    low, high = judged.between or (None, None)
    main = judged.task.metric
    others = {k: v for k, v in judged.metrics.items() if k not in (main, "rows")}
    return [
        code(judged.task.name),
        f"{judged.rows:,} of {judged.split}",
        f"`{main}`",
        f"{judged.value:.3f}",
        "–" if low is None else f"{low:.3f} to {high:.3f}",
        ", ".join(f"`{name}` {value:.3f}" for name, value in others.items()) or "–",
    ]


def _data(facts: Facts) -> list[str]:
    named = [
        (source, split, name)
        for name, task in facts.run.recipe.tasks.items()
        for split in ALL
        for source in task.sources(split)
    ]
    used: dict[str, dict[str, list[str]]] = {source.file: {} for source, *_ in named}
    for source, split, name in named:
        used[source.file].setdefault(split, []).append(name)
    # One task may tell the licence of a file, and another not.
    licenses = {source.file: source.license for source, *_ in named if source.license}
    known = facts.provenance.files if facts.provenance else {}
    rows = [
        [
            code(shown(file)),
            "; ".join(f"{split}: {', '.join(map(code, names))}" for split, names in splits.items()),
            code(licenses[file]) if file in licenses else NOT_TOLD,
            f"`{known[file].sha256}`" if file in known else NOT_TOLD,
        ]
        for file, splits in used.items()
    ]
    trained = [(name, facts.rows(name, "train")) for name in facts.run.recipe.tasks]
    counts = ", ".join(f"{code(n)} {NOT_TOLD if r is None else f'{r:,}'}" for n, r in trained)
    titles = ("file", "used for", "licence", "sha256")
    return ["## Data", "", markdown_table(titles, rows, left=range(4)), "",
            f"Rows trained on: {counts}. None of these rows is in this folder.", ""]  # fmt: skip


def _origin(facts: Facts) -> list[str]:
    lines = ["## Encoder", ""]
    if facts.base_model is None:
        lines += ["It began with an encoder from a folder of the trainer's own, whose origin and "
                  "training data are not told.", ""]  # fmt: skip
    else:
        link = f"[`{facts.base_model}`](https://huggingface.co/{facts.base_model})"
        packaged = ", which Trivium calls `minilm`" if facts.base_model == PACKAGED else ""
        lines += [f"It began with {link}{packaged}.", ""]
    if facts.is_packaged:
        lines += [f"**{MINILM}**", ""]
    elif facts.base_model == PACKAGED:
        lines += [f"**{MINILM.replace('packaged encoder', 'encoder')}**", ""]
    elif facts.base_model is not None:
        lines += ["What that encoder read in its own training is not checked here: if these tasks "
                  "were in it, the scores are not those of unseen tasks.", ""]  # fmt: skip
    return lines


def _cost(facts: Facts) -> list[str]:
    cost, made = facts.run.scores.cost, facts.run.environment
    is_gpu = made.gpu is not None and facts.run.recipe.device != "cpu"
    threads = f", threads: {made.threads}" if made.threads and not is_gpu else ""
    device = made.gpu if is_gpu else made.cpu
    versions = [f"{name} {made.packages[name]}" for name in ("trivium", "torch") if made.packages]
    told = {
        "parameters": _number(cost.parameters),
        "of them trained": _number(cost.trained_parameters),
        "size on disk": f"{facts.model_bytes / 2**20:,.1f} MiB",
        "precision": facts.run.scores.precision,
        "time of training": _number(cost.seconds, " s"),
        "tokens in training": _number(cost.tokens),
        "peak memory": None
        if cost.peak_memory_bytes is None
        else f"{cost.peak_memory_bytes / 2**30:,.2f} GiB",
        "trained on": f"{code(device)}{threads}" if device else None,
        "versions": ", ".join(versions),
    }
    rows = [[name, value or NOT_TOLD] for name, value in told.items()]
    return ["## Cost", "", markdown_table(("", ""), rows, left=(0, 1)), ""]


def _number(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:,.0f}{unit}"


def _limits(facts: Facts) -> list[str]:
    return ["## Limits", "", *(f"- {line}" for line in _notes(facts)), ""]


def _cuts(facts: Facts) -> Iterator[str]:
    """How much is read, by task where it is not the same for all. Special tokens are none of a
    text's word pieces, but count in a task's `max_length`."""
    alike: dict[str, list[str]] = {}
    for name, task in facts.tasks.items():
        length, read = task.max_length or facts.max_length, READ[task.cut]
        if task.is_pair and task.sequences == 1:
            what = (
                f"f a pair with more than {length - 3:,} word pieces in both texts together only "
                f"{read} of the longer one, or of both, is read."
            )
        else:
            what = f"f a text with more than {length - 2:,} word pieces only {read} is read."
        alike.setdefault(what, []).append(name)
    for what, names in alike.items():
        whose = f"{', '.join(map(code, names))}: o" if len(alike) > 1 else "O"
        yield whose + what


def _notes(facts: Facts) -> Iterator[str]:
    if labelled := [name for name, task in facts.tasks.items() if isinstance(task, Labelled)]:
        yield "It chooses among its labels for any text, also for one that none of them fits."
        yield from uncalibrated(facts, labelled)
    yield from _cuts(facts)
    yield (
        "The scores hold for texts like those of the dev rows: other sources, languages or times "
        "were not tried. Nor was it tried whether it treats groups of people alike."
    )
    selected = facts.run.scores.selected
    if selected is not None and selected.by not in (None, "last"):
        yield (
            f"Which model was kept was decided on the dev rows (`{selected.by}`): their scores "
            "are slightly too good for it."
        )
    few = [code(each.task.name) for each in facts.judged if each.rows < FEW_ROWS]
    if few:
        yield (
            f"Fewer than {FEW_ROWS} rows judged {', '.join(dict.fromkeys(few))}: look at the "
            "intervals, not at the third digit."
        )
    if facts.has_teachers:
        yield (
            "It also learned what other trained models say of rows (distillation); what those "
            "models were trained on is not told here."
        )
    if facts.run.scores.soup is not None:
        yield "It is a soup: the mean of several runs' weights, chosen on these dev rows."
    yield "Licence and language of the model were not told: add them at the top of this file."
