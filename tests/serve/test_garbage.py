"""What a server leaves to Python's collector of objects that hold one another."""

import asyncio
import gc

import trivium
from tests.support.serving import client_of, waiting
from trivium.apps.serve.garbage import looked_for_rarely

ASK = {"rows": {"text": "good cat"}}


def test_what_is_there_before_is_not_looked_at_and_is_again_in_the_end() -> None:
    gc.collect()
    there = [{place: []} for place in range(2_000)]
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    with looked_for_rarely():
        assert gc.get_freeze_count() >= frozen + len(there)
        assert gc.get_threshold() > threshold
    assert gc.get_threshold() == threshold
    assert bool(gc.get_freeze_count()) == bool(frozen)  # what others set apart stays so


async def test_requests_leave_nothing_that_holds_itself(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        for body, headers, status in (
            (ASK, {}, 200),
            ({"rows": 7}, {}, 422),
            (ASK, {"x_request_timeout": "0.01"}, 504),
        ):
            if status == 504:
                client.service.may_go.clear()
            await client.ask("/v1/predict", body, **headers)
            await asyncio.sleep(0.02)
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    assert (await client.ask("/v1/predict", body, **headers)).status_code == status
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
