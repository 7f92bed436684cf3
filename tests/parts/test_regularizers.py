"""Regularizers: the papers' formulas against plain ones, on a tiny BERT with real dropout."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.native import switched
from tests.support.tensors import packed, relative
from trivium.model import kernels
from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.multitask import Head, MultiTaskModel
from trivium.parts.heads import BiLSTMHead, CosineHead, LinearHead
from trivium.parts.regularizers import (
    AnyRegularizer,
    Bregman,
    Context,
    RDrop,
    RegularizerPart,
    Smart,
    restore_noise,
    take_noise,
)
from trivium.parts.regularizers.noise import repeated
from trivium.parts.regularizers.passes import answer, standing_in
from trivium.parts.tasks import Task
from trivium.types import Batch, Step

CPU = torch.device("cpu")

CLASSES = 3

WIDTH = 32

EVERY: list[RegularizerPart] = [Smart(), Bregman(), RDrop()]

NAMED = pytest.mark.parametrize("part", EVERY, ids=lambda part: part.kind)

PRECISIONS = pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])


class Labels:
    """Of a task, what a regularizer asks for: labels with cross-entropy."""

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        return F.cross_entropy(output_BK, target_B)

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        p_BK, q_BK = output_BK.log_softmax(1), other_BK.log_softmax(1)
        return ((p_BK.exp() - q_BK.exp()) * (p_BK - q_BK)).sum(1).mean()


class Scores:
    """The same for scores."""

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        return F.mse_loss(output_BK[:, 0], target_B.float())

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        return (output_BK - other_BK).square().mean()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def make_model(dropout: float = 0.1, seed: int = 0) -> MultiTaskModel:
    """Two layers; a task of each sort, one of them under a name that modules have a use for."""
    config = EncoderConfig(
        vocab_size=50, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=32,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    with seeded(seed):
        encoder = Encoder(config)
        heads: dict[str, Head] = {
            "train": LinearHead(dropout=dropout).build(WIDTH, CLASSES, 1),
            "near": CosineHead(dropout=dropout).build(WIDTH, 1, 2),
            "read": BiLSTMHead(dropout=dropout).build(WIDTH, CLASSES, 1),
        }
        model = MultiTaskModel(encoder, heads)
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name:
                nn.init.uniform_(parameter, 0.5, 1.5)
            elif parameter.dim():  # but for the cosine's scale and offset
                nn.init.normal_(parameter, std=0.3)
    return model.train()


def make_batch(task: str = "train", rows: int = 4, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    texts = rows * (2 if task == "near" else 1)
    lengths = [2 + 3 * text % 7 for text in range(texts)]
    ids = [torch.randint(5, 50, (n,), generator=generator).tolist() for n in lengths]
    return Batch(task, packed(ids), torch.arange(rows) % CLASSES)


def make_step(index: int = 0, total: int = 100, memory: dict[str, Tensor] | None = None) -> Step:
    generator = torch.Generator().manual_seed(0)
    return Step(index, total, 1, 1, generator, {} if memory is None else memory)


def task_of(name: str) -> Task:
    return cast(Task, Scores() if name == "near" else Labels())


def clean_pass(
    model: MultiTaskModel, batch: Batch, step: Step | None = None, task: Any = None
) -> Context:
    """As the loop does it."""
    x_ND = model.encoder.embed(batch.tokens)
    noise = take_noise(CPU)
    hidden_ND = model.encoder.encode(x_ND, batch.tokens, batch.task)
    output_BK = model.finish(batch, hidden_ND)
    task = task or task_of(batch.task)
    return Context(
        model, task, batch, x_ND, output_BK, noise, step or make_step(), label_loss(task, batch)
    )


def label_loss(task: Task, batch: Batch) -> Callable[[Tensor], Tensor]:
    return lambda output_BK: task.compute_loss(output_BK, batch.target_B)


def found(penalty: Tensor | None) -> Tensor:
    assert penalty is not None
    return penalty


def value(scalar: Tensor | None) -> float:
    return float(found(scalar).detach())


def gradients(scalar: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """By parameter's name, and none left behind."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    each = torch.autograd.grad(scalar, [p for _, p in named], allow_unused=True, retain_graph=True)
    return {n: g for (n, _), g in zip(named, each, strict=True) if g is not None}


