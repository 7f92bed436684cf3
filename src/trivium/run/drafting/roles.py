"""Which columns hold the texts of a table, and which the answers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from trivium.errors import RecipeError, did_you_mean
from trivium.run.drafting.columns import Column, comma_of, couples
from trivium.run.drafting.draft import PLAIN_NUMBERS, Wanted, are, said
from trivium.run.drafting.files import Found, Group, left_unread


def texts_of(group: Group, wanted: Wanted, assumed: list[str]) -> tuple[str, ...]:
    columns = group.train.columns
    if len(wanted.text) > 2:
        raise RecipeError("init: --text is one column, or two of a pair.")
    if wanted.text:
        _refuse_twice("--text", wanted.text)
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
            assumed.append(f"the text is {said(chosen)}; {said(unread)} {are(unread)} not read")
    return tuple(chosen)


def labels_of(
    group: Group, wanted: Wanted, texts: tuple[str, ...], assumed: list[str]
) -> list[Column]:
    columns = {name: c for name, c in group.train.columns.items() if name not in texts}
    if wanted.label:
        _refuse_twice("--label", wanted.label)
        return [_answers(name, group.train, texts) for name in wanted.label]
    choices = [column for column in columns.values() if column.is_answer]
    named = [column for column in choices if column.named_answer]
    likely = [column for column in choices if not column.named_other]
    chosen = named or likely or choices
    if not chosen:
        raise RecipeError(
            f"{group.train.path}: no column seems to hold answers to texts, of "
            f"{_names(group.train.columns)}{_why_none(columns)}. Name it: --label "
            f"COLUMN.{left_unread(group.train)}"
        )
    names = [column.name for column in chosen]
    if len(choices) > len(chosen) or len(chosen) > 1:
        if wanted.ask:
            question = f"{group.train.name}: which columns hold answers? Each becomes a task"
            names = wanted.ask(question, [column.name for column in choices], names)
        else:
            unused = [column.name for column in choices if column.name not in names]
            more = f"; {said(unused)} {are(unused)} not used" if unused else ""
            assumed.append(f"what is asked of a text stands in {said(names)}{more}")
    return [columns[name] for name in names]


def _why_none(columns: Mapping[str, Column]) -> str:
    """What may keep a column from holding answers."""
    why = [
        f"{name!r} holds one value only"
        for name, column in columns.items()
        if len(column.counts) == 1 and column.named_answer
    ]
    why += [
        f"{name!r} holds cells such as {column.written!r}; {PLAIN_NUMBERS}"
        for name, column in columns.items()
        if column.written
    ]
    why += [line for c in columns.values() if not c.written for line in comma_of(c)]
    return f" ({'; '.join(why)})" if why else ""


def _refuse_twice(option: str, names: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RecipeError(f"init: {option} names {twice[0]!r} twice; name each column once.")


def _answers(name: str, file: Found, texts: tuple[str, ...]) -> Column:
    """The column of that name, which holds answers to these texts."""
    column = file.columns[_known(name, file)]
    if name in texts:
        raise RecipeError(
            f"{file.path}: column {name!r} cannot be the text and its answer. Name the text's with "
            "--text, and its answer's with --label."
        )
    if not column.counts:
        raise RecipeError(f"{file.path}: column {name!r} is empty: there is nothing to learn.")
    return column


def _known(name: str, file: Found) -> str:
    if name not in file.columns:
        raise RecipeError(f"{file.path}: has no column {name!r}{did_you_mean(name, file.columns)}.")
    return name


def _names(columns: Mapping[str, Column]) -> str:
    return ", ".join(map(repr, columns))
