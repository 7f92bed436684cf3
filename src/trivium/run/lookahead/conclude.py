"""From look-aheads to what is told of them: means, intervals, groups."""

from collections.abc import Sequence

import numpy as np

from trivium.run.folder.affinity import Affinity, Grouping
from trivium.run.lookahead.follow import Look, Seen
from trivium.run.lookahead.grouping import MOST_EXACT, best_groups, shares, value
from trivium.run.lookahead.intervals import CHANCE, FEWEST, Floats, bounds, resampled_means


def conclude(seen: Seen, look: Look, encoders: int | None) -> Affinity:
    """What all look-aheads say together. encoders: at most so many; None: as few as harm no task.

    Without a limit the grouping with the fewest encoders is suggested in which no task is harmed by
    the others of its group beyond what these measurements can tell from noise; with one, the
    grouping of those whose tasks gain most, of equals the one with fewer encoders.
    """
    tasks, gain_MTT = seen.tasks, np.stack(seen.gains)
    low_TT, high_TT = bounds(gain_MTT.mean(0), resampled_means(gain_MTT), len(gain_MTT))
    groupings = _groupings(tasks, gain_MTT)
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


def _groupings(tasks: Sequence[str], gain_MTT: Floats) -> list[Grouping]:
    """The best with one encoder, two, …"""
    gain_TT, mean_RTT, count = gain_MTT.mean(0), resampled_means(gain_MTT), len(gain_MTT)
    found = []
    for groups in best_groups(gain_TT):
        share_TT = shares(groups)
        onto_T = (share_TT * gain_TT).sum(0)
        onto_RT = np.einsum("rij,ij->rj", mean_RTT, share_TT)
        low, high = bounds(onto_T.sum(), onto_RT.sum(1), count)
        # Harmed is who gains less than nothing; of many tasks one would seem so by chance, unless
        # each may by a part of it alone (Bonferroni).
        is_harmed_T = bounds(onto_T, onto_RT, count, CHANCE / len(tasks))[1] < 0
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
        groupings = _groupings(tasks, half_MTT)
        found.append(groupings[_suggested(groupings, encoders)].groups)
    return found


def _suggested(groupings: Sequence[Grouping], encoders: int | None) -> int:
    if encoders is None:  # each alone, nobody is harmed
        return next(place for place, each in enumerate(groupings) if not each.harmed)
    allowed = range(min(encoders, len(groupings)))
    return max(allowed, key=lambda place: groupings[place].gain)