def assert_same_gradients(one: dict[str, Tensor], other: dict[str, Tensor], limit: float) -> None:
    assert one.keys() == other.keys()
    assert relative(
        torch.cat([one[n].flatten() for n in one]), torch.cat([other[n].flatten() for n in one])
    ) < limit  # fmt: skip


# --- noise ---------------------------------------------------------------------------------------


def test_restored_noise_repeats_the_draws_that_followed_it() -> None:
    with seeded(3):
        noise = take_noise(CPU)
        drawn = torch.rand(5), kernels.dropout_mask((7, 3), 0.5, torch.float32)
        restore_noise(noise)
        again = torch.rand(5), kernels.dropout_mask((7, 3), 0.5, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_repeated_noise_leaves_the_generator_where_it_was_even_after_an_error() -> None:
    with seeded(3):
        noise = take_noise(CPU)
        first = torch.rand(5)
        state = torch.get_rng_state()

        def fail() -> None:
            with repeated(noise):
                assert torch.equal(torch.rand(5), first)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_noise_of_a_gpu_is_that_of_its_own_generator() -> None:
    device = torch.device("cuda")
    noise = take_noise(device)
    first = torch.rand(5, device=device)
    torch.rand(5)
    with repeated(noise):
        assert torch.equal(torch.rand(5, device=device), first)
    assert not torch.equal(torch.rand(5, device=device), first)


# --- smart: the search ---------------------------------------------------------------------------

SIZES = st.floats(1e-7, 10.0)


@settings(max_examples=40)
@given(
    SIZES, SIZES, SIZES, st.integers(0, 3), st.sampled_from(["train", "near"]), st.integers(0, 9)
)
def test_every_perturbation_stays_in_the_ball(
    eps: float, sigma: float, eta: float, steps: int, task: str, seed: int
) -> None:
    smart = Smart(eps=eps, sigma=sigma, eta=eta, steps=steps)
    with seeded(seed):
        context = clean_pass(make_model(), make_batch(task))
        perturbations = list(smart.perturbations(context))
    assert len(perturbations) == 1 + steps
    for d_ND in perturbations:
        assert d_ND.shape == context.x_ND.shape
        assert not d_ND.requires_grad
        assert d_ND.abs().max() <= torch.tensor(eps)
        assert d_ND.abs().max() > 0


@pytest.mark.parametrize("task", ["train", "near"])
def test_the_search_is_algorithm_1_written_text_by_text(task: str) -> None:
    smart = Smart(eps=0.02, sigma=0.01, eta=0.015, steps=3)
    model, batch = make_model(), make_batch(task)
    with seeded(0):
        context = clean_pass(model.eval(), batch)  # no dropout: each row can be computed by itself
        perturbations = list(smart.perturbations(context))
    x_ND, target_BK = context.x_ND.detach(), context.output_BK.detach()
    d_ND = perturbations[0]
    for following_ND in perturbations[1:]:
        leaf_ND = d_ND.clone().requires_grad_()
        with switched("0"):  # kernels take one way back
            hidden_ND = model.encoder.encode(x_ND + leaf_ND, batch.tokens, task)
        output_BK = model.finish(batch, hidden_ND)
        rows = [context.task.divergence(output_BK[i : i + 1], target_BK[i : i + 1])
                for i in range(len(target_BK))]  # fmt: skip
        texts = torch.split(torch.zeros(len(x_ND)), batch.tokens.lengths_R.tolist())
        first, moved = 0, []
        for index, text in enumerate(texts):
            (whole_ND,) = torch.autograd.grad(rows[index % len(rows)], leaf_ND, retain_graph=True)
            part = slice(first, first + len(text))
            own = whole_ND[part] / whole_ND[part].abs().max()
            moved.append((d_ND[part] + smart.eta * own).clamp(-smart.eps, smart.eps))
            first += len(text)
        assert relative(following_ND, torch.cat(moved)) < 1e-3
        d_ND = following_ND


def test_each_text_moves_by_eta_in_the_element_that_moves_most() -> None:
    smart = Smart(eps=1.0, sigma=1e-3, eta=0.01)
    with seeded(0):
        context = clean_pass(make_model(), make_batch("near"))
        start_ND, end_ND = smart.perturbations(context)
    moves = torch.split((end_ND - start_ND).abs(), context.batch.tokens.lengths_R.tolist())
    assert [float(move.max()) for move in moves] == pytest.approx([0.01] * len(moves), rel=1e-3)


class _Summed:
    """By hand: a score is the sum of a text's x_ND against w_D, and x alone is the encoder."""

    precision = torch.float32

    def __init__(self, w_D: Tensor) -> None:
        self.w_D = w_D

    def encode(self, x_ND: Tensor, *_: Any) -> Tensor:
        return x_ND

    def finish(self, batch: Batch, hidden_ND: Tensor) -> Tensor:
        texts = torch.split(hidden_ND, batch.tokens.lengths_R.tolist())
        return torch.stack([(text @ self.w_D).sum() for text in texts])[:, None]

    @property
    def encoder(self) -> "_Summed":
        return self

    def parameters(self) -> list[Tensor]:
        return []

    def modules(self) -> list[nn.Module]:
        return []


def summed_context(w_D: Tensor, lengths: list[int], step: Step | None = None) -> Context:
    model = _Summed(w_D)
    batch = Batch("near", packed([[1] * n for n in lengths]), torch.zeros(len(lengths)))
    x_ND = torch.zeros(sum(lengths), len(w_D))
    output_BK = model.finish(batch, x_ND)
    task = task_of("near")
    return Context(
        cast(MultiTaskModel, model), task, batch, x_ND, output_BK, take_noise(CPU),
        step or make_step(), label_loss(task, batch),
    )  # fmt: skip


def test_on_a_linear_score_the_search_goes_along_the_weights_by_hand() -> None:
    # l_s = (w . d)^2, so its gradient is 2 (w . d) w: up or down along w, of length eta in the
    # largest element of w. Here eta * w / |w|_inf = (0.01, -0.04, 0), cut to 0.03.
    smart = Smart(eps=0.03, sigma=1e-4, eta=0.04)
    context = summed_context(torch.tensor([0.5, -2.0, 0.0]), [1, 3])
    with seeded(5):
        start_ND, end_ND = smart.perturbations(context)
    for start, end in ((start_ND[:1], end_ND[:1]), (start_ND[1:], end_ND[1:])):
        sign = float(torch.sign((start @ torch.tensor([0.5, -2.0, 0.0])).sum()))
        ascent = torch.tensor([0.01, -0.04, 0.0]) * sign
        assert torch.allclose(end, (start + ascent).clamp(-0.03, 0.03), atol=1e-7)
        assert float(end[0, 1]) == pytest.approx(-0.03 * sign)


def test_a_text_without_gradient_stays_where_it_is() -> None:
    smart = Smart(steps=3)
    context = summed_context(torch.zeros(3), [2, 1])
    start_ND, *_, end_ND = smart.perturbations(context)
    assert torch.equal(start_ND, end_ND)
    assert value(smart.penalty(context)) == 0.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("task", ["train", "near"])
def test_ascent_finds_a_worse_perturbation_than_the_noise_it_starts_from(
    task: str, seed: int
) -> None:
    with seeded(seed):
        context = clean_pass(make_model(seed=seed), make_batch(task, seed=seed))
        state = torch.get_rng_state()
        penalties = []
        for steps in range(3):
            torch.set_rng_state(state)  # the same noise to start from
            smart = Smart(eps=1e-3, sigma=1e-4, eta=1e-3, steps=steps)
            penalties.append(value(smart.penalty(context)))
    assert penalties[0] * 2 < penalties[1] <= penalties[2] * 1.01


# --- smart: the penalty --------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["train", "near", "read"])
def test_smart_is_the_divergence_at_its_perturbation_held_constant(task: str) -> None:
    smart, batch = Smart(eps=0.05, sigma=0.01, eta=0.05), make_batch(task)
    with seeded(7):
        model = make_model(dropout=0.0)
        context = clean_pass(model, batch)
        *_, d_ND = smart.perturbations(context)
    with seeded(7):
        model = make_model(dropout=0.0)
        penalty = found(smart.penalty(clean_pass(model, batch)))
    x_ND = model.encoder.embed(batch.tokens)
    outputs = [
        model.finish(batch, model.encoder.encode(x, batch.tokens, task))
        for x in (x_ND + d_ND, x_ND)
    ]
    wanted = task_of(task).divergence(*outputs)
    assert value(penalty) == pytest.approx(value(wanted), rel=1e-4)
    assert_same_gradients(gradients(penalty, model), gradients(wanted, model), 1e-3)


@pytest.mark.parametrize("task", ["train", "near", "read"])
def test_smart_does_not_measure_dropout(task: str) -> None:
    with seeded(0):
        model, batch = make_model(dropout=0.3), make_batch(task)
        context = clean_pass(model, batch)
        other_BK = model(batch)  # other masks
        penalty = found(Smart(eps=1e-9, sigma=1e-9).penalty(context))
    assert value(context.task.divergence(context.output_BK, other_BK)) > 1e-3
    assert 0.0 <= value(penalty) < 1e-9


def test_smart_draws_its_noise_and_nothing_else_from_the_generator() -> None:
    with seeded(0):
        context = clean_pass(make_model(dropout=0.3), make_batch())
        state = torch.get_rng_state()
        Smart(steps=2).penalty(context)
        left = torch.get_rng_state()
        torch.set_rng_state(state)
        torch.randn_like(context.x_ND)
        assert torch.equal(torch.get_rng_state(), left)


def test_the_search_gives_no_parameter_a_gradient_and_changes_none() -> None:
    with seeded(0):
        model = make_model()
        before = {name: (p, p.clone()) for name, p in model.named_parameters()}
        list(Smart(steps=2).perturbations(clean_pass(model, make_batch("read"))))
    assert model.get_parameter("encoder.pooler.dense.weight").requires_grad
    for name, parameter in model.named_parameters():
        assert parameter is before[name][0]
        assert torch.equal(parameter, before[name][1])
        assert parameter.requires_grad
        assert parameter.grad is None


def test_smart_works_where_only_the_head_is_trained() -> None:
    with seeded(0):
        model, batch = make_model(), make_batch()
        model.encoder.requires_grad_(False)
        model.encoder.eval()
        penalty = found(Smart(eps=0.01, eta=0.01).penalty(clean_pass(model, batch)))
    assert set(gradients(penalty, model)) == {
        "heads.train.linear.weight",
        "heads.train.linear.bias",
    }
    assert not any(p.requires_grad for p in model.encoder.parameters())


def test_the_search_repeats_the_dropout_of_layers_below_the_trained_ones() -> None:
    with seeded(0):
        model, batch = make_model(dropout=0.3), make_batch()
        model.encoder.requires_grad_(False)
        model.encoder.encoder.layer[1].requires_grad_(True)
        context = clean_pass(model, batch)
        start_ND = context.x_ND.detach().requires_grad_()
        other_BK = answer(context, start_ND)
    assert torch.equal(other_BK, context.output_BK)


def counted(run: Any) -> int:
    """Floating-point operations of matrix products, oneDNN's among them."""

    def onednn(x_shape: list[int], weight_shape: list[int], *_: Any, **__: Any) -> int:
        return 2 * math.prod(x_shape) * weight_shape[0]

    own = {torch.ops.mkldnn._linear_pointwise: onednn}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        run()
    return int(counter.get_total_flops())


def test_one_ascent_step_costs_two_thirds_and_the_penalty_a_whole_plain_step() -> None:
    model, batch, smart = make_model(), make_batch(rows=16), Smart()
    context = clean_pass(model, batch)

    def plain() -> None:
        clean = clean_pass(model, batch)
        gradients(clean.task.compute_loss(clean.output_BK, batch.target_B), model)

    def whole() -> None:
        clean = clean_pass(model, batch)
        loss = clean.task.compute_loss(clean.output_BK, batch.target_B)
        gradients(loss + found(smart.penalty(clean)), model)

    step = counted(plain)
    forward = counted(lambda: clean_pass(model, batch))
    search = counted(lambda: list(smart.perturbations(context)))
    assert step == pytest.approx(3 * forward, rel=0.05)  # the plain step itself
    assert search == pytest.approx(2 * forward, rel=0.05)
    assert counted(whole) == pytest.approx(8 * forward, rel=0.05)


class _Broken(Labels):
    """Not a number in the n-th divergence that is asked for."""

    def __init__(self, at: int) -> None:
        self.at = at

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        self.at -= 1
        divergence = super().divergence(output_BK, other_BK)
        return divergence * math.nan if self.at == 0 else divergence


@pytest.mark.parametrize("at", [1, 2])
def test_smart_skips_and_counts_a_batch_that_is_not_finite(at: int) -> None:
    memory: dict[str, Tensor] = {}
    with seeded(0):
        model, batch = make_model(), make_batch()
        for _ in range(2):
            context = clean_pass(model, batch, make_step(memory=memory), _Broken(at))
            assert Smart().penalty(context) is None
        assert found(Smart().penalty(clean_pass(model, batch, make_step(memory=memory)))) >= 0
    assert memory["smart.skipped"].dtype == torch.int64
    assert int(memory["smart.skipped"]) == 2


def test_smart_skips_where_only_the_gradient_of_the_search_is_not_finite() -> None:
    class Kinked(Labels):
        def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
            return (output_BK - other_BK).mul(0).sum().sqrt()  # 0, with a gradient of inf * 0

    memory: dict[str, Tensor] = {}
    context = clean_pass(make_model(), make_batch(), make_step(memory=memory), Kinked())
    assert Smart().penalty(context) is None
    assert int(memory["smart.skipped"]) == 1


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_smart_skips_where_the_model_itself_is_not_finite(value: float) -> None:
    memory: dict[str, Tensor] = {}
    model = make_model()
    with torch.no_grad():
        model.get_parameter("encoder.encoder.layer.0.output.dense.bias")[0] = value
    assert Smart().penalty(clean_pass(model, make_batch(), make_step(memory=memory))) is None
    assert int(memory["smart.skipped"]) == 1


def test_smart_refuses_to_run_in_bf16() -> None:
    model = make_model()
    model.encoder.precision = torch.bfloat16
    with pytest.raises(AssertionError, match="needs_fp32"):
        Smart().penalty(clean_pass(model, make_batch()))
    assert [part.needs_fp32 for part in EVERY] == [True, False, False]


# --- bregman -------------------------------------------------------------------------------------


def moved(model: MultiTaskModel, seed: int, by: float = 0.05) -> None:
    """As an optimizer changes weights: in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


@PRECISIONS
@pytest.mark.parametrize("task", ["train", "near", "read"])
def test_bregman_is_zero_while_the_weights_are_their_average(
    task: str, precision: torch.dtype
) -> None:
    model = make_model(dropout=0.3)
    model.encoder.precision = precision
    context = clean_pass(model, make_batch(task))
    state = torch.get_rng_state()
    penalty = Bregman().penalty(context)
    assert torch.equal(torch.get_rng_state(), state)
    assert value(penalty) < 1e-12
    assert all(float(g.abs().max()) < 1e-6 for g in gradients(penalty, model).values())


@PRECISIONS
@pytest.mark.parametrize("task", ["train", "near", "read"])
def test_bregman_is_the_divergence_from_a_model_of_the_average_under_the_same_dropout(
    task: str, precision: torch.dtype
) -> None:
    model, batch, memory = make_model(dropout=0.3), make_batch(task), dict[str, Tensor]()
    model.encoder.precision = precision
    part = Bregman(beta=0.5, beta_first=0.5)
    for index in range(4):  # so that caches of both sets of weights must be renewed
        moved(model, seed=index)
        earlier = copy.deepcopy(model)
        for name, parameter in earlier.named_parameters():
            parameter.data = memory.get(f"bregman.{name}", parameter.data).clone()
        fresh = copy.deepcopy(model)
        for twin in (earlier, fresh):
            for module in twin.modules():
                module.__dict__.pop("_remade", None)
        step = make_step(index, memory=memory)
        outputs = []
        for one in (earlier, fresh):
            with seeded(index):
                outputs.append(one(batch))
        with seeded(index):
            context = clean_pass(model, batch, step)
            penalty = part.penalty(context)
        assert torch.equal(context.output_BK, outputs[1])
        wanted = context.task.divergence(outputs[1], outputs[0].detach())
        assert value(penalty) == pytest.approx(value(wanted), rel=1e-5, abs=1e-9)
        assert (value(penalty) > 1e-5) == (index > 0)
        if index:
            assert_same_gradients(gradients(penalty, model), gradients(wanted, fresh), 1e-4)
        with seeded(index):  # the penalty left the model as it was
            assert torch.equal(model(batch), outputs[1])
        part.after_step(model, step)


def test_the_average_by_hand() -> None:
    model, memory = make_model(), dict[str, Tensor]()
    weight = dict(model.named_parameters())["heads.train.linear.bias"]
    kept = "bregman.heads.train.linear.bias"
    part = Bregman(beta=0.75, beta_first=0.5, first=0.1)
    with torch.no_grad():
        weight.fill_(8.0)
    part.penalty(clean_pass(model, make_batch(), make_step(0, 20, memory)))
    averages = []
    for index, value in enumerate([4.0, 4.0, 8.0]):
        with torch.no_grad():
            weight.fill_(value)
        part.after_step(model, make_step(index, 20, memory))
        averages.append(float(memory[kept][0]))
    # Two of twenty steps are the first tenth: 8 -> (8 + 4) / 2 -> (6 + 4) / 2 -> 0.75 * 5 + 2
    assert averages == pytest.approx([6.0, 5.0, 5.75])
    assert Bregman().beta_first == 0.99
    assert Bregman().beta == 0.999


def test_the_average_starts_at_the_weights_wherever_it_is_first_asked_for() -> None:
    model, memory = make_model(), dict[str, Tensor]()
    Bregman().after_step(model, make_step(memory=memory))
    for name, parameter in model.named_parameters():
        assert torch.equal(memory[f"bregman.{name}"], parameter)
        assert memory[f"bregman.{name}"].data_ptr() != parameter.data_ptr()


def test_only_trained_parameters_have_an_average_and_thawed_ones_join_them() -> None:
    model, memory, part = make_model(), dict[str, Tensor](), Bregman(beta=0.5, beta_first=0.5)
    model.encoder.requires_grad_(False)
    trained = {f"bregman.{n}" for n, p in model.named_parameters() if p.requires_grad}
    part.penalty(clean_pass(model, make_batch(), make_step(memory=memory)))
    assert set(memory) == trained
    moved(model, seed=1)
    model.encoder.encoder.layer[1].requires_grad_(True)
    penalty = part.penalty(clean_pass(model, make_batch(), make_step(memory=memory)))
    assert set(memory) > trained
    name = "encoder.encoder.layer.1.output.dense.weight"
    assert torch.equal(memory[f"bregman.{name}"], model.get_parameter(name))
    assert "encoder.encoder.layer.0.output.dense.weight" not in gradients(penalty, model)
    assert not any(value.requires_grad for value in memory.values())


def test_bregman_goes_on_from_a_memory_that_was_saved() -> None:
    model, memory, part = make_model(), dict[str, Tensor](), Bregman()
    part.after_step(model, make_step(memory=memory))
    moved(model, seed=1)
    part.after_step(model, make_step(memory=memory))
    saved = {name: value.clone() for name, value in memory.items()}
    values = []
    for kept in (memory, saved):
        with seeded(0):
            values.append(part.penalty(clean_pass(model, make_batch(), make_step(memory=kept))))
    assert value(values[0]) == value(values[1]) > 0


def test_parameters_are_themselves_again_after_an_error() -> None:
    model = make_model()
    before = dict(model.named_parameters())
    lstm = cast(nn.LSTM, model.heads["read"].lstm)
    zeros = {p: torch.zeros_like(p) for p in model.parameters()}

    def fail() -> None:
        with standing_in(model, zeros):
            assert not model(make_batch("read")).any()
            assert not found(lstm._flat_weights[0]).any()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(p is before[name] for name, p in model.named_parameters())
    assert all(isinstance(weight, nn.Parameter) for weight in lstm._flat_weights)


# --- rdrop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["train", "near", "read"])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_rdrop_makes_the_loss_half_of_the_papers(task: str, alpha: float) -> None:
    batch = make_batch(task)
    with seeded(2):
        model = make_model(dropout=0.3)
        context = clean_pass(model, batch)
        penalty = RDrop(alpha=alpha).penalty(context)
    loss = context.task.compute_loss(context.output_BK, batch.target_B) + penalty
    with seeded(2):
        model = make_model(dropout=0.3)
        first_BK, second_BK = model(batch), model(batch)
    losses = [task_of(task).compute_loss(each, batch.target_B) for each in (first_BK, second_BK)]
    if task == "near":
        both = (first_BK - second_BK).square().mean()
    else:
        p, q = first_BK.softmax(1), second_BK.softmax(1)
        both = F.kl_div(p.log(), q, reduction="batchmean")
        both = both + F.kl_div(q.log(), p, reduction="batchmean")
    papers = losses[0] + losses[1] + alpha * both / 2
    assert value(both) > 1e-3
    assert value(loss) == pytest.approx(value(papers) / 2, rel=1e-5)
    assert_same_gradients(gradients(loss, context.model), gradients(papers / 2, model), 1e-5)


def test_rdrop_is_nothing_without_dropout() -> None:
    penalty = RDrop(alpha=5.0).penalty(clean_pass(make_model(dropout=0.0), make_batch()))
    assert abs(value(penalty)) < 1e-6


@pytest.mark.parametrize("weight", [1.5, {"a": 0.5, "b": 2.0}])
def test_rdrop_refuses_a_weight_that_drops_the_first_loss(weight: Any) -> None:
    with pytest.raises(ValidationError, match=r"at most 1, found .*alpha"):
        RDrop(weight=weight)


# --- what all share ------------------------------------------------------------------------------


@NAMED
def test_a_regularizer_applies_to_all_tasks_or_to_those_it_names(part: RegularizerPart) -> None:
    assert part.applies("anything")
    assert part.weight_of("anything") == 1.0
    some = part.model_copy(update={"tasks": ("a", "b"), "weight": {"a": 0.5, "b": 0.0}})
    assert [some.applies(task) for task in "abc"] == [True, False, False]
    assert some.weight_of("a") == 0.5
    assert part.model_copy(update={"weight": {"a": 0.5}}).weight_of("b") == 1.0
    assert not part.model_copy(update={"weight": 0.0}).applies("a")


@NAMED
def test_a_penalty_is_a_scalar_that_trains_the_encoder(part: RegularizerPart) -> None:
    memory: dict[str, Tensor] = {}
    with seeded(0):
        model = make_model()
        part.after_step(model, make_step(memory=memory))
        moved(model, seed=0)
        context = clean_pass(model, make_batch(), make_step(1, memory=memory))
        penalty = found(part.penalty(context))
    assert penalty.shape == ()
    assert float(gradients(penalty, model)["encoder.embeddings.word_embeddings.weight"].norm()) > 0
    assert all(key.startswith(f"{part.kind}.") for key in memory)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "smart", "eps": 0}, "greater than 0"),
        ({"kind": "smart", "sigma": -1}, "greater than 0"),
        ({"kind": "smart", "steps": -1}, "greater than or equal to 0"),
        ({"kind": "smart", "radius": 1}, "radius"),
        ({"kind": "bregman", "beta": 1}, "less than 1"),
        ({"kind": "bregman", "weight": -1}, "weight"),
        ({"kind": "bregman", "tasks": ["a"], "weight": {"b": 2}}, "'b' is not among its tasks"),
        ({"kind": "rdrop", "alpha": -1}, "alpha"),
        ({"kind": "freelb"}, "freelb"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter[object](AnyRegularizer).validate_python(values)


def test_the_table_finds_each_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyRegularizer)
    for part in EVERY:
        assert adapter.validate_python(part.model_dump(mode="json")) == part
