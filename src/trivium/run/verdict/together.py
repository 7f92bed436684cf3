"""What is saved where all heads of a model answer the same texts in one pass of its encoder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from trivium.run.verdict.facts import Cost, OnePass
from trivium.run.verdict.sentences import saved
from trivium.run.verdict.systems import System

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SameTexts:
    """Texts that several tasks are asked about."""

    tasks: tuple[str, ...] = ()
    """Those that read equally many texts of a row; of several such groups the largest."""
    texts: tuple[Texts, ...] = ()
    """Dev rows of all of them in turn, each once."""

    def asked(self, system: System, count: int) -> dict[str, list[Texts]]:
        """What a system can be asked of the first `count`."""
        names = [name for name in self.tasks if name in system.answers]
        texts = list(self.texts[:count])
        return dict.fromkeys(names, texts)


def same_texts(systems: Sequence[System]) -> SameTexts:
    """None where no system has two tasks that read equally many texts: one pass saves nothing."""
    rows = {n: each[0].texts for system in systems for n, each in system.answers.items()}
    widths = {name: len(texts[0]) for name, texts in rows.items() if texts}
    if not widths:
        return SameTexts()
    width, _ = Counter(widths.values()).most_common(1)[0]  # of equally many the first that was met
    tasks = tuple(name for name in rows if widths.get(name) == width)
    if not any(sum(name in system.answers for name in tasks) > 1 for system in systems):
        return SameTexts()
    dealt = chain.from_iterable(zip_longest(*(rows[name] for name in tasks)))
    return SameTexts(tasks, tuple(dict.fromkeys(text for text in dealt if text is not None)))


def one_pass(ours: Cost, theirs: Cost, timed: "Timed | None") -> OnePass:
    """ours: of one model for several tasks; theirs: of single-task models for the same tasks."""
    found = OnePass(
        system=ours.name,
        tasks=ours.tasks,
        asked=list(timed.tasks) if timed else [],
        parameters=ours.parameters,
        parameters_apart=theirs.parameters,
        disk_bytes=ours.disk_bytes,
        disk_bytes_apart=theirs.disk_bytes,
        texts=timed.texts if timed else None,
        ms=1000 * timed.seconds / timed.texts if timed else None,
        ms_apart=1000 * timed.seconds_apart / timed.texts if timed else None,
        sentence="",
    )
    return replace(found, sentence=saved(found))


@dataclass(frozen=True, slots=True)
class Timed:
    """The same texts, asked of one model and of several."""

    tasks: tuple[str, ...]
    texts: int
    seconds: float
    seconds_apart: float
