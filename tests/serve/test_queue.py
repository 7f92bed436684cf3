"""The queue: nothing is lost, nothing answered twice, nobody fails for a neighbour."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trivium.answering.reading import Asked, Line, Way
from trivium.apps.serve.asks import Failed, Full, RowAsk
from trivium.apps.serve.desk import Desk
from trivium.apps.serve.queue import MOST_DEATHS, NOTHING, Batch, Piece, Queue, Request
from trivium.apps.serve.speed import Speed

SHARED, OWN = Way(0, 64, "head", ""), Way(0, 64, "head", "near")


def line(tokens: int) -> Line:
    return Line(np.zeros(tokens, dtype=np.int32), 1, tokens)


def row(tokens: int) -> RowAsk:
    return RowAsk((Asked(SHARED, "mood", (line(tokens),)),))


def request(*tokens: int, came: float = 0.0, deadline: float = math.inf) -> Request:
    return Request([row(count) for count in tokens], deadline, came)


def offered(*requests: Request, most_rows: int = 99, most_tokens: int = 999) -> Queue:
    queue = Queue(most_rows, most_tokens)
    for one in requests:
        queue.offer(one, 1.0)
    return queue


def taken(queue: Queue, most_tokens: int, now: float = 0.0) -> list[tuple[Request, int]]:
    batch, _ = queue.take(now, most_tokens)
    return [(piece.request, piece.place) for piece in batch.pieces] if batch else []


def test_a_batch_is_the_oldest_rows_up_to_a_budget_of_tokens() -> None:
    first, second = request(3, 4), request(2, 9)
    queue = offered(first, second)
    assert taken(queue, 9) == [(first, 0), (first, 1), (second, 0)]
    assert taken(queue, 8) == [(second, 1)]  # one row at least
    assert taken(queue, 8) == []
    assert (queue.rows, queue.tokens, bool(queue)) == (0, 0, False)


def test_a_small_row_does_not_overtake_a_large_one() -> None:
    first, second, third = request(5), request(9), request(1)
    queue = offered(first, second, third)
    assert taken(queue, 8) == [(first, 0)]
    assert taken(queue, 10) == [(second, 0), (third, 0)]


@pytest.mark.parametrize(("most_rows", "most_tokens"), [(3, 999), (99, 11)])
def test_a_request_is_let_in_whole_or_not_at_all(most_rows: int, most_tokens: int) -> None:
    queue = offered(request(4, 4), most_rows=most_rows, most_tokens=most_tokens)
    with pytest.raises(Full):
        queue.offer(request(2, 2), 1.0)
    assert (queue.rows, queue.tokens) == (2, 8)
    queue.offer(request(2), 1.0)
    assert (queue.rows, queue.tokens) == (3, 10)


@pytest.mark.parametrize(
    ("tokens", "speed", "seconds"),
    [
        ((30,), 10.0, 1.0),  # 30 + 80 are 10 too many
        ((1, 1, 1), 10.0, 0.8),  # one row too many, of 8 tokens in the mean
        ((30,), 0.0, 1.0),  # nothing was measured yet
        ((30,), 1e9, 0.05),
        ((30,), 1e-9, 60.0),
    ],
)
def test_whoever_finds_it_full_hears_when_there_will_be_room(
    tokens: tuple[int, ...], speed: float, seconds: float
) -> None:
    queue = offered(request(*[8] * 10), most_rows=12, most_tokens=100)
    with pytest.raises(Full) as full:
        queue.offer(request(*tokens), speed)
    assert full.value.retry_after_s == pytest.approx(seconds)


def test_cancelled_rows_are_not_computed_and_make_room_at_once() -> None:
    first, second = request(1, 2, 3), request(4)
    queue = offered(first, second)
    assert taken(queue, 1) == [(first, 0)]
    queue.withdraw(first)
    assert (queue.rows, queue.tokens) == (1, 4)
    assert taken(queue, 99) == [(second, 0)]


def test_expired_rows_are_not_computed_and_are_told() -> None:
    first, second = request(1, 2, deadline=5.0), request(4, deadline=9.0)
    queue = offered(first, second)
    batch, late = queue.take(5.0, 99)
    assert batch is not None
    assert [piece.request for piece in batch.pieces] == [second]
    assert late == [first]
    queue.raised(Batch([*batch.pieces, *batch.pieces]), "in two")
    assert queue.take(9.0, 99) == (None, [second])


def test_how_long_a_request_waited_is_until_its_last_row_was_taken() -> None:
    one = request(5, 5, came=1.0)
    queue = offered(one)
    queue.take(2.0, 5)
    assert one.waited_s == 0.0
    queue.take(4.0, 5)
    assert one.waited_s == 3.0


def test_each_row_gets_what_was_said_of_it_whatever_its_neighbours_ask() -> None:
    shared = line(3)
    rows = [
        RowAsk((Asked(SHARED, "mood", (shared,)), Asked(OWN, "near", (line(2), line(2))))),
        RowAsk((Asked(OWN, "near", (line(4), line(4))),)),
        RowAsk((Asked(SHARED, "mood", (line(5),)),)),
    ]
    batch = Batch.of(rows)
    places = {(r.way, task): p.tolist() for r in batch.readings() for task, p in r.places.items()}
    assert places == {(SHARED, "mood"): [[0], [1]], (OWN, "near"): [[0, 1], [2, 3]]}
    near_BK = np.arange(2, dtype=np.float32).reshape(2, 1)
    mood_BK = np.arange(4, dtype=np.float32).reshape(2, 2)
    said = batch.share({"mood": mood_BK, "near": near_BK})
    assert [{k: v.tolist() for k, v in s.items()} for s in said if not isinstance(s, Failed)] == [
        {"mood": [0, 1], "near": [0]},
        {"near": [1]},
        {"mood": [2, 3]},
    ]


def test_a_task_that_several_members_answer_together_is_handed_out_once() -> None:
    members = [Way(member, 64, "head", "") for member in (0, 1)]
    batch = Batch.of([RowAsk(tuple(Asked(way, "mood", (line(2),)) for way in members))] * 2)
    said = batch.share({"mood": np.arange(4, dtype=np.float32).reshape(2, 2)})
    assert [s["mood"].tolist() for s in said if not isinstance(s, Failed)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("rows", [1, 3])
def test_answers_that_do_not_fit_the_rows_are_nobodys(rows: int) -> None:
    batch = Batch.of([row(1), row(1)])
    with pytest.raises(ValueError, match="answers than rows"):
        batch.share({"mood": np.zeros((rows, 2), dtype=np.float32)})


def test_the_speed_follows_the_last_batches() -> None:
    speed = Speed()
    assert speed.tokens_per_s == 0.0
    speed.add(1000, 1.0)
    assert speed.tokens_per_s == pytest.approx(1000)
    for _ in range(100):
        speed.add(100, 1.0)
    assert speed.tokens_per_s == pytest.approx(100, rel=0.02)


# --- all that can happen, in any order ----------------------------------------------------------

FINE, POISON, KILLER = "fine", "poison", "killer"
KINDS = st.sampled_from([FINE, FINE, FINE, POISON, KILLER])


async def test_rows_that_were_given_up_are_counted_one_by_one() -> None:
    desk = Desk(Queue(99, 999), lambda: None)
    tickets = [desk.ask([row(1) for _ in range(3)], math.inf) for _ in range(2)]

    def next_batch() -> Batch:
        batch = desk.take(999)
        assert batch is not None
        return batch

    desk.died(next_batch(), "killed")
    for given_up in (True, False, False, True, True, True):
        if given_up:
            desk.died(next_batch(), "killed again")
        else:
            desk.answered(next_batch(), [{}], 0.1, 0.1)
    said = [one for ticket in tickets for one in await ticket.answers]
    assert sum(isinstance(one, Failed) for one in said) == desk.counts.failed_rows == 4


class Life(RuleBasedStateMachine):
    """Requests come, rows are computed by workers that fail, time passes, people go."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(most_rows=6, most_tokens=30)
        self.now = 0.0
        self.waiting: list[tuple[Request, int]] = []
        self.kinds: dict[Request, list[str]] = {}
        self.computing: list[Batch] = []
        self.put_back: list[Piece] = []
        self.finished: list[Request] = []
        self.given_up: list[Request] = []

    @rule(
        rows=st.lists(st.tuples(st.integers(1, 12), KINDS), max_size=5), patience=st.integers(1, 9)
    )
    def somebody_asks(self, rows: list[tuple[int, str]], patience: int) -> None:
        one = request(*(tokens for tokens, _ in rows), came=self.now, deadline=self.now + patience)
        rows_then, tokens_then = self.queue.rows + len(rows), self.queue.tokens + sum(one.tokens)
        try:
            self.queue.offer(one, 1.0)
        except Full:
            assert rows_then > 6 or tokens_then > 30
            return
        assert rows_then <= 6
        assert tokens_then <= 30
        if rows:
            self.kinds[one] = [kind for _, kind in rows]
            self.waiting += [(one, place) for place in range(len(rows))]

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def somebody_goes(self, data: st.DataObject) -> None:
        self._gone(data.draw(st.sampled_from(self.open())))

    @rule(budget=st.integers(1, 30))
    def a_worker_is_free(self, budget: int) -> None:
        batch, late = self.queue.take(self.now, budget)
        for one in late:
            assert one.deadline <= self.now
            assert one in self.open()
            self._gone(one)
        if batch is None:
            assert not self.waiting
            self.put_back = [p for p in self.put_back if not p.request.over]
            assert not self.put_back
            return
        self.computing.append(batch)
        assert all(not p.request.over and p.request.deadline > self.now for p in batch.pieces)
        if batch.pieces[0] in self.put_back:
            assert all(piece in self.put_back for piece in batch.pieces)
            self.put_back = [p for p in self.put_back if p not in batch.pieces]
            return
        rows = [(piece.request, piece.place) for piece in batch.pieces]
        assert rows == self.waiting[: len(rows)]
        self.waiting = self.waiting[len(rows) :]
        assert batch.tokens <= budget or len(rows) == 1
        if self.waiting:
            one, place = self.waiting[0]
            assert batch.tokens + one.tokens[place] > budget or one.deadline <= self.now

    @precondition(lambda self: self.computing)
    @rule(data=st.data())
    def a_worker_is_done(self, data: st.DataObject) -> None:
        self._compute(self.computing.pop(data.draw(st.integers(0, len(self.computing) - 1))))

    @precondition(lambda self: self.computing)
    @rule(data=st.data())
    def a_worker_dies_of_something_else(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.computing))
        if all(piece.deaths == 0 for piece in batch.pieces):  # whose bad luck is double is failed
            self.computing.remove(batch)
            self._died(batch)

    @invariant()
    def what_waits_is_counted_and_bounded(self) -> None:
        assert self.queue.rows == len(self.waiting) <= 6
        assert self.queue.tokens == sum(one.tokens[place] for one, place in self.waiting) <= 30

    @invariant()
    def every_row_without_an_answer_is_in_one_place(self) -> None:
        places = [(p.request, p.place) for p in self.put_back if not p.request.over]
        places += [(p.request, p.place) for b in self.computing for p in b.pieces]
        places += self.waiting
        counts = Counter((one, place) for one, place in places if not one.over)
        missing = {
            (one, place)
            for one in self.open()
            for place, said in enumerate(one.said)
            if said is NOTHING
        }
        assert counts == dict.fromkeys(missing, 1)

    def teardown(self) -> None:
        """Everything that is still open comes to its end."""
        self.now = -math.inf  # nobody is late any more
        while self.computing or self.queue:
            while self.computing:
                self._compute(self.computing.pop())
            self.a_worker_is_free(10)
        assert not self.open()
        assert len(set(self.finished)) == len(self.finished)
        for one in self.finished:
            for kind, said in zip(self.kinds[one], one.said, strict=True):
                assert said is not NOTHING
                assert isinstance(said, Failed) == (kind != FINE)

    # ---------------------------------------------------------------------------------------------

    def open(self) -> list[Request]:
        return [o for o in self.kinds if o not in self.finished and o not in self.given_up]

    def _gone(self, one: Request) -> None:
        self.queue.withdraw(one)
        self.given_up.append(one)
        self.waiting = [(other, place) for other, place in self.waiting if other is not one]

    def _compute(self, batch: Batch) -> None:
        kinds = [self.kinds[piece.request][piece.place] for piece in batch.pieces]
        if KILLER in kinds:
            self._died(batch)
        elif POISON in kinds:
            self.finished += self.queue.raised(batch, "poison")
            self._left(batch)
        else:
            answers = [{"mood": np.zeros(2, dtype=np.float32)} for _ in kinds]
            self.finished += self.queue.answered(batch, answers, 0.1)

    def _died(self, batch: Batch) -> None:
        self.finished += self.queue.died(batch, "killed")
        assert all(piece.deaths <= MOST_DEATHS for piece in batch.pieces)
        self._left(batch)

    def _left(self, batch: Batch) -> None:
        missing = [p for p in batch.pieces if p.request.said[p.place] is NOTHING]
        self.put_back += [p for p in missing if not p.request.over]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
