"""The kernels are tested also where the rest of the suite runs without them."""

from collections.abc import Iterator

import pytest

from tests.support.native import switched


@pytest.fixture(autouse=True)
def compiled_kernels_are_asked_for() -> Iterator[None]:
    with switched("1"):
        yield
