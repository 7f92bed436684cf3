"""Models written as one graph, which need no torch: padded batches in, every head's answer out.

Shape letters: see `trivium.types`; arrays are NumPy's.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from trivium.answering.form import Form
from trivium.answering.reading import PLAIN, Reader, Reading
from trivium.answering.says import Floats
from trivium.errors import RecipeError
from trivium.jsons import first_problem, shown
from trivium.run.assembly.cores import cores
from trivium.run.folder.names import MANIFEST
from trivium.run.folder.sealed import Unsealed, unseal
from trivium.run.predictor.base import Predictor
from trivium.text.tokenizer import Tokenizer

IDS, MASK, TYPES, PAIRS = "input_ids", "attention_mask", "token_type_ids", "pairs"
"""The graph's inputs, [R, L] each; PAIRS, [P, 2], only where a task reads its pairs apart: the
places of their two texts among the R."""

PLACES_PER_BATCH = 2048
"""Of a batch's padded grid: enough to keep a few cores busy, little memory."""

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What OpenVINO computes layers in that are not quantised. Always said: left to itself, it takes
bf16 where the processor has it, whatever the model was measured in."""

Feeds = Mapping[str, NDArray[np.int64]]

_FORMS: TypeAdapter[dict[str, Form]] = TypeAdapter(dict[str, Form])


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What an exported folder says of itself."""

    path: Path
    """Of the graph."""
    tokenizer: Path
    """Folder of the tokenizer's files."""
    forms: Mapping[str, Form]
    limit: int
    """The encoder's longest sequence, in tokens."""
    outputs: Mapping[str, str]
    """Names of the graph's outputs: by task, and of PLAIN that of the encoder's vectors."""
    precision: str

    @property
    def has_pairs(self) -> bool:
        return any(form.apart for form in self.forms.values())


