"""What a server leaves to Python's collector of objects that hold one another."""

import gc
from typing import Any

import pytest

import trivium
from tests.support.serving import client_of, waiting
from trivium.apps.serve.garbage import looked_for_rarely

ASK = {"rows": {"text": "good cat"}}


@pytest.mark.thorough
def test_what_is_there_before_is_not_looked_at_and_is_again_in_the_end() -> None:
    gc.collect()
    there = [[place] for place in range(2_000)]
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    with looked_for_rarely():
        assert gc.get_freeze_count() >= frozen + len(there)
        assert gc.get_threshold() > threshold
    assert gc.get_threshold() == threshold
    assert bool(gc.get_freeze_count()) == bool(frozen)  # what others set apart stays so


@pytest.mark.parametrize(
    ("body", "time_s", "status"), [(ASK, "30", 200), ({"rows": 7}, "30", 422), (ASK, "0.01", 504)]
)
async def test_requests_leave_nothing_that_holds_itself(
    model: trivium.Predictor, body: dict[str, Any], time_s: str, status: int
) -> None:
    async with client_of(model) as client:
        if status == 504:
            client.service.may_go.clear()
        await client.ask("/v1/predict", body, x_request_timeout=time_s)
        await waiting(client, 0)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                answer = await client.ask("/v1/predict", body, x_request_timeout=time_s)
                assert answer.status_code == status
            await waiting(client, 0)
            assert _kept() == 0
        finally:
            gc.enable()
        client.service.may_go.set()


def _kept() -> int:
    """Objects of ours that only the collector lets go of."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = sum(type(each).__module__.startswith("trivium.") for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    return found
