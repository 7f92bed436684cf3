"""What is thorough can be tried in parts, of which none is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.thorough import is_in, left_out


@given(st.text(), st.integers(1, 5))
def test_every_test_is_in_one_part(name: str, parts: int) -> None:
    assert sum(is_in(f"{number}/{parts}", name) for number in range(1, parts + 1)) == 1


def test_parts_are_of_about_one_size() -> None:
    names = [f"tests/run/test_some.py::test_a_thing[{number}]" for number in range(400)]
    assert 160 < sum(is_in("1/2", name) for name in names) < 240


def test_of_these_tests_only_thorough_ones_are_left_out(request: pytest.FixtureRequest) -> None:
    items = request.session.items
    assert left_out(items, "1/1") == []
    first, second = ({item.nodeid for item in left_out(items, part)} for part in ("1/2", "2/2"))
    thorough = {item.nodeid for item in items if item.get_closest_marker("thorough")}
    assert first | second == thorough
    assert not first & second
