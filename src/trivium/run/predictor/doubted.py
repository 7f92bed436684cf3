"""The rows of a table that a task is least sure of: those to label next."""

import heapq
from collections.abc import Iterator, Sequence

from trivium.answering.columns import certainty
from trivium.answering.form import Form
from trivium.answering.says import Floats, Labels
from trivium.errors import RecipeError
from trivium.types import Answer, Row


class Doubted:
    """Keeps the `most` rows with the least certainty of those it is shown, each text once.

    Memory does not grow with the rows that are shown.
    """

    def __init__(self, most: int, forms: Sequence[Form]) -> None:
        """Raises RecipeError where several tasks are asked, or one that answers with a score."""
        if not isinstance(most, int) or most < 1:
            raise RecipeError(f"least_certain: {most!r} is no number of rows from 1 on.")
        if len(forms) != 1 or not isinstance(forms[0].says, Labels):
            raise RecipeError(
                "least_certain: chooses rows by how sure one task is of its label; name one task "
                "that answers with labels."
            )
        self.most, self.says = most, forms[0].says
        # The surest of the kept stands first; of equals the row that came last.
        self._kept: list[tuple[float, int, tuple[str, ...], Row, list[Answer]]] = []
        self._texts: set[tuple[str, ...]] = set()
        self._seen = 0

    def see(
        self,
        rows: Sequence[Row],
        texts: Sequence[tuple[str, ...]],
        readout_BK: Floats,
        answers: Sequence[list[Answer]],
    ) -> None:
        """Rows with their texts, what was said of them, and what is written of that."""
        sure_B = certainty(self.says, readout_BK).tolist()
        for row, text, sure, answer in zip(rows, texts, sure_B, answers, strict=True):
            self._seen += 1
            if text in self._texts:
                continue
            entry = (-sure, -self._seen, text, row, answer)
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, entry)
            elif entry > self._kept[0]:
                self._texts.remove(heapq.heapreplace(self._kept, entry)[2])
            else:
                continue
            self._texts.add(text)

    def rows(self) -> Iterator[tuple[Row, list[Answer]]]:
        """The kept rows, the least certain first."""
        for _, _, _, row, answer in sorted(self._kept, key=lambda entry: entry[:2], reverse=True):
            yield row, answer
