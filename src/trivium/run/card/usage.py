"""Five ways to load a model, as its card shows them."""

from collections.abc import Sequence

from trivium.parts.tasks import Task
from trivium.run.card.facts import Facts
from trivium.run.card.markup import code

FOLDER = "path/to/this/folder"
"""Stands for the model's folder in a card that knows no name on the hub."""
_METHODS = ("predict", "probabilities")


def usage(facts: Facts) -> list[str]:
    """Lines of Markdown."""
    place = facts.name or FOLDER
    lines = ["## How to load it", ""]
    # The first of each kind is enough: the others are asked in the same way.
    asked = {task.is_pair: task for task in reversed(list(facts.tasks.values()))}
    task = next(iter(facts.tasks.values()), None)
    if task is not None:
        lines += _in_python(place, [asked[pair] for pair in sorted(asked)])
    if facts.name:
        lines += ["Or fetched once, and used from its folder:", ""]
        lines += _fence("bash", f"trivium pull {facts.name} --out model")
    if task is not None:
        lines += _at_the_shell("model" if facts.name else FOLDER, task)
    return lines + _encoder(place, facts)


def _in_python(place: str, tasks: Sequence[Task]) -> list[str]:
    lines = ["import trivium", "", f'model = trivium.load("{place}")']
    for task in tasks:
        row = '("One text.", "Another text.")' if task.is_pair else '"One text."'
        lines += [f'model.{method}("{task.name}", [{row}])' for method in _METHODS]
    return ["In Python, where `model.tasks` names all tasks:", "", *_fence("python", *lines)]


def _at_the_shell(folder: str, task: Task) -> list[str]:
    columns = " and ".join(map(code, task.text_columns))
    many = "the columns" if task.is_pair else "a column"
    predict = f"trivium predict {folder} --task {task.name} --file texts.csv --out answers.csv"
    return [
        f"A table that has {many} {columns}:",
        "",
        *_fence("bash", predict),
        "Over HTTP:",
        "",
        *_fence("bash", f"trivium serve {folder}"),
        "In ONNX Runtime, without PyTorch:",
        "",
        *_fence("bash", f"trivium export {folder} --to onnx --out onnx"),
    ]


def _encoder(place: str, facts: Facts) -> list[str]:
    kinds = [adapter.kind for adapter in facts.run.recipe.adapters]
    without = "without the tasks' heads"
    if kinds:
        without += (
            f" and without its adapters ({', '.join(kinds)}), so its vectors are not those that "
            "the heads were trained on"
        )
    return [
        f"The encoder alone, in `transformers`; {without}:",
        "",
        *_fence(
            "python",
            "from transformers import AutoModel, AutoTokenizer",
            "",
            f'encoder = AutoModel.from_pretrained("{place}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{place}")',
        ),
    ]


def _fence(language: str, *lines: str) -> list[str]:
    return [f"```{language}", *lines, "```", ""]
