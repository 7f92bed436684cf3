"""Ordered labels: probabilities of the cumulative link model, thresholds in order, answers."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from trivium.model.multitask import Head
from trivium.parts.tasks import AnyTask, Ordinal, Task

numbers = st.floats(-30, 30, width=32)


def ordinal(**settings: Any) -> Ordinal:
    given = {"name": "stars", "text": "a", "label": "y", "labels": [1, 2, 3, 4, 5]}
    return Ordinal.model_validate(given | settings)


def module(thresholds: list[float], task: Ordinal | None = None) -> Head:
    """A head whose one number is its text's first, with these raw thresholds."""
    task = task or ordinal(labels=[str(n) for n in range(len(thresholds) + 1)])
    head = task.build_head(1).eval()
    with torch.no_grad():
        head.get_parameter("score.linear.weight").fill_(1.0)
        head.get_parameter("thresholds").copy_(torch.tensor(thresholds))
    return head


def probabilities(thresholds: list[float], score: float) -> Tensor:
    output_BK = module(thresholds).decide(torch.tensor([[[score]]]))
    return ordinal().readout(output_BK)[0]


def by_definition(thresholds: list[float], score: float) -> list[float]:
    """P(y = k) from P(y <= k) = sigmoid(threshold_k - f), in double precision."""
    cuts = [float(thresholds[0])]
    for raw in thresholds[1:]:
        cuts.append(cuts[-1] + float(np.logaddexp(0.0, raw)))
    below = [0.0, *(1 / (1 + math.exp(score - cut)) for cut in cuts), 1.0]
    return [b - a for a, b in pairwise(below)]


def test_probabilities_by_hand() -> None:
    # Thresholds 0 and log 3 (softplus gives the distance), f = 0: P(y <= 0) = 1/2, P(y <= 1) = 3/4.
    raw = math.log(math.exp(math.log(3)) - 1)
    found = probabilities([0.0, raw], 0.0)
    assert found.tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    # f = log 3: P(y <= 0) = 1/4 and P(y <= 1) = 1/2.
    found = probabilities([0.0, raw], math.log(3))
    assert found.tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 2])


@given(thresholds=st.lists(st.floats(-3, 3), min_size=1, max_size=6), score=st.floats(-6, 6))
def test_probabilities_are_those_of_the_definition(thresholds: list[float], score: float) -> None:
    wanted = by_definition(thresholds, score)
    assert probabilities(thresholds, score).tolist() == pytest.approx(wanted, abs=1e-5)


@given(thresholds=st.lists(numbers, min_size=1, max_size=6), score=numbers, more=st.floats(0.1, 9))
def test_a_higher_score_never_makes_a_low_label_likelier(
    thresholds: list[float], score: float, more: float
) -> None:
    low, high = (probabilities(thresholds, value).cumsum(0) for value in (score, score + more))
    assert (high <= low + 1e-6).all()


@given(thresholds=st.lists(numbers, min_size=1, max_size=6), score=st.floats(-1e4, 1e4))
def test_outputs_are_finite_log_probabilities_with_finite_gradients(
    thresholds: list[float], score: float
) -> None:
    head = module(thresholds)
    vector_BSC = torch.tensor([[[score]]], requires_grad=True)
    output_BK = head.decide(vector_BSC)
    assert output_BK.isfinite().all()
    assert output_BK.exp().sum().item() == pytest.approx(1, abs=1e-4)
    torch.autograd.backward(output_BK.sum())
    assert vector_BSC.grad is not None
    assert vector_BSC.grad.isfinite().all()
    grad = head.get_parameter("thresholds").grad
    assert grad is not None
    assert grad.isfinite().all()


def test_at_first_every_label_is_as_likely_as_another() -> None:
    head = ordinal().build_head(4).eval()
    readout_BK = ordinal().readout(head.decide(torch.zeros(1, 1, 4)))
    torch.testing.assert_close(readout_BK, torch.full((1, 5), 0.2))


