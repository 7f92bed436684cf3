"""Texts in, answers out: what every predictor can do, with torch or without."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium.answering.columns import Detail, Probabilities
from trivium.answering.described import Described, ReaderFacts
from trivium.answering.form import Form, form_named
from trivium.answering.occlusion import Explanation
from trivium.answering.reading import PLAIN, Reader, Reading, Rows, Texts
from trivium.answering.rows import asks_of_rows, rows_by_column
from trivium.answering.says import Floats, probabilities
from trivium.answering.vectors import unit
from trivium.errors import RecipeError
from trivium.run.predictor.explained import explanation
from trivium.run.predictor.frames import answered_frame
from trivium.run.predictor.kept import push_model, save_model
from trivium.run.predictor.summary import summary
from trivium.text.frames import TableLike
from trivium.types import Answer

__all__ = ["Predictor", "Texts"]


class Predictor(ABC):
    """Tasks, and what is said of their rows; answers follow from that.

    What `trivium.load` gives, be it one model or an ensemble, in PyTorch or as an ONNX file:

        def is_urgent(model: trivium.Predictor, message: str) -> bool:
            return model.predict("urgency", [message]) == ["high"]

        is_urgent(trivium.load("runs/first"), "The machine leaks on the counter!")
    """

    forms: Mapping[str, Form]
    """Its tasks, as data."""
    readers: Sequence[Reader]
    """How each of its models reads texts; one of most predictors."""
    folder: Path | None = None
    """Where `trivium.load` found it; None of one that was made otherwise."""

    @abstractmethod
    def read(self, readings: Sequence[Reading]) -> dict[str, Floats]:
        """What is said of every row of the readings, on the answer's own scale: readout_BK by task,
        fp32; of PLAIN vector_BD, the encoder's mean vector of each text.

        readings: those that `readers` make of one set of rows.
        """

    @property
    @abstractmethod
    def precision(self) -> str:
        """What it computes in: fp32, bf16, int8, or several where its parts differ."""

    def arrays(self, asks: Mapping[str, Rows]) -> dict[str, Floats]:
        """What is said of several tasks' rows at once: readout_BK by task.

        A text that several tasks ask about goes through the encoder once, if they read it alike:
        cut in the same way, and without sides (PALs, Houlsby) of their own. Raises RecipeError for
        an unknown task or a row with the wrong number of texts.
        """
        readings = []
        for reader in self.readers:
            own = {name: rows for name, rows in asks.items() if name in reader.forms}
            readings += reader.read(own)
        for name in asks:
            if name != PLAIN:
                form_named(name, self.forms)
        found = finite(self.read(readings))
        return {name: found[name] if name in found else self._none(name) for name in asks}

    def _none(self, task: str) -> Floats:
        """The readout of no rows: as wide as that of some."""
        if task == PLAIN:  # how wide vectors are is known when there is one
            return self.vectors([""])[:0]
        says = self.forms[task].says
        return np.zeros((0, says.outputs if says else 1), dtype=np.float32)

    def predict(self, task: str, rows: Rows) -> list[Answer]:
        """A label's name or a score per row, in order.

        rows: texts, or pairs of texts for a task about pairs, as a list, an array or a Series; or a
        DataFrame that has the task's columns. A single text, or a pair as a tuple, is one row.
        Raises RecipeError for an unknown task and for a row that is no text (None, NaN, bytes) or
        has the wrong number of them, by its place.
        """
        says = form_named(task, self.forms).says
        assert says is not None
        return says.answers(self.arrays({task: rows})[task])

    def probabilities(self, task: str, rows: Rows) -> list[dict[str, float]]:
        """Per row, each label's probability (a score task: its score)."""
        says = form_named(task, self.forms).says
        assert says is not None
        return probabilities(says, self.arrays({task: rows})[task])

    def answer(
        self, rows: Iterable[Any], tasks: Sequence[str] | None = None
    ) -> list[dict[str, Answer]]:
        """Every answer that each row allows, from one pass over the texts: by task, in order.

        rows: texts by column, named as in the training tables, or a DataFrame; a row answers every
        task whose columns it has, and columns that no task reads do no harm. tasks: only these,
        which every row must then have the columns of. Raises RecipeError, which names the row.

            model = trivium.load("runs/first")
            model.answer([
                {"message": "Where is my parcel?"},
                {"first": "Where is my parcel?", "second": "Has my order been sent?"},
            ])
        """
        rows = rows_by_column(rows)
        wanted = asks_of_rows(self.forms, rows, tasks)
        readouts = self.arrays({name: wanted.texts[name] for name in wanted.texts})
        found: list[dict[str, Answer]] = [{} for _ in rows]
        for name, places in wanted.places.items():
            says = self.forms[name].says
            assert says is not None
            for place, said in zip(places, says.answers(readouts[name]), strict=True):
                found[place][name] = said
        return found

    def predict_frame(
        self,
        table: TableLike,
        tasks: str | Sequence[str] | None = None,
        *,
        probabilities: Probabilities = False,
        top_k: int | None = None,
        prefix: str = "",
    ) -> TableLike:
        """A DataFrame with the answers of every task whose columns it has, from one pass.

        table: of pandas, polars or Arrow, or a `datasets.Dataset`; what comes back is of the same
        library, with the columns that `trivium predict --all` adds, and pandas' index. tasks: only
        these; a single one by its name puts no name before its columns. The settings are those of
        `trivium.predict_file`. Raises RecipeError, which names the row of a cell without text.
        """
        detail = Detail(probabilities, top_k)
        return answered_frame(self.forms, self.arrays, table, tasks, detail=detail, prefix=prefix)

    def embed(self, texts: Rows, *, normalize: bool = True) -> Floats:
        """The shared encoder's vector of each text: vector_BD, the mean over its tokens, at length
        1 unless not `normalize`: what a server's `/v1/embeddings` gives.

        Raises RecipeError where there are several encoders, and as `predict` does.
        """
        vector_BD = self.vectors(texts)
        return unit(vector_BD) if normalize else vector_BD

    def explain(self, task: str, row: Texts, label: str | None = None) -> Explanation:
        """What each word of one row did for the answer: how much is lost where it is left out.

        row: a text, or a pair of them. label: whose probability is explained; by default the
        answer's, and of several labels the most probable one's. Raises RecipeError.

            model = trivium.load("runs/first")
            for word in model.explain("topic", "Where is my parcel?").strongest:
                print(f"{word.effect:+.3f} {word.word}")
        """
        return explanation(self.forms, self.arrays, task, row, label)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Copy the model's files, verified, into a folder that `trivium.load` opens.

        overwrite: replace a model that is there. Raises RecipeError.
        """
        return save_model(self._home(), Path(folder), overwrite=overwrite)

    def push(self, name: str, **settings: Any) -> Any:
        """Put the model on the hub: `trivium.push` of the folder that it was loaded from."""
        return push_model(self._home(), name, **settings)

    def _home(self) -> Path:
        if self.folder is None:
            raise RecipeError("this model was not loaded from a folder, and so has no files.")
        return self.folder

    def __repr__(self) -> str:
        return summary(type(self).__name__, self.encoder, self.precision, self.forms)

    @property
    def encoder(self) -> str:
        """What reads the texts, in a few words."""
        return f"{len(self.readers)} encoders" if len(self.readers) > 1 else "one encoder"

    def form(self, name: str) -> Form:
        """A task as data. Raises RecipeError for one that it has not, or that has no answers."""
        return form_named(name, self.forms)

    @property
    def embeds(self) -> bool:
        """Whether it has one encoder, whose vectors can be asked for."""
        return len(self.readers) == 1

    def described(self, backend: str) -> Described:
        """What another process needs to know to read for it and to say its answers."""
        readers = tuple(
            ReaderFacts(
                forms={name: form for name, form in reader.forms.items() if name != PLAIN},
                tokenizer=str(reader.tokenizer.folder.resolve()),
                limit=reader.limit,
            )
            for reader in self.readers
        )
        return Described(
            forms=dict(self.forms), readers=readers, precision=self.precision, backend=backend
        )

    def vectors(self, texts: Rows) -> Floats:
        """The shared encoder's vector of each text: vector_BD, the mean over its tokens.

        Raises RecipeError where there are several encoders.
        """
        if not self.embeds:
            raise RecipeError("an ensemble has several encoders, and so no vector of a text.")
        return self.arrays({PLAIN: texts})[PLAIN]


def finite(readouts: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """The readouts as they are. Raises RecipeError where one is no number, by its task."""
    for name, readout_BK in readouts.items():
        if not np.isfinite(readout_BK).all():
            what = f"the answer of {name}" if name != PLAIN else "a text's vector"
            raise RecipeError(
                f"{what} is no number (NaN or infinity): the model's weights are damaged, or their "
                "training went astray. Take another model, or compute in fp32."
            )
    return readouts
