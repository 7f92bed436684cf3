"""`/openapi.json` is true: what it allows is answered, what it does not is refused."""

from collections import Counter
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

import trivium
from tests.support.serving import ThreadService, client_of, served
from trivium.apps.serve.app import ROUTES, create_app
from trivium.apps.serve.logs import Log
from trivium.apps.serve.settings import Settings

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
TIMEOUT = "X-Request-Timeout"
load_all_checks()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_described_is_what_is_done(model: trivium.Predictor) -> None:
    app = create_app(ThreadService(model), Settings(name="tiny", max_rows=8), Log(StringIO()))
    seen: Counter[tuple[str, bool, int]] = Counter()
    with served(app) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        rejection = schema.config.checks.negative_data_rejection
        # Too many rows are refused with a status of their own, which it does not expect.
        rejection.expected_statuses = ["400", "404", "413", "415", "422"]
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            has_input = operation.body or any(operation.iter_parameters())
            for mode in (POSITIVE, NEGATIVE) if has_input else (POSITIVE,):
                _asked(operation, mode, seen)()
    labels = {label for label, _, _ in seen}
    for method, path, _, _ in ROUTES:
        for task in model.forms if "{task}" in path else [""]:
            assert f"{method} {path.replace('{task}', task)}" in labels
    assert all(status < 500 for _, _, status in seen)
    posts = {label for label in labels if label.startswith("POST")}
    for label in posts:
        refused = [s for (where, is_allowed, s) in seen if where == label and not is_allowed]
        assert refused, label
        assert set(refused) <= {400, 404, 413, 415, 422}
    answered = {label for label, is_allowed, status in seen if is_allowed and status == 200}
    assert answered >= labels - {"POST /v2/models/{name}/infer"}


def _asked(
    operation: Any, mode: GenerationMode, seen: Counter[tuple[str, bool, int]]
) -> Callable[[], None]:
    """Asks what the description allows, or does not, and checks the answer against it."""
    # That all tensors are as long as their shapes say, and are some task's, is beyond a schema; so
    # is how many words a text has.
    is_beyond = operation.label.endswith(("/infer", "/explain"))
    beyond = [CHECKS.get_one("positive_data_acceptance")] if is_beyond else []

    @seed(1)
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if case.headers and (mode == POSITIVE or _is_short(case.headers.get(TIMEOUT))):
            case.headers.pop(TIMEOUT, None)  # of a billionth second, say
        response = case.call()
        seen[operation.label, mode == POSITIVE, response.status_code] += 1
        case.validate_response(response, excluded_checks=beyond)

    return ask


def _is_short(time: str | None) -> bool:
    try:
        return 0 < float(time or "") < 1
    except ValueError:
        return False


async def _examples(model: trivium.Predictor) -> list[tuple[str, Any, int]]:
    async with client_of(model) as client:
        found = (await client.get("/openapi.json")).json()
        asked = []
        for path, operations in found["paths"].items():
            content = operations.get("post", {}).get("requestBody", {}).get("content", {})
            for example in content.get("application/json", {}).get("examples", {}).values():
                filled = path.replace("{name}", "tiny")
                answer = await client.ask(filled, example["value"])
                asked.append((path, answer.json(), answer.status_code))
        return asked


async def test_every_example_is_answered(model: trivium.Predictor) -> None:
    asked = await _examples(model)
    assert {status for _, _, status in asked} == {200}
    assert len({path for path, _, _ in asked}) == 4 + len(model.forms)
