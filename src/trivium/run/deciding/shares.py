"""Another share of labels, estimated from rows without labels.

Saerens, Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
Probabilities", section 3.2: expectation maximisation over the posteriors that a model gives, when
only the shares of the labels changed, and not how each label's texts look.

That takes posteriors whose mean over the labelled rows is the labels' shares there; else what is
estimated is what the model is wrong about, too. A temperature alone does not see to it, so there is
a bias for each label (Alexandari, Kundaje & Shrikumar 2020, "Maximum Likelihood with Bias-Corrected
Calibration is Hard-To-Beat at Label Shift Adaptation", section 3).
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


def biases(told_BK: Numbers, share_K: Numbers) -> Numbers:
    """exp(b_K), by which probabilities are multiplied, and rescaled, so that their mean over these
    rows is share_K: the biases of the greatest likelihood, whose gradient is that difference.

    Found by iterative scaling (Darroch & Ratcliff 1972), which never overshoots.
    """
    share_K = share_K.clip(FEWEST)
    log_K = np.zeros(len(share_K))
    for _ in range(STEPS):
        posterior_BK = told_BK * np.exp(log_K)
        posterior_BK /= posterior_BK.sum(axis=1, keepdims=True)
        mean_K = posterior_BK.mean(axis=0).clip(FEWEST)
        log_K += np.log(share_K / mean_K)
        log_K -= log_K.mean()
        if float(np.abs(mean_K - share_K).max()) < CLOSE:
            break
    return np.exp(log_K)


def biases_of_one(told_BK: Numbers, share_K: Numbers, names: Sequence[str]) -> dict[str, float]:
    """What each label's probability is multiplied by."""
    return dict(zip(names, biases(told_BK, share_K).tolist(), strict=True))


def biases_of_several(told_BK: Numbers, share_K: Numbers, names: Sequence[str]) -> dict[str, float]:
    """What each label's odds are multiplied by; each label by itself."""
    found = {}
    for place, name in enumerate(names):
        no, yes = biases(*_two(told_BK[:, place], share_K[place]))
        found[name] = float(yes / no)
    return found


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
        p_B2, two_2 = _two(told_BK[:, place], share_K[place])
        new_2 = new_shares(p_B2, two_2)
        found[place] = new_2[1]
        prior[name] = float((new_2[1] / two_2[1]) / (new_2[0] / two_2[0]))
    return prior, found


def errors_of_one(told_BK: Numbers, share_K: Numbers, new_K: Numbers) -> Numbers:
    """Standard errors of new shares: by the likelihood's observed information, among changes that
    leave their sum at 1, and so as if the probabilities themselves were right."""
    ratio_BK = told_BK / share_K
    score_BK = ratio_BK / (ratio_BK @ new_K)[:, None]
    even = np.full((len(new_K), len(new_K)), 1 / len(new_K))
    free = np.eye(len(new_K)) - even
    # Never singular: what tells nothing has a large error.
    information = free @ score_BK.T @ score_BK @ free + even + 1e-9 * np.eye(len(new_K))
    errors_K: Numbers = np.sqrt(np.diag(free @ np.linalg.inv(information) @ free))
    return errors_K


def errors_of_several(told_BK: Numbers, share_K: Numbers, new_K: Numbers) -> Numbers:
    """As `errors_of_one`, of each label by itself."""
    found = []
    for p_B, was, now in zip(told_BK.T, share_K, new_K, strict=True):
        p_B2, two_2 = _two(p_B, was)
        found.append(errors_of_one(p_B2, two_2, np.array([1 - now, now]))[1])
    return np.array(found)


def _two(p_B: Numbers, share: float) -> tuple[Numbers, Numbers]:
    """That a label does not apply, and that it does."""
    return np.stack([1 - p_B, p_B], axis=1), np.array([1 - share, share])
