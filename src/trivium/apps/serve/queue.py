"""The bounded queue, and what becomes of rows whose computation fails.

Plain data: no clock and no event loop, times are passed in. A row is waiting, in a batch, or put
back because its batch failed; it leaves with an answer, or with its request.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trivium.answering.reading import Reading, gather
from trivium.answering.says import Floats
from trivium.apps.serve.asks import Failed, Full, RowAsk, Said

MOST_DEATHS = 2
"""Workers that a row may end before it is given up."""
LONGEST_WAIT_S, SHORTEST_WAIT_S, UNKNOWN_WAIT_S = 60.0, 0.05, 1.0
"""What is told to whoever finds the queue full; the last before any batch was measured."""


@dataclass(slots=True, eq=False)
class Request:
    """Rows that came together and are answered together."""

    rows: Sequence[RowAsk]
    deadline: float
    came: float
    tokens: tuple[int, ...] = ()
    """Of each row."""
    said: list[Said] = field(default_factory=list)
    """What is known of each row; what stands there before is no answer."""
    begun: int = 0
    """Rows that were taken out of the queue, which happens in their order."""
    left: int = 0
    """Rows that have no answer yet."""
    over: bool = False
    """Answered, cancelled or too late: nothing is computed for it any more."""
    waited_s: float = 0.0
    """Until its last row was taken."""
    computed_s: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = tuple(row.tokens for row in self.rows)
        self.left = len(self.rows)
        self.said = [NOTHING] * self.left

    def say(self, place: int, said: Said) -> bool:
        """Of one row; whether that was the last that was missing."""
        if self.over or self.said[place] is not NOTHING:
            return False
        self.said[place] = said
        self.left -= 1
        self.over = self.left == 0
        return self.over


@dataclass(slots=True, eq=False)
class Piece:
    """A row that was taken out of the queue."""

    request: Request
    place: int
    deaths: int = 0
    """Workers that ended while they computed it."""

    @property
    def row(self) -> RowAsk:
        return self.request.rows[self.place]


@dataclass(slots=True, eq=False)
class Batch:
    """Rows that are computed together."""

    pieces: list[Piece]

    @classmethod
    def of(cls, rows: Sequence[RowAsk]) -> "Batch":
        """Rows that nobody waits for."""
        request = Request(rows, deadline=math.inf, came=0.0)
        return cls([Piece(request, place) for place in range(len(rows))])

    @property
    def tokens(self) -> int:
        return sum(piece.request.tokens[piece.place] for piece in self.pieces)

    def readings(self) -> list[Reading]:
        return gather(one for piece in self.pieces for one in piece.row.asked)

    def share(self, readouts: Mapping[str, Floats]) -> list[Said]:
        """What is said of each row. Raises ValueError where answers do not fit the rows."""
        taken = dict.fromkeys(readouts, 0)
        said: list[Said] = []
        for piece in self.pieces:
            own: dict[str, Floats] = {}
            # A task of an ensemble is asked once for each member, and answered once.
            for task in dict.fromkeys(one.task for one in piece.row.asked):
                if task not in taken or taken[task] >= len(readouts[task]):
                    raise ValueError(f"there are fewer answers than rows for task {task!r}")
                own[task] = readouts[task][taken[task]]
                taken[task] += 1
            said.append(own)
        if any(taken[task] != len(readout_BK) for task, readout_BK in readouts.items()):
            raise ValueError("there are more answers than rows")
        return said


NOTHING = Failed("it was not computed")


class Queue:
    """Requests that wait, whole or in part, oldest first; bounded in rows and in tokens."""

    def __init__(self, most_rows: int, most_tokens: int) -> None:
        self.most_rows, self.most_tokens = most_rows, most_tokens
        self.rows = self.tokens = 0
        """That wait. Rows that were put back count no more: they were let in once."""
        self._waiting: OrderedDict[Request, None] = OrderedDict()
        self._back: deque[list[Piece]] = deque()
        """Groups of rows whose batch failed, each to be computed by itself."""

    def __bool__(self) -> bool:
        """Whether there may be something to take."""
        return bool(self._waiting or self._back)

    @property
    def oldest(self) -> float | None:
        """When the oldest of those that wait came."""
        return next((request.came for request in self._waiting), None)

    def offer(self, request: Request, tokens_per_s: float) -> None:
        """Take a request in, whole or not at all. Raises Full, with a time from this speed."""
        tokens = sum(request.tokens)
        rows_over = self.rows + len(request.rows) - self.most_rows
        tokens_over = self.tokens + tokens - self.most_tokens
        if rows_over > 0 or tokens_over > 0:
            # Rows that are too many leave with as many tokens as rows have in the mean.
            as_tokens = rows_over * self.tokens / max(1, self.rows)
            raise Full(_wait(max(as_tokens, tokens_over), tokens_per_s))
        if request.rows:
            self._waiting[request] = None
            self.rows += len(request.rows)
            self.tokens += tokens

    def withdraw(self, request: Request) -> None:
        """Compute nothing more for a request: it is cancelled, too late, or answered."""
        request.over = True
        if request in self._waiting:
            del self._waiting[request]
            self.rows -= len(request.rows) - request.begun
            self.tokens -= sum(request.tokens[request.begun :])

    def take(self, now: float, most_tokens: int) -> tuple[Batch | None, list[Request]]:
        """Rows for one worker, and the requests that were found to be too late.

        What was put back comes first, group by group. Then whoever waits, oldest first, up to a
        budget of tokens, but at least one row.
        """
        late: list[Request] = []
        while self._back:
            group = [piece for piece in self._back.popleft() if self._wanted(piece, now, late)]
            if group:
                return Batch(group), late
        pieces: list[Piece] = []
        room = most_tokens
        while self._waiting:
            request = next(iter(self._waiting))
            if request.deadline <= now:
                self._give_up(request, late)
                continue
            if pieces and request.tokens[request.begun] > room:
                break
            room -= request.tokens[request.begun]
            pieces.append(self._begin(request, now))
        return (Batch(pieces) if pieces else None), late

    # --- what becomes of a batch: each gives back the requests that are now answered -------------

    def answered(self, batch: Batch, said: Sequence[Said], seconds: float) -> list[Request]:
        for request in {piece.request for piece in batch.pieces}:
            request.computed_s += seconds
        pairs = zip(batch.pieces, said, strict=True)
        return [piece.request for piece, one in pairs if piece.request.say(piece.place, one)]

    def raised(self, batch: Batch, why: str) -> list[Request]:
        """Its computation raised: it is tried in halves, down to the row whose fault it is."""
        if len(batch.pieces) == 1:
            return _fail(batch.pieces, why)
        middle = len(batch.pieces) // 2
        self._put_back([batch.pieces[:middle], batch.pieces[middle:]])
        return []

    def died(self, batch: Batch, why: str) -> list[Request]:
        """The worker that computed it ended: its rows are tried one by one.

        In halves it would cost a worker for each halving. Like this a row that ends workers ends
        two; and whoever is beside it the first time is alone the second time, and answered.
        """
        for piece in batch.pieces:
            piece.deaths += 1
        self._put_back([[piece] for piece in batch.pieces if piece.deaths < MOST_DEATHS])
        return _fail((piece for piece in batch.pieces if piece.deaths >= MOST_DEATHS), why)

    # --------------------------------------------------------------------------------------------

    def _put_back(self, groups: Sequence[list[Piece]]) -> None:
        self._back.extendleft(reversed(groups))

    def _begin(self, request: Request, now: float) -> Piece:
        piece = Piece(request, request.begun)
        self.rows -= 1
        self.tokens -= request.tokens[request.begun]
        request.begun += 1
        if request.begun == len(request.rows):
            del self._waiting[request]
            request.waited_s = now - request.came
        return piece

    def _wanted(self, piece: Piece, now: float, late: list[Request]) -> bool:
        if not piece.request.over and piece.request.deadline <= now:
            self._give_up(piece.request, late)
        return not piece.request.over

    def _give_up(self, request: Request, late: list[Request]) -> None:
        self.withdraw(request)
        late.append(request)


def _fail(pieces: Iterable[Piece], why: str) -> list[Request]:
    return [piece.request for piece in pieces if piece.request.say(piece.place, Failed(why))]


def _wait(tokens: float, tokens_per_s: float) -> float:
    """Seconds until so many tokens are computed."""
    if tokens_per_s <= 0:
        return UNKNOWN_WAIT_S
    return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, tokens / tokens_per_s))
