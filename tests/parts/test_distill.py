"""Distillation: imitation against torch's own losses, and the teachers' share step by step."""

import math
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trivium.errors import RecipeError
from trivium.parts.regularizers import Context, Distill, RegularizerPart
from trivium.parts.tasks import Classification, Multilabel, Ordinal, Regression, Task
from trivium.recipe import Recipe, dump_recipe, parse_recipe
from trivium.types import Batch, Step

COLUMNS: dict[str, Any] = {"text": "t", "label": "l"}
CLASSES = Classification(**COLUMNS, name="a", labels=["x", "y", "z"])
ORDER = Ordinal(**COLUMNS, name="a", labels=["1", "2", "3"])
SETS = Multilabel(**COLUMNS, name="a", labels=["x", "y", "z"], threshold=0.4)
SCORE = Regression(**COLUMNS, name="a", range=(1, 5))
KINDS: list[Task] = [CLASSES, ORDER, SETS, SCORE]
EACH = pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
TEMPERATURES = pytest.mark.parametrize("temperature", [1.0, 2.0, 7.0])


def outputs(task: Task, rows: int = 5, seed: int = 0) -> Tensor:
    """As a head gives them: fp32, with a gradient."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(task, Regression):
        return torch.rand(rows, 1, generator=generator).requires_grad_()
    output_BK = 2 * torch.randn(rows, 3, generator=generator)
    return (output_BK.log_softmax(1) if isinstance(task, Ordinal) else output_BK).requires_grad_()


def teachers(task: Task, rows: int = 5) -> Tensor:
    """What another model says of the rows."""
    return task.readout(outputs(task, rows, seed=1)).detach()


def targets(task: Task) -> Tensor:
    if isinstance(task, Multilabel):
        return task.targets([(), (0,), (0, 1), (2,), (0, 1, 2)])
    return task.targets(
        [1.0, 2.0, 3.5, 5.0, 4.0] if isinstance(task, Regression) else [0, 1, 2, 2, 0]
    )


def gradient(loss: Tensor, output_BK: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, output_BK, retain_graph=True)
    return found


# --- imitation -----------------------------------------------------------------------------------


def test_imitation_of_labels_by_hand() -> None:
    logit_BK = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # 1/4, 3/4; 1/2, 1/2
    task = Classification(**COLUMNS, labels=["x", "y"])
    teacher_BK = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    wanted = (-0.5 * math.log(1 / 4) - 0.5 * math.log(3 / 4) + math.log(2)) / 2
    assert float(task.imitation(logit_BK, teacher_BK, 1.0)) == pytest.approx(wanted)


def test_temperature_takes_a_root_of_both_sides_and_multiplies_by_its_square() -> None:
    logit_BK = torch.tensor([[0.0, math.log(4)]])  # 1/5, 4/5, whose roots are as 1 to 2
    teacher_BK = torch.tensor([[0.9, 0.1]])  # whose roots are as 3 to 1
    wanted = 4 * (-3 / 4 * math.log(1 / 3) - 1 / 4 * math.log(2 / 3))
    found = Classification(**COLUMNS, labels=["x", "y"]).imitation(logit_BK, teacher_BK, 2.0)
    assert float(found) == pytest.approx(wanted)
    both = Multilabel(**COLUMNS, labels=["x"]).imitation(
        torch.tensor([[-math.log(4)]]), torch.tensor([[0.9]]), 2.0
    )
    assert float(both) == pytest.approx(wanted)  # one label, which applies or not


@pytest.mark.parametrize("task", [CLASSES, ORDER], ids=lambda task: task.kind)
@TEMPERATURES
def test_imitation_of_labels_is_torchs_cross_entropy_and_kl_but_for_a_constant(
    task: Task, temperature: float
) -> None:
    output_BK, teacher_BK = outputs(task), teachers(task)
    found = task.imitation(output_BK, teacher_BK, temperature)
    soft_BK = teacher_BK ** (1 / temperature)
    soft_BK = soft_BK / soft_BK.sum(1, keepdim=True)
    entropy = F.cross_entropy(output_BK / temperature, soft_BK) * temperature**2
    torch.testing.assert_close(found, entropy)
    torch.testing.assert_close(gradient(found, output_BK), gradient(entropy, output_BK))
    log_q_BK = (output_BK / temperature).log_softmax(1)
    kl = F.kl_div(log_q_BK, soft_BK, reduction="batchmean") * temperature**2
    of_teacher = -(soft_BK * soft_BK.log()).sum(1).mean() * temperature**2
    torch.testing.assert_close(found, kl + of_teacher)
    torch.testing.assert_close(gradient(found, output_BK), gradient(kl, output_BK))


@TEMPERATURES
def test_imitation_of_several_labels_is_torchs_binary_cross_entropy(temperature: float) -> None:
    output_BK, teacher_BK = outputs(SETS), teachers(SETS)
    root_BK, other_BK = (p ** (1 / temperature) for p in (teacher_BK, 1 - teacher_BK))
    wanted = F.binary_cross_entropy(
        (output_BK / temperature).sigmoid(), root_BK / (root_BK + other_BK)
    ) * (temperature**2)
    found = SETS.imitation(output_BK, teacher_BK, temperature)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, output_BK), gradient(wanted, output_BK))


@TEMPERATURES
def test_imitation_of_scores_is_the_squared_error_on_the_unit_scale(temperature: float) -> None:
    output_BK, teacher_BK = torch.tensor([[0.5], [1.0]]), torch.tensor([[2.0], [5.0]])
    assert float(SCORE.imitation(output_BK, teacher_BK, temperature)) == (0.25**2 + 0) / 2


@EACH
@TEMPERATURES
def test_nothing_is_left_to_learn_where_the_student_says_what_the_teacher_does(
    task: Task, temperature: float
) -> None:
    output_BK = outputs(task)
    loss = task.imitation(output_BK, task.readout(output_BK).detach(), temperature)
    assert gradient(loss, output_BK).abs().max() < 1e-6
    other_BK = output_BK.detach() + 0.1 * torch.randn(output_BK.shape)
    assert task.imitation(other_BK, task.readout(output_BK).detach(), temperature) > loss


@EACH
def test_a_teacher_that_is_sure_of_the_labels_is_the_labels_loss(task: Task) -> None:
    output_BK, target_B = outputs(task), targets(task)
    sure_BK = target_B if target_B.dim() > 1 else target_B[:, None]
    if isinstance(task, Classification):
        sure_BK = F.one_hot(target_B, 3).float()  # with probabilities of exactly 0
    found, wanted = task.imitation(output_BK, sure_BK, 1.0), task.compute_loss(output_BK, target_B)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, output_BK), gradient(wanted, output_BK))
    assert task.imitation(output_BK, sure_BK, 3.0).isfinite()


def test_at_a_high_temperature_logits_are_matched() -> None:
    """Hinton et al. 2015, equation 4: the gradient nears (z - v) / K, of centred logits."""
    z_BK, v_BK = outputs(CLASSES, rows=1), outputs(CLASSES, rows=1, seed=1).detach()
    found = gradient(CLASSES.imitation(z_BK, v_BK.softmax(1), 1e3), z_BK)
    apart_BK = z_BK.detach() - v_BK
    torch.testing.assert_close(found, (apart_BK - apart_BK.mean()) / 3, rtol=0.05, atol=0.02)


@EACH
def test_imitation_is_a_mean_over_rows(task: Task) -> None:
    output_BK, teacher_BK = outputs(task, 4), teachers(task, 4)
    halves = [task.imitation(output_BK[h], teacher_BK[h], 2.0) for h in (slice(2), slice(2, 4))]
    torch.testing.assert_close(task.imitation(output_BK, teacher_BK, 2.0), sum(halves) / 2)


def test_imitation_knows_no_class_weights_and_no_smoothing() -> None:
    weighted = Classification(**COLUMNS, labels=["x", "y", "z"], class_weights={"x": 9})
    smooth = Classification(
        **COLUMNS, labels=["x", "y", "z"], loss={"kind": "cross_entropy", "label_smoothing": 0.5}
    )
    output_BK, teacher_BK = outputs(CLASSES), teachers(CLASSES)
    wanted = CLASSES.imitation(output_BK, teacher_BK, 1.0)
    for task in (weighted, smooth):
        assert torch.equal(task.imitation(output_BK, teacher_BK, 1.0), wanted)


def test_answers_become_targets() -> None:
    assert CLASSES.settled(torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2]])).tolist() == [1, 0]
    several_BK = SETS.settled(torch.tensor([[0.4, 0.39, 0.9], [0.1, 0.2, 0.3]]))
    assert several_BK.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert SCORE.settled(torch.tensor([[1.5], [4.0]])).tolist() == [1.5, 4.0]


@EACH
def test_settled_answers_have_the_form_of_targets(task: Task) -> None:
    settled_B, target_B = task.settled(teachers(task)), targets(task)
    assert settled_B.shape == target_B.shape
    assert settled_B.dtype == target_B.dtype
    task.compute_loss(outputs(task), settled_B)


# --- the penalty ---------------------------------------------------------------------------------


def step_of(index: int, total: int) -> Step:
    return Step(index, total, 1, 1, torch.Generator())


def context_of(
    task: Task, output_BK: Tensor, target_B: Tensor, teacher_BK: Tensor, step: Step, labels: float
) -> Context:
    nothing = cast(Any, None)
    batch = Batch("a", nothing, target_B, teacher_BK)

    def label_loss(output_BK: Tensor) -> Tensor:
        return task.compute_loss(output_BK, target_B) * labels

    return Context(nothing, task, batch, nothing, output_BK, nothing, step, label_loss)


def penalty_of(part: Distill, context: Context) -> Tensor:
    penalty = part.penalty(context)
    assert penalty is not None
    return penalty


def loss_of(part: Distill, task: Task, output_BK: Tensor, step: Step) -> Tensor:
    """The loss of the batch, as the step makes it."""
    context = context_of(task, output_BK, targets(task), teachers(task), step, 1.0)
    loss = task.compute_loss(output_BK, targets(task))
    return loss + part.weight_of("a") * penalty_of(part, context)


def test_the_labels_share_rises_linearly_from_the_first_step_to_the_end() -> None:
    part = Distill(teachers={"a": "x"})
    shares = [part.annealed(step_of(index, 8)) for index in range(8)]
    assert shares == [0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8]
    constant = Distill(teachers={"a": "x"}, anneal=False)
    assert {constant.annealed(step_of(index, 8)) for index in range(8)} == {0.0}


@EACH
@given(
    weight=st.floats(0, 1),
    index=st.integers(0, 19),
    anneal=st.booleans(),
    temperature=st.sampled_from([1.0, 2.5]),
)
def test_the_loss_is_shared_between_teachers_and_labels(
    task: Task, weight: float, index: int, anneal: bool, temperature: float
) -> None:
    part = Distill(
        teachers={"a": "x"}, weight=weight, anneal=anneal, temperature=temperature
    )  # fmt: skip
    output_BK = outputs(task)
    found = loss_of(part, task, output_BK, step_of(index, 20))
    share = weight * (1 - index / 20 if anneal else 1)
    imitation = task.imitation(output_BK, teachers(task), temperature)
    labels = task.compute_loss(output_BK, targets(task))
    torch.testing.assert_close(found, share * imitation + (1 - share) * labels)


@EACH
@pytest.mark.parametrize("index", [0, 3, 9])
def test_the_gradient_is_that_of_the_papers_mixed_target(task: Task, index: int) -> None:
    output_BK, target_B, teacher_BK = outputs(task), targets(task), teachers(task)
    found = loss_of(Distill(teachers={"a": "x"}), task, output_BK, step_of(index, 10))
    share = index / 10  # of the label
    if isinstance(task, Regression):
        mixed_BK = share * target_B[:, None] + (1 - share) * teacher_BK
        wanted = F.mse_loss(output_BK, (mixed_BK - 1) / 4)
    elif isinstance(task, Multilabel):
        mixed_BK = share * target_B + (1 - share) * teacher_BK
        wanted = F.binary_cross_entropy_with_logits(output_BK, mixed_BK)
    else:
        mixed_BK = share * F.one_hot(target_B, 3) + (1 - share) * teacher_BK
        wanted = F.cross_entropy(output_BK, mixed_BK)
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient(found, output_BK), gradient(wanted, output_BK))


def test_at_first_only_the_teacher_counts_and_without_weight_only_the_labels() -> None:
    output_BK = outputs(CLASSES)
    first = loss_of(Distill(teachers={"a": "x"}), CLASSES, output_BK, step_of(0, 10))
    torch.testing.assert_close(first, CLASSES.imitation(output_BK, teachers(CLASSES), 1.0))
    none = Distill(teachers={"a": "x", "b": "y"}, weight={"a": 0.0})
    assert not none.applies("a")
    assert none.applies("b")


def test_pieces_of_a_weighted_batch_add_up_to_the_whole() -> None:
    task = CLASSES.model_copy(update={"class_weights": {"x": 9.0}})
    part, step = Distill(teachers={"a": "x"}, weight=0.7), step_of(2, 10)
    output_BK, target_B, teacher_BK = outputs(task), targets(task), teachers(task)

    def loss(rows: slice) -> Tensor:
        of_loss = task.mass(target_B[rows]) / task.mass(target_B)
        of_rows = len(target_B[rows]) / len(target_B)
        context = context_of(
            task, output_BK[rows], target_B[rows], teacher_BK[rows], step, of_loss / of_rows
        )
        labels = task.compute_loss(output_BK[rows], target_B[rows]) * of_loss
        return labels + 0.7 * of_rows * penalty_of(part, context)

    torch.testing.assert_close(loss(slice(2)) + loss(slice(2, 5)), loss(slice(5)))


# --- recipes -------------------------------------------------------------------------------------


def recipe_of(**settings: Any) -> Recipe:
    tasks = {"a": {**COLUMNS, "kind": "classification"}, "b": {**COLUMNS, "kind": "regression"}}
    stage = {"regularizers": [{"kind": "distill", **settings}]}
    return parse_recipe({"tasks": tasks, "stages": [stage]})


@pytest.mark.parametrize(
    "teachers",
    [
        {"a": "x"},
        {"a": ["x", "y"], "b": {"run": "x", "task": "sts"}},
        {"a": [{"run": "x", "task": "one"}, {"run": "x", "task": "two"}]},
        "x",
    ],
)
def test_a_recipe_is_written_as_it_was_said(teachers: Any) -> None:
    recipe = recipe_of(teachers=teachers)
    written = yaml.safe_load(dump_recipe(recipe))
    assert written["stages"][0]["regularizers"][0]["teachers"] == teachers
    assert parse_recipe(written) == recipe


def test_it_applies_to_the_tasks_that_have_a_teacher() -> None:
    (some,) = recipe_of(teachers={"a": "x"}).stages[0].regularizers
    assert [some.applies(task) for task in "ab"] == [True, False]
    (every,) = recipe_of(teachers="x").stages[0].regularizers
    assert [every.applies(task) for task in "ab"] == [True, True]
    fewer: RegularizerPart = Distill(teachers={"a": "x", "b": "y"}, tasks=("b",))
    assert [fewer.applies(task) for task in "ab"] == [False, True]


def test_masked_words_have_no_teacher() -> None:
    stage = {"regularizers": [{"kind": "distill", "teachers": {"a": "x", "words": "y"}}]}
    tasks = {"a": {**COLUMNS, "kind": "classification"}, "words": {"kind": "mlm", "of": "a"}}
    with pytest.raises(RecipeError, match=r"regularizers.0: words cannot be distilled, since"):
        parse_recipe({"tasks": tasks, "stages": [stage]})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "stages.0.regularizers.0.teachers: is missing"),
        ({"teachers": {}}, "teachers: names no teacher"),
        ({"teachers": {"a": []}}, "teachers: a: names no teacher"),
        ({"teachers": {"a": ["x", "x"]}}, "teachers: a: names x twice"),
        ({"teachers": 3}, "should be text or should be a table"),
        ({"teachers": {"a": {"run": "x", "tesk": "y"}}}, "did you mean 'task'"),
        ({"teachers": {"c": "x"}}, "the stage does not train 'c'"),
        ({"teachers": "x", "unlabelled": {"c": "f"}}, "the stage does not train 'c'"),
        ({"teachers": {"a": "x"}, "tasks": ["b"]}, "tasks: 'b' has no teacher"),
        ({"teachers": {"a": "x"}, "weight": {"b": 1}}, "weight: 'b' has no teacher"),
        ({"teachers": {"a": "x"}, "unlabelled": {"b": "f"}}, "unlabelled: 'b' has no teacher"),
        (
            {"teachers": {"a": "x", "b": "y"}, "tasks": ["a"], "unlabelled": {"b": "f"}},
            "unlabelled: 'b' is not among its tasks",
        ),
        ({"teachers": {"a": "x"}, "weight": 1.5}, "at most 1, found 1.5"),
        ({"teachers": {"a": "x"}, "weight": {"a": 2}}, "at most 1, found 2"),
        ({"teachers": {"a": "x"}, "temperature": 0}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe_of(**settings)
