"""What a verdict says is true of its numbers, and can be read alone."""

from dataclasses import replace

import pytest

from trivium.run.verdict.facts import Comparison, OnePass, Outcome, Summary
from trivium.run.verdict.sentences import outcome_of, saved, sentence, signed, summed_up


def comparison(
    scores: tuple[float, float],
    bounds: tuple[float, float],
    seeds: tuple[int, int] = (2, 3),
    *,
    is_sharing: bool = True,
    p: float = 0.01,
    tests: int = 1,
    corrected: Outcome | None = None,
) -> Comparison:
    before, after = scores
    return Comparison(
        system="all", baseline="one", task="mood", metric="accuracy", is_sharing=is_sharing,
        rows=100, differing=50, before=before, after=after, difference=after - before,
        low=bounds[0], high=bounds[1], by_seed={}, seeds=seeds, resamples=1000,
        outcome=outcome_of(after - before, *bounds), p=p, tests=tests, adjusted_p=tests * p,
        corrected=corrected or outcome_of(after - before, *bounds), sentence="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "bounds", "is_sharing", "said"),
    [
        (
            (0.470, 0.464), (-0.025, 0.013), True,
            "all: sharing cost 0.6 points on mood (accuracy 47.0 -> 46.4, 95 % interval -2.5 to "
            "+1.3: not distinguishable from noise)",
        ),
        (
            (0.866, 0.88), (0.004, 0.025), True,
            "all: sharing gained 1.4 points on mood (accuracy 86.6 -> 88.0, 95 % interval +0.4 to "
            "+2.5: more than noise)",
        ),
        (
            (0.5, 0.48), (-0.03, -0.01), False,
            "all lost 2.0 points on mood over one (accuracy 50.0 -> 48.0, 95 % interval -3.0 to "
            "-1.0: more than noise)",
        ),
        (
            (0.5, 0.5002), (-0.03, 0.0001), True,
            "all: sharing changed less than 0.1 points on mood (accuracy 50.0 -> 50.0, "
            "95 % interval -3.0 to +0.01: not distinguishable from noise)",
        ),
        (
            (0.5, 0.5), (0.0, 0.0), True,
            "all: sharing changed nothing on mood (accuracy 50.0 -> 50.0, "
            "95 % interval 0.0 to 0.0: no difference at all)",
        ),
    ],
)  # fmt: skip
def test_a_comparison_is_one_plain_sentence(
    scores: tuple[float, float], bounds: tuple[float, float], is_sharing: bool, said: str
) -> None:
    assert sentence(comparison(scores, bounds, is_sharing=is_sharing)) == said


@pytest.mark.parametrize("seeds", [(1, 3), (3, 1), (1, 1)])
def test_where_a_side_has_one_seed_the_sentence_itself_says_so(seeds: tuple[int, int]) -> None:
    for scores, bounds in (((0.8, 0.9), (0.05, 0.15)), ((0.9, 0.8), (-0.15, -0.05))):
        said = sentence(comparison(scores, bounds, seeds))
        assert said.endswith(": more than the noise of these rows; one seed only)")
    said = sentence(comparison((0.8, 0.9), (-0.05, 0.15), seeds))
    assert said.endswith(": not distinguishable from noise)")


def test_a_difference_is_beyond_noise_if_its_interval_leaves_out_0() -> None:
    assert outcome_of(0.1, 0.01, 0.2) == "better"
    assert outcome_of(-0.1, -0.2, -0.01) == "worse"
    assert outcome_of(0.1, 0.0, 0.2) == "noise"
    assert outcome_of(-0.1, -0.2, 0.0) == "noise"
    assert outcome_of(0.0, 0.0, 0.0) == "same"


def test_errors_of_rounding_are_no_differences() -> None:
    assert outcome_of(1e-17, -1e-17, 1e-17) == "same"
    assert outcome_of(0.1, 1e-17, 0.2) == "noise"
    assert signed(-1e-17) == signed(0.0) == "0.0"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.013, "+1.3"), (0.0003, "+0.03"), (-0.00049, "-0.05"), (2e-6, "+0.0002"), (0.0005, "+0.1")],
)
def test_what_is_not_0_never_reads_0(value: float, shown: str) -> None:
    assert signed(value) == shown


