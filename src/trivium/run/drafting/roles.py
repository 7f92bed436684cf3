"""Which columns hold the texts of a table, and which the answers."""

from collections.abc import Mapping

from trivium.errors import RecipeError, did_you_mean
from trivium.run.drafting.columns import Column, comma_of, couples
from trivium.run.drafting.draft import Wanted, said
from trivium.run.drafting.files import Found, Group, left_unread


def texts_of(group: Group, wanted: Wanted, assumed: list[str]) -> tuple[str, ...]:
    columns = group.train.columns
    if len(wanted.text) > 2:
        raise RecipeError("init: --text is one column, or two of a pair.")
    if wanted.text:
        return tuple(_known(name, group.train) for name in wanted.text)
    texts = [column for column in columns.values() if column.is_text]
    if not texts:
        rest = [c for c in columns.values() if c.numbers is None and not c.named_answer]
        texts = sorted(rest, key=lambda c: (c.named_text, c.letters * c.variety))[-1:]
    if not texts:
        raise RecipeError(
            f"{group.train.path}: no column seems to hold texts, of {_names(columns)}. Name it: "
            f"--text COLUMN, or two of a pair: --text COLUMN,COLUMN.{left_unread(group.train)}"
        )
    pair = next(couples(texts), None)
    if pair is not None:
        chosen = [column.name for column in pair]
    else:
        best = max(texts, key=lambda column: (column.named_text, column.letters))
        chosen = [best.name]
    if len(texts) > len(chosen):
        names = [column.name for column in texts]
        if wanted.ask:
            chosen = wanted.ask(
                f"{group.train.name}: which column holds the text (two: a pair)?", names, chosen
            )[:2]
        else:
            unread = [name for name in names if name not in chosen]
            assumed.append(f"the text is {said(chosen)}; {said(unread)} is not read")
    return tuple(chosen)


def labels_of(
    group: Group, wanted: Wanted, texts: tuple[str, ...], assumed: list[str]
) -> list[Column]:
    columns = {name: c for name, c in group.train.columns.items() if name not in texts}
    if wanted.label:
        found = [_known(name, group.train) for name in wanted.label]
        return [group.train.columns[name] for name in found]
    choices = [column for column in columns.values() if column.is_answer]
    named = [column for column in choices if column.named_answer]
    likely = [column for column in choices if not column.named_other]
    chosen = named or likely or choices
    if not chosen:
        lone = (column for column in columns.values() if len(column.counts) == 1)
        single = [column.name for column in lone if column.named_answer]
        why = f" ({said(single)} holds one value only)" if single else ""
        rest = "".join(f" {line}." for c in columns.values() for line in comma_of(c))
        rest += left_unread(group.train)
        raise RecipeError(
            f"{group.train.path}: no column seems to hold answers to texts{why}, of "
            f"{_names(group.train.columns)}. Name it: --label COLUMN.{rest}"
        )
    names = [column.name for column in chosen]
    if len(choices) > len(chosen) or len(chosen) > 1:
        if wanted.ask:
            question = f"{group.train.name}: which columns hold answers? Each becomes a task"
            names = wanted.ask(question, [column.name for column in choices], names)
        else:
            unused = [column.name for column in choices if column.name not in names]
            more = f"; {said(unused)} is not used" if unused else ""
            assumed.append(f"what is asked of a text stands in {said(names)}{more}")
    return [columns[name] for name in names]


def _known(name: str, file: Found) -> str:
    if name not in file.columns:
        raise RecipeError(f"{file.path}: has no column {name!r}{did_you_mean(name, file.columns)}.")
    return name


def _names(columns: Mapping[str, Column]) -> str:
    return ", ".join(map(repr, columns))
