"""From look-aheads to what is told of them: means, intervals, groups."""

from collections.abc import Sequence

import numpy as np

from trivium.run.folder.affinity import Affinity, Grouping
from trivium.run.lookahead.follow import Look, Seen
from trivium.run.lookahead.grouping import MOST_EXACT, best_groups, shares, value
from trivium.run.lookahead.intervals import HIGH, LOW, Floats, bounds, resampled_means

FEWEST = 2
"""Look-aheads without which there is no interval."""


def conclude(seen: Seen, look: Look, encoders: int | None) -> Affinity:
    """What all look-aheads say together. encoders: at most so many; None: as few as harm no task.

    Without a limit the grouping with the fewest encoders is suggested in which no task is harmed by
    the others of its group beyond what these measurements can tell from noise; with one, the
    grouping of those whose tasks gain most, of equals the one with fewer encoders.
    """
    tasks, gain_MTT = seen.tasks, np.stack(seen.gains)
    mean_RTT = resampled_means(gain_MTT)
    low_TT, high_TT = bounds(mean_RTT)
    groupings = _groupings(tasks, gain_MTT.mean(0), mean_RTT)
    return Affinity(
        tasks=tasks,
        gain=gain_MTT.mean(0).tolist(),
        low=low_TT.tolist(),
        high=high_TT.tolist(),
        measurements=len(seen.gains),
        steps=seen.steps,
        every=look.every,
        length=look.length,
        seed=seen.seed,
        stopped=seen.stopped,
        exact=len(tasks) <= MOST_EXACT,
        groupings=groupings,
        suggested=_suggested(groupings, encoders),
        halves=_halves(tasks, gain_MTT, encoders),
    )


def _groupings(tasks: Sequence[str], gain_TT: Floats, mean_RTT: Floats) -> list[Grouping]:
    """The best with one encoder, two, …"""
    found = []
    for groups in best_groups(gain_TT):
        onto_RT = np.einsum("rij,ij->rj", mean_RTT, shares(groups))
        low, high = np.quantile(onto_RT.sum(1), [LOW, HIGH])
        # Harmed is who gains less than nothing, by the upper end of its interval.
        is_harmed_T = np.quantile(onto_RT, HIGH, axis=0) < 0
        found.append(
            Grouping(
                encoders=len(groups),
                groups=[[tasks[place] for place in group] for group in groups],
                gain=value(gain_TT, groups),
                low=float(low),
                high=float(high),
                harmed=[tasks[p] for group in groups for p in group if is_harmed_T[p]],
            )
        )
    return found


def _halves(tasks: Sequence[str], gain_MTT: Floats, encoders: int | None) -> list[list[list[str]]]:
    """What either half of the look-aheads suggests by itself: a suggestion that hangs on noise, or
    on when one looks, is another one in the other half."""
    middle = len(gain_MTT) // 2
    if middle < FEWEST:
        return []
    found = []
    for half_MTT in (gain_MTT[:middle], gain_MTT[middle:]):
        groupings = _groupings(tasks, half_MTT.mean(0), resampled_means(half_MTT))
        found.append(groupings[_suggested(groupings, encoders)].groups)
    return found


def _suggested(groupings: Sequence[Grouping], encoders: int | None) -> int:
    if encoders is None:  # each alone, nobody is harmed
        return next(place for place, each in enumerate(groupings) if not each.harmed)
    allowed = range(min(encoders, len(groupings)))
    return max(allowed, key=lambda place: groupings[place].gain)
