"""What is said of figures: goals, the strongest peer, memory over minutes."""

import json
import math
from dataclasses import replace

import pytest
from benchmarks.goals import Goal, at_most
from benchmarks.kernels import busy
from benchmarks.serving import shown
from benchmarks.serving.answers import TASKS, labels_of, same
from benchmarks.serving.figures import Interval
from benchmarks.serving.memory import Sample, replaced, slopes, verdict
from benchmarks.serving.trials import Poisoned

from benchmarks import goals

PLAIN = Interval(100, 0, 50.0, 2.0, 0.5, 10.0, 20.0, 30.0)


def test_a_goal_is_reached_on_its_side_and_not_where_nothing_was_measured() -> None:
    assert Goal("a", 4.5, 4.5).is_reached
    assert not Goal("a", 4.5, 4.4).is_reached
    assert at_most("a", 0.7, 0.7).is_reached
    assert not at_most("a", 0.7, 0.71).is_reached
    assert not at_most("a", 0.0, math.nan).is_reached
    assert not Goal("a", 0.0, math.nan).is_reached
    assert goals.measured([Goal("a", 1, math.nan), Goal("b", 1, 2)]) == [Goal("b", 1, 2)]


def test_the_table_of_goals_says_which_way_they_go() -> None:
    text = goals.table([Goal("speed", 4.5, 5.25), at_most("cost", 0.7, 0.9)])
    assert "| speed | ≥ 4.5 | 5.25 | yes |" in text
    assert "| cost | ≤ 0.7 | 0.9 | no |" in text


def test_ours_is_compared_with_the_strongest_of_each_kind_in_each_figure() -> None:
    """The cheapest of two, the fastest of two, whatever else they are worse in."""
    closed = {
        "ours": PLAIN,
        "lit_ours": replace(PLAIN, per_s=40.0, cpu_ms=3.0),
        "lit_ours_all": replace(PLAIN, per_s=60.0, cpu_ms=9.0),
        "lit_bf16": replace(PLAIN, cpu_ms=12.0),
        "lit_bf16_all": replace(PLAIN, cpu_ms=10.0),
        "pipelines_fp32": replace(PLAIN, cpu_ms=40.0),
        "pipelines_bf16": replace(PLAIN, cpu_ms=24.0),
    }
    found = {goal.what: goal.found for goal in shown.goals(closed, closed, closed)}
    assert found["CPU of LitServe with three bf16 models over ours"] == 5.0
    assert found["CPU of three pipelines behind FastAPI over ours"] == 12.0
    assert found["requests/s over LitServe with the same engine"] == pytest.approx(50 / 60)
    assert found["front process, CPU ms a request"] == 0.5


def test_what_was_left_out_is_no_goal() -> None:
    alone = {"ours": PLAIN}
    assert [goal.what for goal in shown.goals(alone, alone, alone)] == [
        "front process, CPU ms a request"
    ]


def test_no_failures_among_no_answers_show_nothing() -> None:
    nobody = Poisoned(answered=0, failed=0, statuses={}, poison={500: 3}, p99_ms=math.nan)
    assert not shown.poison_goals({"ours": nobody})[0].is_reached
    assert shown.poison_goals({"ours": replace(nobody, answered=5)})[0].is_reached


# --- answers -----------------------------------------------------------------------------------
def test_labels_are_found_in_every_server_s_form() -> None:
    wanted = dict(zip(TASKS, "abc", strict=True))
    forms = (
        {"answers": [{t: {"prediction": w, "confidence": 0.5} for t, w in wanted.items()}]},
        {t: {"label": w, "probabilities": {w: 0.5}} for t, w in wanted.items()},
        {t: [{"label": w, "score": 0.5}, {"label": "z", "score": 0.1}] for t, w in wanted.items()},
    )
    for form in forms:
        assert labels_of(shown_as_json(form), TASKS) == wanted
    with pytest.raises(ValueError, match="without sentiment"):
        labels_of(b'{"error": "no"}', TASKS)


def test_servers_agree_in_a_share_of_labels() -> None:
    one = [{"x": "a", "y": "b"}, {"x": "a", "y": "b"}]
    other = [{"x": "a", "y": "b"}, {"x": "c", "y": "b"}]
    assert same(one, one) == 1.0
    assert same(one, other) == 0.75


def shown_as_json(value: object) -> bytes:
    return json.dumps(value).encode()


# --- memory ------------------------------------------------------------------------------------
def test_memory_is_judged_from_when_it_has_settled() -> None:
    """It doubles in the first minute, and then stays, or grows by 3 MiB a minute."""
    samples = [
        Sample(second, {1: 50 + min(second, 60), 2: 50 + min(second, 60) + 0.05 * second})
        for second in range(0, 600, 10)
    ]
    found = slopes(samples, 60)
    assert found == pytest.approx({1: 0.0, 2: 3.0})
    assert verdict({1: found[1]}, 0, 0).startswith("memory is flat")
    assert verdict(found, 2, 0) == "memory grows (+3.00 MiB a minute at most); 2 requests failed"


def test_a_process_that_was_replaced_is_told_of() -> None:
    samples = [Sample(0, {1: 5.0, 2: 5.0}), Sample(10, {1: 5.0, 3: 5.0})]
    assert replaced(samples) == 1
    assert set(slopes(samples, 0)) == {1, 3}
    assert "1 processes were replaced" in verdict(slopes(samples, 0), 0, 1)


def test_too_short_a_time_and_a_server_that_ended_are_no_verdict_on_memory() -> None:
    assert verdict(slopes([Sample(0, {1: 5.0})], 0), 0, 0).startswith("too short")
    assert verdict(slopes([Sample(0, {})], 0), 7, 0) == "the server ended; 7 requests failed"


def test_a_gpu_is_busy_once_however_many_kernels_run_at_a_time() -> None:
    assert busy([]) == 0
    assert busy([(5.0, 7.0), (0.0, 2.0), (1.0, 3.0), (5.5, 6.0), (7.0, 8.0)]) == 6.0
