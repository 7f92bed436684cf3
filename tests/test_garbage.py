"""Garbage is not looked for while things are loaded, and is found afterwards."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from trivium.garbage import MANY, without_collection


class Thing:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    assert gc.isenabled()
    gc.unfreeze()  # what conftest.py froze
    yield
    gc.enable()
    gc.freeze()


def test_what_is_made_within_counts_as_looked_through() -> None:
    with without_collection():
        assert not gc.isenabled()
        things = [Thing() for _ in range(MANY + 1)]
    assert gc.isenabled()
    assert any(each is things[-1] for each in gc.get_objects(generation=2))
    assert gc.get_freeze_count() == 0


def test_what_is_frozen_is_not_counted_where_little_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []

    def count() -> int:
        counted.append(1)
        return 1

    monkeypatch.setattr(gc, "get_freeze_count", count)
    for objects, times in ((10, 0), (MANY + 1, 1)):
        with without_collection():
            kept = [Thing() for _ in range(objects)]
        assert len(counted) == times
        del kept


@pytest.mark.thorough
def test_garbage_that_was_made_within_goes_with_a_full_collection() -> None:
    with without_collection():
        things = [Thing() for _ in range(MANY + 1)]
        seen = weakref.ref(things[0])
        del things
    assert seen() is not None
    gc.collect()
    assert seen() is None


def test_an_error_leaves_the_search_as_it_was() -> None:
    with pytest.raises(KeyError), without_collection(), without_collection():
        raise KeyError
    assert gc.isenabled()


def test_a_caller_who_searches_by_hand_goes_on_to() -> None:
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_what_others_froze_stays_frozen() -> None:
    """A thing of ours, not how many: other threads may drop some of theirs meanwhile."""
    kept = Thing()
    gc.freeze()
    with without_collection():
        things = [Thing() for _ in range(MANY + 1)]
    assert things
    assert not any(each is kept for each in gc.get_objects())
