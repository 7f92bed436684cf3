"""Another share of labels, estimated from rows without labels.

Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", section 3.2: expectation maximisation over the posteriors that a model gives, when
only the shares of the labels changed, and not how each label's texts look.
"""

from collections.abc import Sequence

import numpy as np

from trivium.answering.decide import Numbers

STEPS = 5000
CLOSE = 1e-9
FEWEST = 1e-6
"""Of a share: a label that no row seems to have is not ruled out for good."""


def new_shares(told_BK: Numbers, share_K: Numbers) -> Numbers:
    """Shares under which the rows are most likely: share_K.

    told_BK: probabilities under the shares that were; share_K: those.
    """
    now_K = share_K.copy()
    for _ in range(STEPS):
        # Equation 4: posteriors under the present shares; equation 9: their mean.
        posterior_BK = told_BK * (now_K / share_K)
        posterior_BK /= posterior_BK.sum(axis=1, keepdims=True)
        new_K = posterior_BK.mean(axis=0).clip(FEWEST)
        new_K /= new_K.sum()
        moved = float(np.abs(new_K - now_K).max())
        now_K = new_K
        if moved < CLOSE:
            break
    return now_K


def prior_of_one(
    told_BK: Numbers, share_K: Numbers, names: Sequence[str]
) -> tuple[dict[str, float], Numbers]:
    """What each label's probability is multiplied by, and the new shares."""
    new_K = new_shares(told_BK, share_K)
    return dict(zip(names, (new_K / share_K).tolist(), strict=True)), new_K


def prior_of_several(
    told_BK: Numbers, share_K: Numbers, names: Sequence[str]
) -> tuple[dict[str, float], Numbers]:
    """What each label's odds are multiplied by, and the new shares; each label by itself."""
    prior, found = {}, share_K.copy()
    for place, name in enumerate(names):
        two_2 = np.array([1 - share_K[place], share_K[place]])
        p_B = told_BK[:, place]
        new_2 = new_shares(np.stack([1 - p_B, p_B], axis=1), two_2)
        found[place] = new_2[1]
        prior[name] = float((new_2[1] / two_2[1]) / (new_2[0] / two_2[0]))
    return prior, found
