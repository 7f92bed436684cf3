"""The verdict on several runs: what sharing an encoder cost or gained, and how sure that is."""

from trivium.run.verdict.bootstrap import RESAMPLES
from trivium.run.verdict.facts import Comparison, Cost, Group, Summary, TaskScore, Verdict
from trivium.run.verdict.verdict import verdict

__all__ = [
    "RESAMPLES",
    "Comparison",
    "Cost",
    "Group",
    "Summary",
    "TaskScore",
    "Verdict",
    "verdict",
]