def test_training_the_thresholds_finds_the_labels_shares() -> None:
    # With f fixed the likelihood is greatest where the probabilities are the labels' shares.
    head, task = module([0.0, 0.0, 0.0], ordinal(labels=[0, 1, 2, 3])), ordinal(labels=[0, 1, 2, 3])
    label_B = torch.tensor([0] * 5 + [1] * 1 + [2] * 3 + [3] * 1)
    optimizer = torch.optim.Adam([head.get_parameter("thresholds")], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(task.compute_loss(head.decide(torch.zeros(10, 1, 1)), label_B))
        optimizer.step()
    found = task.readout(head.decide(torch.zeros(1, 1, 1)))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.1, 0.3, 0.1]]), atol=2e-3, rtol=0)


def test_the_loss_is_the_negative_log_likelihood() -> None:
    task, head = ordinal(labels=[0, 1, 2]), module([-1.0, 0.5])
    output_BK = head.decide(torch.tensor([[[0.3]], [[-2.0]]]))
    each = [by_definition([-1.0, 0.5], 0.3)[2], by_definition([-1.0, 0.5], -2.0)[0]]
    wanted = -(math.log(each[0]) + math.log(each[1])) / 2
    assert task.compute_loss(output_BK, task.targets([2, 0])).item() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("a", "linear"),
        ("a", "mlp"),
        ("a", "bilstm"),
        (["a", "b"], "concat"),
        (["a", "b"], "cosine"),
        (["a", "b"], "sigmoid_cosine"),
        (["a", "b"], "mlp"),
        (["a", "b"], "bilstm"),
        (["a", "b"], None),
    ],
)
def test_every_head_that_can_give_one_number_serves(text: object, head: str | None) -> None:
    task = ordinal(text=text, head=head)
    built = task.build_head(8)
    output_BK = built.decide(torch.randn(3, task.sequences, 8))
    assert output_BK.shape == (3, task.outputs) == (3, 5)
    assert built.get_parameter("thresholds").shape == (4,)
    torch.autograd.backward(task.compute_loss(output_BK, task.targets([0, 4, 2])))
    grad = built.get_parameter("thresholds").grad
    assert grad is not None
    assert (grad != 0).any()


# --- labels and answers ------------------------------------------------------------------------


def test_numbers_need_no_order_but_words_do() -> None:
    found = ordinal(labels=None).with_labels(["10", "9", "-1", "9.0"])
    assert isinstance(found, Ordinal)
    assert found.names == ["-1", "9", "10"]
    with pytest.raises(ValueError, match="no number") as caught:
        ordinal(labels=None).with_labels(["low", "high", "1"])
    assert str(caught.value) == (
        "column 'y' holds 'high', which is no number, so nothing tells the order of its labels. "
        "Say `labels`, the lowest first."
    )
    with pytest.raises(ValueError, match="1 label; this kind of task needs 2"):
        ordinal(labels=None).with_labels(["1"])


def test_labels_keep_the_order_they_are_given_in() -> None:
    task = ordinal(labels={"lo": "bad", "mid": "fair", "hi": "good"})
    assert [task.target(cell) for cell in ("hi", "lo", "mid")] == [2, 0, 1]
    assert task.answers(torch.tensor([[0.2, 0.1, 0.7]])) == ["good"]
    detailed = task.columns(torch.tensor([[0.2, 0.1, 0.7]]), detailed=True)
    assert list(detailed)[2:] == ["probability_bad", "probability_fair", "probability_good"]


def test_answers_are_judged_by_accuracy_and_by_how_near_they_are() -> None:
    task = ordinal()
    scores = task.scores(torch.eye(5)[[0, 2, 4]], task.targets([0, 1, 1]))
    assert scores["accuracy"] == pytest.approx(1 / 3) == task.leaderboard(scores)
    assert scores["one_off"] == pytest.approx(2 / 3)


def test_a_head_of_many_numbers_or_a_loss_of_scores_does_not_fit() -> None:
    with pytest.raises(ValidationError, match="loss: mse needs a task that answers with a score"):
        ordinal(loss="mse")
    assert ordinal(text=["a", "b"], head="cosine").resolved_head.kind == "cosine"


def test_an_ordinal_task_is_read_back_as_it_was_saved() -> None:
    task = ordinal(head={"kind": "mlp", "depth": 2}, loss="focal", class_weights={"1": 2})
    assert TypeAdapter[Task](AnyTask).validate_json(task.model_dump_json()) == task