def read_facts(folder: Path, unsealed: Unsealed | None = None) -> GraphFacts:
    """What is in an exported folder, verified. Raises RecipeError.

    unsealed: of this folder, where that was begun.
    """
    facts = unsealed() if unsealed is not None else unseal(folder, MANIFEST)
    model = facts.get("model")
    if not isinstance(model, str) or model not in facts["files"]:
        raise RecipeError(
            f"{folder / MANIFEST}: calls {shown(model)} its model, which is no file of this folder."
        )
    try:
        return GraphFacts(
            folder / model,
            folder,
            _FORMS.validate_python(facts["forms"]),
            int(facts["limit"]),
            {**facts["outputs"], PLAIN: facts["embedding"]},
            str(facts["precision"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else shown(error)
        raise RecipeError(
            f"{folder / MANIFEST}: cannot be read as an exported model: {why}. Export it again."
        ) from error


def refuse_other_precision(facts: GraphFacts, precision: str) -> None:
    """The precision was decided when the folder was written. Raises RecipeError."""
    if precision not in ("auto", facts.precision):
        raise RecipeError(
            f"{facts.path}: was exported in {facts.precision}, not in {precision}; leave "
            "--precision out, or export it again."
        )


def threads() -> int:
    """That a model shall compute with: OMP_NUM_THREADS, or as many as there are cores for us."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    return cores()


class GraphPredictor(Predictor):
    """A model as one graph, whatever runs it."""

    def __init__(self, facts: GraphFacts) -> None:
        self.facts, self.forms = facts, facts.forms
        self.readers = (Reader(facts.forms, Tokenizer(facts.tokenizer), facts.limit),)

    @property
    def precision(self) -> str:
        return self.facts.precision

    @abstractmethod
    def run(self, feeds: Feeds, names: Sequence[str]) -> list[Floats]:
        """These outputs of the graph."""

    def read(self, readings: Sequence[Reading]) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for reading, batch in ((r, batch) for r in readings for batch in _batches(r)):
            for task, said_BK in self._answered(reading, batch).items():
                if task not in found:
                    rows = len(reading.places[task])
                    found[task] = np.empty((rows, said_BK.shape[1]), dtype=np.float32)
                found[task][batch.rows[task]] = said_BK
        return found

    def _answered(self, reading: Reading, batch: "_Batch") -> dict[str, Floats]:
        """What each task says of its rows of a batch, in their order."""
        tasks = list(batch.rows)
        apart = {task: batch.places(task) for task in tasks if reading.places[task].shape[1] == 2}
        feeds = _padded(reading, list(batch.index), self.readers[0].tokenizer.pad)
        if self.facts.has_pairs:  # a graph with such an input wants at least one
            pairs = [place for places in apart.values() for place in places] or [[0, 0]]
            feeds[PAIRS] = np.asarray(pairs, dtype=np.int64)
        names = [self.facts.outputs[task] for task in tasks]
        said = dict(zip(tasks, self.run(feeds, names), strict=True))
        begin, found = 0, {}
        for task in tasks:
            if task in apart:
                end = begin + len(apart[task])
                found[task] = said[task][begin:end]
                begin = end
            else:
                found[task] = said[task][[place for (place,) in batch.places(task)]]
        return found


@dataclass(slots=True)
class _Batch:
    """Rows whose sequences go through the graph together."""

    index: dict[int, int] = field(default_factory=dict)
    """Sequences of the reading -> their places in the batch."""
    rows: dict[str, list[int]] = field(default_factory=dict)
    """By task, which of its rows."""
    lines: dict[str, list[list[int]]] = field(default_factory=dict)
    """By task, the sequences of these rows."""
    longest: int = 0

    def add(self, task: str, row: int, sequences: list[int], longest: int) -> None:
        for sequence in sequences:
            self.index.setdefault(sequence, len(self.index))
        self.rows.setdefault(task, []).append(row)
        self.lines.setdefault(task, []).append(sequences)
        self.longest = max(self.longest, longest)

    def size_with(self, sequences: list[int], longest: int) -> int:
        """Places of the padded grid, were these added."""
        new = sum(sequence not in self.index for sequence in set(sequences))
        return (len(self.index) + new) * max(self.longest, longest)

    def places(self, task: str) -> list[list[int]]:
        """Of each of its rows the places of the sequences in the batch."""
        return [[self.index[sequence] for sequence in row] for row in self.lines[task]]


def _batches(reading: Reading) -> Iterator[_Batch]:
    """Rows of like length together, both texts of a pair always in one batch."""
    rows = [
        (int(reading.length_U[row].max()), row.tolist(), task, number)
        for task, place_BS in reading.places.items()
        for number, row in enumerate(place_BS)
    ]
    rows.sort(key=lambda row: row[:2])  # rows about the same text stand together
    batch = _Batch()
    for longest, sequences, task, number in rows:
        if batch.index and batch.size_with(sequences, longest) > PLACES_PER_BATCH:
            yield batch
            batch = _Batch()
        batch.add(task, number, sequences, longest)
    if batch.index:
        yield batch


def _padded(reading: Reading, chosen: Sequence[int], pad: int) -> dict[str, NDArray[np.int64]]:
    """These sequences as a grid. [R, L] each."""
    chosen_R = np.asarray(chosen)
    length_R = reading.length_U[chosen_R].astype(np.int64)
    position_L = np.arange(length_R.max())
    mask_RL = position_L < length_R[:, None]
    ids_RL = np.full(mask_RL.shape, pad, dtype=np.int64)
    place_RL = reading.starts()[chosen_R][:, None] + position_L
    ids_RL[mask_RL] = reading.ids_N[place_RL[mask_RL]]
    second_RL = (position_L >= reading.first_U[chosen_R][:, None]) & mask_RL
    return {
        IDS: ids_RL,
        MASK: mask_RL.astype(np.int64),
        TYPES: second_RL.astype(np.int64),
    }
