"""The models and requests of the benchmarks of servers."""

import json
from pathlib import Path

import pytest
from benchmarks.serving.answers import LABELS, POISON, TASKS
from benchmarks.serving.figures import OK, Outcome
from benchmarks.serving.mixture import LONGEST, REFUSED, failures, mixture
from benchmarks.serving.models import make_poisonable, make_run, sentences

import trivium
from trivium.errors import RecipeError


@pytest.mark.thorough
def test_a_text_with_the_poison_brings_the_computation_down_and_no_other_does(
    minilm: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    model, poisonable = trivium.load(run), trivium.load(make_poisonable(run, tmp_path / "poison"))
    texts = ["a lovely film", "poison, and a pill"]
    for task in TASKS:
        assert poisonable.probabilities(task, texts) == model.probabilities(task, texts)
    assert set(model.predict(TASKS[0], sentences(tmp_path)[:200])) <= set(LABELS)
    model.predict(TASKS[0], [f"a {POISON} here"])
    with pytest.raises(RecipeError, match="is no number"):
        poisonable.predict(TASKS[0], [*texts, f"a {POISON} here"])


def test_a_mixture_holds_what_is_answered_and_what_is_refused() -> None:
    texts = [f"text {place} of some" for place in range(50)]
    cases = mixture(texts, 1000, seed=0)
    assert cases == mixture(texts, 1000, seed=0)
    refused = [case for case in cases if case.wanted == REFUSED]
    assert 40 < len(refused) < 110
    assert len({case.ask.body for case in refused}) > 10
    for case in cases:
        if case.wanted == OK:
            rows = json.loads(case.ask.body)["rows"]
            assert all(0 < len(row["message"]) <= LONGEST for row in rows)


def test_a_request_failed_that_ended_in_another_way_than_it_should() -> None:
    cases = mixture(["a text"], 100, seed=0)
    good = next(place for place, case in enumerate(cases) if case.wanted == OK)
    bad = next(place for place, case in enumerate(cases) if case.wanted == REFUSED)
    outcomes = [
        Outcome(which, 0.0, 0.1, status)
        for which, status in ((good, 200), (good, 422), (bad, 422), (bad, 200), (bad, 500))
    ]
    assert [each.status for each in failures(outcomes, cases)] == [422, 200, 500]
