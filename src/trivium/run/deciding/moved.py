"""What was found on rows with labels, for rows without, among which labels have other shares."""

import numpy as np
from torch import Tensor

from trivium.answering.decide import Decide, Numbers
from trivium.errors import RecipeError
from trivium.parts.tasks import Labelled, Multilabel
from trivium.run.deciding.found import label_shares
from trivium.run.deciding.shares import (
    errors_of_one,
    errors_of_several,
    prior_of_one,
    prior_of_several,
)
from trivium.run.folder.decisions import Figures
from trivium.run.rows.splits import Split

SURE = 2
"""Standard errors that a share is to have moved by, before that is believed."""
MOVED = (
    "the figures are of the labelled rows, with the shares of labels that those have; what is "
    "answered from now on counts with the new shares"
)


def moved(
    task: Labelled, rows: Split, readout_BK: Tensor, found: tuple[Decide, Figures], where: str
) -> tuple[Decide, Figures]:
    """What was found on labelled rows, with the shares of labels among others.

    readout_BK: what the model says of these; where: their file; found: with `Wanted.biased`. Raises
    RecipeError.
    """
    decide, figures = found
    targets = [each.target for each in rows.examples if each.target is not None]
    share_K = label_shares(task, task.targets(targets))
    if not ((share_K > 0) & (share_K < 1)).all():
        raise RecipeError(
            f"--shares-from: task {task.name!r}: some label is on none or on all of the "
            f"{len(targets):,} labelled rows, so there is no share that could have changed."
        )
    told_BK = task.deciding(decide).decided(readout_BK).told_BK
    several = isinstance(task, Multilabel)
    moves, new_K = (prior_of_several if several else prior_of_one)(told_BK, share_K, task.names)
    errors_K = (errors_of_several if several else errors_of_one)(told_BK, share_K, new_K)
    prior = {name: decide.prior.get(name, 1.0) * move for name, move in moves.items()}
    decide = decide.model_copy(update={"prior": prior})
    shares = {
        name: [was, now]
        for name, was, now in zip(task.names, share_K.tolist(), new_K.tolist(), strict=True)
    }
    return decide, figures.model_copy(
        update={
            "decide": decide.model_dump(mode="json", exclude_defaults=True),
            "shares": shares,
            "shares_from": where,
            "notes": [*figures.notes, MOVED, *_unsure(new_K - share_K, errors_K, len(told_BK))],
        }
    )


def _unsure(change_K: Numbers, error_K: Numbers, rows: int) -> list[str]:
    if (np.abs(change_K) > SURE * error_K).any():
        return []
    return [
        f"on these {rows:,} rows no label's share differs by more than two standard errors of its "
        f"estimate (up to {100 * error_K.max():.1f} points): they may as well be unchanged; give "
        "more rows, or leave --shares-from out"
    ]
