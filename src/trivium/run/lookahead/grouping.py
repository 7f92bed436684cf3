"""Which tasks belong on one encoder: groups by what their tasks gain from one another."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MOST_EXACT = 10
"""Tasks up to which every grouping is compared; of more, groups are merged greedily."""

Groups = tuple[tuple[int, ...], ...]
"""Places of the tasks, each in one group; in the order of each group's first task."""


def onto(gain_TT: NDArray[np.float64], group: Sequence[int], task: int) -> float:
    """What a task gains from its group: the mean over the others in it, and 0 where it is alone
    (Fifty et al. 2021, section 3.2, where a group's tasks are averaged in this way)."""
    others = [place for place in group if place != task]
    return float(gain_TT[others, task].mean()) if others else 0.0


def value(gain_TT: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> float:
    """The sum over all tasks of what each gains from its group."""
    return sum(onto(gain_TT, group, task) for group in groups for task in group)


def shares(groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """What each task's step counts in what another one of its group gains: share_TT, so that
    (share_TT * gain_TT).sum(0) is `onto` of every task, and the sum of all `value`."""
    tasks = sum(len(group) for group in groups)
    share_TT = np.zeros((tasks, tasks))
    for group in groups:
        share_TT[np.ix_(group, group)] = 1 / max(1, len(group) - 1)
    np.fill_diagonal(share_TT, 0)
    return share_TT


def best_groups(gain_TT: NDArray[np.float64]) -> list[Groups]:
    """The best grouping into one group, two, …, as many as there are tasks.

    gain_TT[i, j]: what a step for task i gains task j. Exact up to MOST_EXACT tasks; the first of
    equals in the order of the tasks. With more of them groups are merged from single tasks on, two
    at a time, those first whose union is worth most.
    """
    if len(gain_TT) > MOST_EXACT:
        return _merged(gain_TT)
    return _exact(gain_TT)


def _exact(gain_TT: NDArray[np.float64]) -> list[Groups]:
    tasks = len(gain_TT)

    @cache
    def worth(group: tuple[int, ...]) -> float:
        return value(gain_TT, [group])

    @cache
    def best(left: tuple[int, ...], count: int) -> tuple[float, Groups]:
        """Of these tasks in so many groups, by the group that the first of them is in."""
        if count == 1:
            return worth(left), (left,)
        options = []
        for group in _with_first(left, len(left) - count + 1):
            rest = tuple(task for task in left if task not in group)
            score, groups = best(rest, count - 1)
            options.append((worth(group) + score, (group, *groups)))
        return max(options, key=lambda option: option[0])

    return [best(tuple(range(tasks)), count)[1] for count in range(1, tasks + 1)]


def _with_first(left: tuple[int, ...], most: int) -> Iterator[tuple[int, ...]]:
    """Groups of at most so many, the first task in each."""
    for size in range(most):
        for others in combinations(left[1:], size):
            yield (left[0], *others)


def _merged(gain_TT: NDArray[np.float64]) -> list[Groups]:
    groups: Groups = tuple((task,) for task in range(len(gain_TT)))
    found = [groups]
    change: Callable[[tuple[int, int]], float]
    while len(groups) > 1:
        whole = groups

        def change(pair: tuple[int, int], whole: Groups = whole) -> float:
            one, other = whole[pair[0]], whole[pair[1]]
            return value(gain_TT, [one + other]) - value(gain_TT, [one, other])

        first, second = max(combinations(range(len(groups)), 2), key=change)
        union = tuple(sorted(groups[first] + groups[second]))
        others = [g for place, g in enumerate(groups) if place not in (first, second)]
        groups = tuple(sorted([union, *others]))
        found.append(groups)
    return found[::-1]
