"""Streams: every row in its turn, and the same rows again after a restart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.text.streams import Stream


def stream(
    rows: int = 10, size: int = 4, cap: int | None = None, *, name: str = "a", seed: int = 0
) -> Stream:
    return Stream(name, rows, size, seed, cap or rows)


def drawn(source: Stream, batches: int) -> list[list[int]]:
    return [source.draw().tolist() for _ in range(batches)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@given(rows=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 2**40))
def test_every_pass_has_every_row_once(rows: int, size: int, seed: int) -> None:
    source = stream(rows, size, seed=seed)
    for _ in range(3):
        batches = drawn(source, source.batches_per_epoch)
        assert sorted(flat(batches)) == list(range(rows))


@given(rows=st.integers(1, 40), size=st.integers(1, 50), cap=st.integers(1, 90))
def test_all_batches_are_full_but_the_last_of_an_epoch(rows: int, size: int, cap: int) -> None:
    source = stream(rows, size, cap)
    for _ in range(2):
        *full, last = map(len, drawn(source, source.batches_per_epoch))
        assert all(length == size for length in full)
        assert last == cap - size * len(full)
        assert 1 <= last <= size


@given(rows=st.integers(1, 40), size=st.integers(1, 50), cap=st.integers(1, 90))
def test_capped_epochs_go_on_where_the_one_before_ended(rows: int, size: int, cap: int) -> None:
    capped, whole = stream(rows, size, cap), stream(rows, 1)
    found = flat(drawn(capped, 4 * capped.batches_per_epoch))
    assert found == flat(drawn(whole, 4 * cap))


def test_capped_epochs_reach_every_row_before_any_comes_again() -> None:
    source = stream(rows=10, size=2, cap=4)
    rows = flat(drawn(source, 10))  # five epochs of four rows: two passes
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))


@given(
    rows=st.integers(1, 30), size=st.integers(1, 35), cap=st.integers(1, 70),
    done=st.integers(0, 20),
)  # fmt: skip
def test_restored_stream_goes_on_as_if_never_stopped(
    rows: int, size: int, cap: int, done: int
) -> None:
    source = stream(rows, size, cap)
    drawn(source, done)
    restored = stream(rows, size, cap)
    restored.drawn = source.drawn
    assert source.drawn == done
    assert drawn(restored, 8) == drawn(source, 8)


def test_passes_are_shuffled_differently() -> None:
    source = stream(rows=50, size=50)
    first, second = drawn(source, 2)
    assert first != second
    assert list(range(50)) not in (first, second)


@pytest.mark.parametrize("other", [stream(50, seed=1), stream(50, name="b")])
def test_other_seeds_and_other_names_give_other_orders(other: Stream) -> None:
    wanted = drawn(stream(50), 12)
    assert drawn(stream(50), 12) == wanted
    assert drawn(other, 12) != wanted


def test_order_does_not_depend_on_the_batch_size() -> None:
    assert flat(drawn(stream(12, 3), 4)) == flat(drawn(stream(12, 4), 3))
