"""A card's head: what the hub reads of a model."""

from typing import TYPE_CHECKING

from trivium.parts.tasks import Labelled
from trivium.run.card.facts import Facts, Judged, shown
from trivium.run.card.markup import one_line

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

ON_THE_HUB = {
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "micro_f1": "f1",
    "macro_f1": "f1",
}
"""Metrics by the names that the hub knows them by, where those differ."""


def head(facts: Facts) -> "ModelCardData":
    """No licence and no language: nobody told them."""
    from huggingface_hub import ModelCardData

    name = one_line(facts.title.rpartition("/")[2])
    kinds = {_kind(each) for each in facts.judged} or {"text-classification"}
    return ModelCardData(
        library_name="trivium",
        pipeline_tag=max(kinds),  # most tasks are classification, which is the last of these
        tags=["trivium", "bert", "multi-task-learning"],
        base_model=facts.base_model,
        metrics=sorted({_metric(each) for each in facts.judged}) or None,
        model_name=name,
        eval_results=[_result(each) for each in facts.judged] or None,
    )


def _kind(judged: Judged) -> str:
    """What the hub calls such a task."""
    task = judged.task
    if not task.answers_questions:
        return "fill-mask"
    is_similarity = task.is_pair and not isinstance(task, Labelled)
    return "sentence-similarity" if is_similarity else "text-classification"


def _metric(judged: Judged) -> str:
    return ON_THE_HUB.get(judged.task.metric, judged.task.metric)


def _result(judged: Judged) -> "EvalResult":
    from huggingface_hub import EvalResult

    name, sources = judged.task.name, judged.task.sources(judged.split)
    files = ", ".join(one_line(shown(source.file)) for source in sources)
    return EvalResult(
        task_type=_kind(judged),
        task_name=name,
        dataset_type="custom",  # of the user's own; the hub wants some word
        dataset_name=files or name,
        dataset_config=name,  # else results on files of one kind would become one
        dataset_split=judged.split,
        metric_type=_metric(judged),
        metric_name=f"{judged.task.metric} on {judged.split}",
        metric_value=round(judged.value, 4),
    )
