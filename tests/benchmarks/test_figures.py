"""From single requests to figures."""

import math
from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from benchmarks.serving.figures import (
    Cpu,
    Outcome,
    interval,
    medians,
    overload,
    percentile,
    poisson,
    regular,
    slope,
)
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


# --- percentiles -------------------------------------------------------------------------------
@given(NUMBERS, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_the_lowest_value_that_so_many_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    below = [value for value in values if value < found]
    assert len(below) < share * len(values)


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentiles_of_a_hundred_numbers_are_those_numbers(share: float, wanted: int) -> None:
    assert percentile(range(1, 101), share) == wanted


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


# --- when requests are due ---------------------------------------------------------------------
def test_requests_come_in_order_within_the_interval_at_the_rate_and_the_same_ones_again() -> None:
    due = poisson(100, 200, seed=3)
    assert due == sorted(due)
    assert due[0] > 0
    assert due[-1] < 200
    assert len(due) == pytest.approx(100 * 200, rel=0.03)
    assert due == poisson(100, 200, seed=3)
    assert due != poisson(100, 200, seed=4)


def test_gaps_between_requests_are_those_of_a_poisson_process() -> None:
    """Their standard deviation is their mean; evenly spaced ones would have none."""
    due = poisson(50, 400, seed=1)
    gaps = [after - before for before, after in pairwise(due)]
    assert pstdev(gaps) == pytest.approx(fmean(gaps), rel=0.05)


def test_regular_requests_fill_the_interval() -> None:
    assert regular(0.05, 0.2) == pytest.approx([0, 0.05, 0.1, 0.15])


# --- an interval -------------------------------------------------------------------------------
def test_an_interval_counts_what_was_answered_within_it_and_costs_what_all_requests_cost() -> None:
    outcomes = [
        Outcome(0, due_s=0.0, latency_s=0.4, status=200),  # in the lead
        Outcome(1, due_s=0.4, latency_s=0.4, status=200),  # begun in the lead, answered within
        Outcome(2, due_s=1.0, latency_s=0.2, status=200),
        Outcome(3, due_s=1.1, latency_s=0.1, status=503),
        Outcome(4, due_s=2.4, latency_s=0.3, status=200),  # answered too late to count
    ]
    found = interval(outcomes, lead_s=0.5, seconds=2.0, cpu=Cpu(front=0.01, others=0.04))
    assert found.per_s == 1.0
    assert (found.answered, found.failed) == (4, 1)
    assert found.cpu_ms == pytest.approx(10)
    assert found.front_cpu_ms == pytest.approx(2)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((200, 300))


@given(st.tuples(*[st.integers(0, 10**7)] * 4))
def test_of_processor_time_the_first_process_has_never_more_than_all(
    ticks: tuple[int, ...],
) -> None:
    """Clocks count hundredths, whose differences are rounded: all of it may be the first one's."""
    front, front_more, others, others_more = (each / 100 for each in ticks)
    before = Cpu(front, others)
    spent = Cpu(front + front_more, others + others_more).since(before)
    assert 0 <= spent.front <= spent.whole
    assert spent.whole == pytest.approx(front_more + others_more, abs=1e-6)


def test_the_median_of_rounds_is_taken_of_each_figure_and_failures_are_summed() -> None:
    rounds = [
        interval([Outcome(0, 0.0, 0.1, status)], 0.0, 1.0, Cpu(0.0, spent))
        for status, spent in ((200, 0.001), (500, 0.009), (200, 0.002))
    ]
    found = medians(rounds)
    assert found.cpu_ms == pytest.approx(2)
    assert (found.answered, found.failed) == (2, 1)


# --- too much ----------------------------------------------------------------------------------
def test_goodput_is_what_was_answered_in_time_while_too_much_came() -> None:
    outcomes = [
        Outcome(0, due_s=0.0, latency_s=0.5, status=200),
        Outcome(1, due_s=0.1, latency_s=3.0, status=200),  # after its deadline
        Outcome(2, due_s=9.9, latency_s=0.5, status=200),  # after the interval
        Outcome(3, due_s=1.0, latency_s=0.01, status=429),
    ]
    found = overload(outcomes, 10.0, capacity=0.2, deadline_s=2.0)
    assert found.goodput_per_s == pytest.approx(0.1)
    assert found.over_capacity == pytest.approx(0.5)
    assert found.p99_ms == pytest.approx(3000)
    assert found.statuses == {200: 3, 429: 1}


# --- slopes ------------------------------------------------------------------------------------
@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(2, 30))
def test_the_slope_of_points_on_a_line_is_the_line_s(steep: float, start: float, n: int) -> None:
    points = [(float(x), start + steep * x) for x in range(n)]
    assert slope(points) == pytest.approx(steep, abs=1e-6)


def test_a_jump_up_and_back_is_no_slope() -> None:
    assert slope([(0, 1), (1, 5), (2, 1)]) == 0


def test_one_moment_has_no_slope() -> None:
    assert math.isnan(slope([(1.0, 5.0), (1.0, 6.0)]))
    assert math.isnan(slope([]))
