"""Holm's correction agrees with scipy's building blocks, and p-values with intervals."""

import numpy as np
import pytest
from scipy import stats

from trivium.run.verdict.bootstrap import interval
from trivium.run.verdict.holm import adjusted, fewest_resamples, p_value


def test_holm_by_hand() -> None:
    """m = 4: the smallest times 4, then times 3, 2 and 1, none below the one before."""
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert adjusted([0.7, 0.9, 0.8]) == [1, 1, 1]
    assert adjusted([0.03]) == [0.03]
    assert adjusted([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_it_rejects_what_the_step_down_procedure_rejects(seed: int) -> None:
    """As Holm words it: step from the smallest, and stop at the first above alpha / (m - k + 1)."""
    p_T = np.random.default_rng(seed).beta(0.4, 3, size=1 + seed % 9)
    rejected = set()
    for k, place in enumerate(np.argsort(p_T)):
        if p_T[place] > 0.05 / (len(p_T) - k):
            break
        rejected.add(int(place))
    assert {place for place, p in enumerate(adjusted(p_T.tolist())) if p <= 0.05} == rejected


@pytest.mark.parametrize("seed", range(20))
def test_corrected_is_never_less_than_raw_keeps_the_order_and_is_within_bonferroni(
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    p_T = np.round(random.random(9) ** 3, 2)  # with ties
    found = np.array(adjusted(p_T.tolist()))
    assert (found >= p_T).all()
    assert (found <= np.minimum(1, 9 * p_T) + 1e-12).all()
    assert (np.diff(found[np.argsort(p_T, kind="stable")]) >= 0).all()
    for p in np.unique(p_T):
        assert len(set(found[p_T == p].tolist())) == 1
    # Less sure than Benjamini and Hochberg, who bound something weaker.
    assert (found >= stats.false_discovery_control(p_T) - 1e-12).all()
    order = random.permutation(9)
    assert adjusted(p_T[order].tolist()) == pytest.approx(found[order])


def test_a_p_value_is_beyond_5_percent_where_the_interval_leaves_out_0() -> None:
    random = np.random.default_rng(0)
    for shift in np.linspace(-3, 3, 61):
        difference_M = random.normal(shift, 1, size=2000)
        low, high = interval(difference_M)
        p = p_value(difference_M)
        if abs(p - 0.05) > 0.002:  # at the border a quantile lies between two resamples
            assert (p < 0.05) == (low > 0 or high < 0)


def test_a_p_value_of_normal_differences_is_that_of_the_normal_distribution() -> None:
    difference_M = np.random.default_rng(1).normal(2.0, 1.0, size=200_000)
    assert p_value(difference_M) == pytest.approx(2 * stats.norm.sf(2.0), rel=0.03)


def test_a_p_value_is_never_0_and_1_where_nothing_differs() -> None:
    assert p_value(np.ones(999)) == 2 / 1000
    assert p_value(-np.ones(999)) == 2 / 1000
    assert p_value(np.zeros(999)) == 1
    assert p_value(np.full(999, 1e-17)) == 1  # an error of rounding


def test_with_the_fewest_resamples_the_smallest_p_value_just_stands() -> None:
    for tests in (2, 9, 30):
        smallest = p_value(np.ones(fewest_resamples(tests)))
        assert adjusted([smallest] + [1.0] * (tests - 1))[0] == pytest.approx(0.05)
        assert (
            adjusted([p_value(np.ones(fewest_resamples(tests) - 1))] + [1.0] * (tests - 1))[0]
            > 0.05
        )