def test_a_bound_just_above_0_does_not_read_as_if_it_held_0() -> None:
    said = sentence(comparison((0.80, 0.82), (0.0003, 0.04)))
    assert said.endswith("95 % interval +0.03 to +4.0: more than noise)")


def summary(
    seeds: int,
    outcomes: tuple[list[str], ...],
    baselines: list[str],
    alone: tuple[list[str], list[str]] = ([], []),
) -> str:
    better, worse, undecided, same = outcomes
    return summed_up(
        Summary(
            system="all", baselines=baselines, is_sharing=len(baselines) > 1, better=better,
            worse=worse, better_alone=alone[0], worse_alone=alone[1], undecided=undecided,
            same=same, tasks=sum(map(len, [*outcomes, *alone])),
            seeds=seeds, parameters=1 / 3, train_seconds=None, answer_seconds=1.5, sentence="",
        )
    )  # fmt: skip


def test_the_last_line_says_which_tasks_are_better_worse_and_undecided() -> None:
    assert summary(2, (["b"], ["c"], ["a", "e"], []), ["a", "b", "c", "e"]) == (
        "all, one model in place of 4 single-task models, is not measurably worse on 3 of 4 tasks; "
        "beyond noise (Holm over 4 tasks) it is better on b and worse on c; undecided on a and e; "
        "at 33 % of the parameters and 150 % of the time to answer."
    )
    assert summary(1, (["b"], [], [], ["c"]), ["one"]) == (
        "all, against one, is not measurably worse on 2 of 2 tasks; beyond the noise of these rows "
        "(one seed only; Holm over 2 tasks) it is better on b and worse on none; no different on "
        "c; at 33 % of the parameters and 150 % of the time to answer."
    )


def test_what_only_its_own_interval_shows_is_named_and_counts_as_measurably_worse() -> None:
    said = summary(2, (["b"], [], ["a"], []), ["x", "y", "z", "v"], alone=(["d"], ["c", "e"]))
    assert "is not measurably worse on 3 of 5 tasks; beyond noise (Holm over 5 tasks)" in said
    assert "by their own intervals only better on d and worse on c and e; undecided on a;" in said


def test_a_difference_that_the_correction_takes_away_says_so_with_both_p_values() -> None:
    one = comparison((0.8, 0.9), (0.05, 0.15), p=0.02, tests=9, corrected="noise")
    assert sentence(one).endswith(
        "95 % interval +5.0 to +15.0, p .020, .180 after Holm: more than noise by itself, not "
        "after Holm's correction over 9 tasks)"
    )
    stays = comparison((0.8, 0.9), (0.05, 0.15), p=0.0004, tests=9)
    assert sentence(stays).endswith("p < .001, .004 after Holm: more than noise)")


def test_what_one_pass_saves_is_told_as_far_as_it_is_known() -> None:
    known = OnePass(
        system="all", tasks=["a", "b"], asked=["a", "b"], parameters=22_700_000,
        parameters_apart=45_400_000, disk_bytes=2**20, disk_bytes_apart=2**21, texts=100, ms=1.25,
        ms_apart=2.5, sentence="",
    )  # fmt: skip
    assert saved(known) == (
        "all, one model in place of 2 single-task models: 22.7 in place of 45.4 million "
        "parameters, 1.0 in place of 2.0 MiB on disk and 1.25 in place of 2.50 ms a text where "
        "all 2 tasks are asked about the same texts in one pass (2.0 times as fast)."
    )
    little = replace(known, disk_bytes=None, ms=None, texts=None)
    assert saved(little).endswith(": 22.7 in place of 45.4 million parameters.")
    assert saved(replace(little, parameters=None)).endswith(": nothing is told of what it saves.")
