"""Vectors of texts that come out alike every time, kept in memory. Shape letters: `trivium.types`.

For an encoder's lower part that rests (see `resting`): the first time a text goes through it, and
never again. Only where a text's vectors do not depend, in any bit, on what else is in its batch:
so it does not matter which texts are kept, and a run that starts again with none goes on as if it
had all.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trivium.types import Tokens

ROOM = 2**30
"""Bytes of what is kept: vectors, and the texts by which they are found. Texts beyond them are
computed each time: nothing ever makes room."""
OBJECT = 1000
"""Bytes that a text takes beside its numbers, about."""

Make = Callable[[Tokens], Tensor]
"""From texts to rows: as many as they have tokens, or one for each text."""


class KeptTexts:
    """What a resting part of an encoder makes of texts."""

    def __init__(self, layers: int, room: int) -> None:
        self.layers = layers
        """That rest, above the embeddings."""
        self.room = room
        """Bytes that are left."""
        self._rows: dict[tuple[str, bytes], Tensor] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def of_texts(self, kind: str, tokens: Tokens, make: Make) -> Tensor:
        """`make(tokens)`, a row for each text: row_RC. kind: tells it from what others make."""
        return self._of(kind, tokens, make, by_token=False)

    def of_tokens(self, kind: str, tokens: Tokens, make: Make) -> Tensor:
        """`make(tokens)`, a row for each token: row_NC."""
        return self._of(kind, tokens, make, by_token=True)

    def _of(self, kind: str, tokens: Tokens, make: Make, *, by_token: bool) -> Tensor:
        keys = [(kind, text) for text in _texts(tokens)]
        places: dict[tuple[str, bytes], int] = {}
        for place, key in enumerate(keys):
            if key not in self._rows:
                places.setdefault(key, place)
        if len(places) == len(keys):
            made = make(tokens)
            self._keep(dict(zip(keys, _split(made, tokens, by_token=by_token), strict=True)))
            return made
        fresh = self._fresh(places, tokens, make, by_token=by_token)
        rows = [fresh[key] if key in fresh else self._rows[key] for key in keys]
        self._keep(fresh)
        return torch.cat(rows)

    def _fresh(
        self, places: dict[tuple[str, bytes], int], tokens: Tokens, make: Make, *, by_token: bool
    ) -> dict[tuple[str, bytes], Tensor]:
        """The rows of texts that are not there, by key; places: where in the stream they stand."""
        if not places:
            return {}
        wanted = list(places.values())
        if len(wanted) == 1:  # a stream of one text is summed up another way
            wanted.append(int(not wanted[0]))
        some = _some(tokens, wanted)
        return dict(zip(places, _split(make(some), some, by_token=by_token), strict=False))

    @torch.inference_mode(False)
    def _keep(self, rows: dict[tuple[str, bytes], Tensor]) -> None:
        for key, row in rows.items():  # training may read what an evaluation left
            size = row.nbytes + len(key[1]) + OBJECT
            if size <= self.room:
                self._rows[key] = row.clone()
                self.room -= size


def _texts(tokens: Tokens) -> list[bytes]:
    """Of each text all that decides what becomes of it. Positions are counted through."""
    word_N = (tokens.ids_N * 2**8 + tokens.segments_N).numpy()
    ends = tokens.lengths_R.cumsum(0).tolist()
    return [word_N[begin:end].tobytes() for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _split(row_NC: Tensor, tokens: Tokens, *, by_token: bool) -> Sequence[Tensor]:
    return torch.split(row_NC, tokens.lengths_R.tolist() if by_token else 1)


def _some(tokens: Tokens, places: list[int]) -> Tokens:
    """Some texts of a stream."""
    lengths_R = tokens.lengths_R[places]
    starts_R = (tokens.lengths_R.cumsum(0) - tokens.lengths_R)[places]
    own_R = lengths_R.cumsum(0) - lengths_R
    at_N = (starts_R - own_R).repeat_interleave(lengths_R) + torch.arange(int(lengths_R.sum()))
    return Tokens(
        tokens.ids_N[at_N], tokens.positions_N[at_N], tokens.segments_N[at_N], lengths_R,
        int(lengths_R.max()),
    )  # fmt: skip
