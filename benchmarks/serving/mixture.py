"""Requests as they come in real life: short and long texts, odd ones, and some to be refused."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.serving.answers import COLUMN
from benchmarks.serving.figures import OK, Outcome
from benchmarks.serving.wire import Ask

PATH = "/v1/predict"
REFUSED = (400, 413, 422)
LONGEST = 100_000
"""Characters that a text may have."""
ODD = (
    "Ünïcödé, naïve façade — „quoted“ 🙂👩‍👩‍👧",
    "שלום עולם, مرحبا بالعالم",
    "这是一句没有空格的中文句子。",
    "z̸̡̛͍͎a̶l̵g̴o̷ text with many marks",
    "tab\tand\nline\r\nbreaks   and    spaces",
    "w" * 3000,
    "!" * 500,
    "a b " * 600,
    "</script><b>&amp;</b> ' OR 1=1 --",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and with which statuses it may end."""

    ask: Ask
    wanted: tuple[int, ...]


def mixture(texts: Sequence[str], number: int, seed: int) -> list[Case]:
    """So many requests, drawn from all kinds by their SHARES."""
    draw = random.Random(seed)
    kinds = draw.choices(list(SHARES), list(SHARES.values()), k=number)
    return [kind(draw, texts) for kind in kinds]


def failures(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> list[Outcome]:
    """Those that ended in another way than they should."""
    return [outcome for outcome in outcomes if outcome.status not in cases[outcome.which].wanted]


def _short(draw: random.Random, texts: Sequence[str]) -> Case:
    return _rows([draw.choice(texts)])


def _long(draw: random.Random, texts: Sequence[str]) -> Case:
    """Of up to some thousands of words, of which a model reads the first few hundred."""
    return _rows([" ".join(draw.choices(texts, k=draw.choice((5, 15, 40, 200))))])


def _several(draw: random.Random, texts: Sequence[str]) -> Case:
    return _rows(draw.choices(texts, k=draw.randint(2, 16)))


def _odd(draw: random.Random, texts: Sequence[str]) -> Case:
    return _rows([draw.choice(ODD), draw.choice(texts)])


def _refused(draw: random.Random, texts: Sequence[str]) -> Case:
    text = draw.choice(texts)
    good = {COLUMN: text}
    bodies = (
        b'{"rows": [',
        b"\xff\xfe not UTF-8",
        b'{"rows": NaN}',
        b'{"rows": [{"message": "\\ud800"}]}',
        Ask.json(PATH, {"rows": [good, {"massage": text}]}).body,
        Ask.json(PATH, {"rows": [good, {COLUMN: 7}]}).body,
        Ask.json(PATH, {"rows": [{COLUMN: "a" * (LONGEST + 1)}]}).body,
        Ask.json(PATH, {"rows": [good], "taks": ["topic"]}).body,
        Ask.json(PATH, {"rows": [good], "tasks": ["tropic"]}).body,
    )
    return Case(Ask(PATH, draw.choice(bodies)), REFUSED)


def _rows(texts: Sequence[str]) -> Case:
    values = {"rows": [{COLUMN: text} for text in texts], "probabilities": True}
    return Case(Ask.json(PATH, values), OK)


Kind = Callable[[random.Random, Sequence[str]], Case]
SHARES: dict[Kind, float] = {_short: 0.70, _long: 0.08, _several: 0.07, _odd: 0.08, _refused: 0.07}
