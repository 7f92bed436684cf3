"""From look-aheads to what is told of them: means, intervals, groups."""

from collections.abc import Sequence

import numpy as np

from trivium.run.folder.affinity import Affinity, Grouping
from trivium.run.lookahead.follow import Look, Seen
from trivium.run.lookahead.grouping import MOST_EXACT, Groups, best_groups, onto, value
from trivium.run.lookahead.intervals import HIGH, Floats, bounds, resampled_means

FEWEST = 2
"""Look-aheads without which there is no interval."""


def conclude(seen: Seen, look: Look, encoders: int | None) -> Affinity:
    """What all look-aheads say together. encoders: at most so many; None: as few as harm no task.

    Without a limit the grouping with the fewest encoders is suggested in which no task is harmed by
    the others of its group beyond what these measurements can tell from noise; with one, the
    grouping of those whose tasks gain most, of equals the one with fewer encoders.
    """
    tasks, gain_MTT = seen.tasks, np.stack(seen.gains)
    gain_TT, mean_RTT = gain_MTT.mean(0), resampled_means(gain_MTT)
    low_TT, high_TT = bounds(mean_RTT)
    groupings = [
        Grouping(
            encoders=len(groups),
            groups=[[tasks[place] for place in group] for group in groups],
            gain=value(gain_TT, groups),
            harmed=[tasks[place] for place in _harmed(mean_RTT, groups)],
        )
        for groups in best_groups(gain_TT)
    ]
    return Affinity(
        tasks=tasks,
        gain=gain_TT.tolist(),
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
    )


def _harmed(mean_RTT: Floats, groups: Groups) -> list[int]:
    """Tasks that gain less than nothing from their group, by the upper end of its interval."""
    return [
        task
        for group in groups
        for task in group
        if np.quantile([onto(mean_TT, group, task) for mean_TT in mean_RTT], HIGH) < 0
    ]


def _suggested(groupings: Sequence[Grouping], encoders: int | None) -> int:
    if encoders is None:  # each alone, nobody is harmed
        return next(place for place, each in enumerate(groupings) if not each.harmed)
    allowed = range(min(encoders, len(groupings)))
    return max(allowed, key=lambda place: groupings[place].gain)
