"""Every compiled operation against the same in float64, of the very numbers (bf16 or fp32) that it
is given.

Widths are no multiples of a panel's 48 columns, and rows none of a tile's 16.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.native import KINDS, kernels, switched, threads
from tests.support.tensors import relative
from trivium.model.native.library import Library
from trivium.model.native.task import ADD, BIAS, GELU, GELU_SLOPE, PLAIN, TIMES, Places

EVERY_KIND = pytest.mark.parametrize("kind", list(KINDS))
EVERY_LIBRARY = pytest.mark.parametrize("kind", ["vectors", "avx2"])
ROUNDED = {torch.bfloat16: 3e-3, torch.float32: 3e-6}
"""Relative error of many numbers that were rounded once; of one in bf16 it is at most 2^-8."""
SUMMED = 3e-6
"""Of sums in fp32."""


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def pack(library: Library, weight_NK: Tensor, *, back: bool = False) -> Tensor:
    """For x W^T, or for g W."""
    (n, k), columns = weight_NK.shape, len(weight_NK.t() if back else weight_NK)
    made = torch.zeros(
        library.form.whole_panels(columns) * (n if back else k), dtype=library.form.numbers
    )
    ahead = torch.zeros(library.form.whole_panels(n) * k, dtype=library.form.numbers)
    library.pack(weight_NK, n, k, ahead if back else made, made if back else None, 0, n)
    return made


def multiply(
    library: Library, then: int, x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor, other_MN: Tensor
) -> tuple[Tensor, Tensor]:
    """out or, of ADD, the sum; and other."""
    (rows, inputs), outputs = x_MK.shape, len(weight_NK)
    out_MN = torch.empty(rows, outputs, dtype=library.form.numbers)
    sum_MN = other_MN.float() if then == ADD else None
    library.product(
        then, x_MK, rows, inputs, pack(library, weight_NK), outputs, bias_N,
        out_MN, other_MN if then in (TIMES, GELU_SLOPE) else None, sum_MN,
    )  # fmt: skip
    return (out_MN if sum_MN is None else sum_MN), other_MN


SHAPES = st.tuples(
    st.integers(1, 75), st.sampled_from([32, 64, 96]), st.sampled_from([16, 48, 64, 112])
)


@EVERY_KIND
@given(shape=SHAPES)
@example(shape=(300, 96, 112))
@settings(max_examples=25)
def test_a_product_and_what_follows_it_are_those_of_float64(
    kind: str, shape: tuple[int, int, int]
) -> None:
    library, (rows, inputs, outputs) = kernels(kind), shape
    numbers, rounded = library.form.numbers, ROUNDED[library.form.numbers]
    x_MK, weight_NK = noise(rows, inputs).to(numbers), noise(outputs, inputs, seed=1, scale=0.2)
    bias_N, other_MN = noise(outputs, seed=2), noise(rows, outputs, seed=3).to(numbers)
    exact = x_MK.double() @ weight_NK.to(numbers).double().t()
    biased = (exact + bias_N.double()).requires_grad_()
    activated = F.gelu(biased)
    (slope,) = torch.autograd.grad(activated.sum(), biased)
    wanted = {
        PLAIN: exact, BIAS: biased, GELU: activated, GELU_SLOPE: activated,
        TIMES: exact * other_MN.double(), ADD: exact + other_MN.double(),
    }  # fmt: skip
    for then, right in wanted.items():
        given_MN = other_MN.clone()
        found, left = multiply(library, then, x_MK, weight_NK, bias_N, given_MN)
        assert relative(found, right.detach()) < (SUMMED if then == ADD else rounded), then
        if then == GELU_SLOPE:
            assert relative(left, slope) < rounded


@EVERY_LIBRARY
def test_gelu_and_its_slope_are_right_from_far_below_to_far_above_zero(kind: str) -> None:
    library = kernels(kind)
    error = 1.01 * 2**-8 if library.form.numbers == torch.bfloat16 else 2e-6
    grid = torch.linspace(-30, 30, 16 * 40).to(library.form.numbers)
    x_MK = torch.zeros(40, 32, dtype=library.form.numbers)
    x_MK[:, 0] = 1.0
    slope_MN = torch.empty(40, 16, dtype=library.form.numbers)
    for row in range(40):  # a bias alone: the product is zero
        bias_N = grid[16 * row : 16 * row + 16].float()
        one, _ = multiply(
            library, GELU_SLOPE, x_MK[:1], torch.zeros(16, 32), bias_N, slope_MN[row : row + 1]
        )
        exact = bias_N.double().requires_grad_()
        right = F.gelu(exact)
        torch.autograd.backward(right.sum())
        torch.testing.assert_close(one[0].double(), right.detach(), rtol=error, atol=1e-6)
        torch.testing.assert_close(slope_MN[row].double(), exact.grad, rtol=error, atol=1e-6)


@EVERY_KIND
@given(shape=SHAPES)
@example(shape=(2048, 32, 96))  # turned rows as long as a power of two
@example(shape=(1400, 1536, 112))  # more than caches hold
@settings(max_examples=25)
def test_the_gradient_of_a_weight_and_its_bias_is_that_of_float64(
    kind: str, shape: tuple[int, int, int]
) -> None:
    library, (rows, inputs, outputs) = kernels(kind), shape
    g_MN = noise(rows, outputs).to(library.form.numbers)
    x_MK = noise(rows, inputs, seed=1).to(library.form.numbers)
    dW, db = torch.full((outputs, inputs), torch.nan), torch.full((outputs,), torch.nan)
    room = torch.empty(library.gradient_room(rows, outputs, inputs), dtype=torch.int32)
    library.weight_gradient(g_MN, x_MK, rows, outputs, inputs, room, dW, db)
    assert relative(dW, g_MN.double().t() @ x_MK.double()) < SUMMED
    assert relative(db, g_MN.double().sum(0)) < SUMMED
    alone = torch.full((outputs,), torch.nan)
    library.weight_gradient(g_MN, x_MK, rows, outputs, inputs, None, None, alone)
    assert torch.equal(alone, db)


@EVERY_KIND
def test_of_no_row_at_all_gradients_are_zero(kind: str) -> None:
    library = kernels(kind)
    nothing = torch.empty(0, 96, dtype=library.form.numbers)
    dW, db = torch.full((96, 96), torch.nan), torch.full((96,), torch.nan)
    room = torch.empty(library.gradient_room(0, 96, 96), dtype=torch.int32)
    library.weight_gradient(nothing, nothing, 0, 96, 96, room, dW, db)
    assert not dW.any()
    assert not db.any()


@EVERY_KIND
@pytest.mark.parametrize("back", [False, True])
def test_a_weight_packed_in_parts_is_the_weight_packed_whole(kind: str, back: bool) -> None:
    library, weight = kernels(kind), noise(96, 64)
    whole_ahead, whole_back = pack(library, weight), pack(library, weight, back=True)
    ahead, backward = torch.zeros_like(whole_ahead), torch.zeros_like(whole_back)
    for first, rows in ((0, 32), (32, 16), (48, 48)):
        part = weight[first : first + rows].clone()
        library.pack(part, rows, 64, ahead, backward, first, 96)
    assert torch.equal(ahead, whole_ahead)
    assert torch.equal(backward, whole_back)


# --- LayerNorm ---------------------------------------------------------------------------------


class Normed:
    """A product with dropout, residual and LayerNorm, and all that is kept of it."""

    def __init__(self, library: Library, rows: int, width: int, p: float, seed: int = 5) -> None:
        inner, numbers = 64, library.form.numbers
        self.x, self.weight = noise(rows, inner).to(numbers), noise(width, inner, seed=1, scale=0.3)
        self.bias, self.residual = noise(width, seed=2), noise(rows, width, seed=3).to(numbers)
        self.gamma, self.beta = 1 + noise(width, seed=4, scale=0.3), noise(width, seed=6)
        self.y, self.before = torch.empty(2, rows, width, dtype=numbers)
        self.mask = torch.empty(rows, width // 32, dtype=torch.int32)
        self.stats = torch.empty(rows, 2)
        room = torch.empty(rows, library.form.whole_panels(width))
        library.product_norm(
            self.x, rows, inner, pack(library, self.weight), width, self.bias,
            self.residual, p, seed, self.gamma, self.beta, 1e-12, room,
            self.before, self.mask, self.stats, self.y,
        )  # fmt: skip

    def kept(self) -> Tensor:
        """The mask, as zeros and ones."""
        bits = torch.arange(32, dtype=torch.int64)
        words = self.mask.to(torch.int64)[:, :, None] >> bits & 1
        return words.flatten(1).double()


@EVERY_KIND
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(1, 32), (37, 64), (130, 160)])
def test_product_dropout_residual_and_norm_are_those_of_float64(
    kind: str, p: float, shape: tuple[int, int]
) -> None:
    rows, width = shape
    numbers = kernels(kind).form.numbers
    for number in (1, 3):
        with threads(number):
            n = Normed(kernels(kind), rows, width, p)
        product = n.x.double() @ n.weight.to(numbers).double().t() + n.bias.double()
        before = n.residual.double() + product * n.kept() / (1 - p)
        assert relative(n.before, before) < ROUNDED[numbers]
        right = F.layer_norm(n.before.double(), (width,), n.gamma.double(), n.beta.double(), 1e-12)
        assert relative(n.y, right) < ROUNDED[numbers]


@EVERY_LIBRARY
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_way_back_through_norm_and_dropout_is_autograds(kind: str, p: float) -> None:
    library, rows, width = kernels(kind), 71, 96
    n = Normed(library, rows, width, p)
    dy = noise(rows, width, seed=9)
    room, dproduct = torch.empty(3, 2, width), torch.empty(rows, width, dtype=library.form.numbers)
    dresidual, dgamma, dbeta = torch.empty(rows, width), torch.empty(width), torch.empty(width)
    library.norm_back(
        dy, n.before, n.stats, n.gamma, n.mask, p, rows, width, room,
        dresidual, dproduct, dgamma, dbeta,
    )  # fmt: skip
    before = n.before.double().requires_grad_()
    gamma, beta = n.gamma.double().requires_grad_(), n.beta.double().requires_grad_()
    y = F.layer_norm(before, (width,), gamma, beta, 1e-12)
    wanted = torch.autograd.grad(y, (before, gamma, beta), dy.double())
    for found, right in zip((dresidual, dgamma, dbeta), wanted, strict=True):
        assert relative(found, right) < 1e-5
    assert relative(dproduct, wanted[0] * n.kept() / (1 - p)) < ROUNDED[library.form.numbers]


@EVERY_LIBRARY
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_numbers_with_probability_1_minus_p_and_by_its_seed(
    kind: str, p: float
) -> None:
    library = kernels(kind)
    one, again, other = (Normed(library, 512, 64, p, seed) for seed in (1, 1, 2))
    share = one.kept().mean()
    assert abs(share - (1 - p)) < 5 * (p * (1 - p) / one.kept().numel()) ** 0.5
    assert torch.equal(one.mask, again.mask)
    assert not torch.equal(one.mask, other.mask)
    together = torch.corrcoef(torch.stack([one.kept().flatten(), other.kept().flatten()]))
    assert abs(together[0, 1]) < 0.03
    neighbours = torch.corrcoef(one.kept().T)
    assert (neighbours - torch.eye(64)).abs().max() < 0.3


# --- attention ---------------------------------------------------------------------------------

LENGTHS = [(1,), (16, 17), (3, 40, 1, 64, 7)]


class Attended:
    def __init__(self, library: Library, lengths: tuple[int, ...], d: int, p: float) -> None:
        self.heads, self.d, self.p, self.library = 3, d, p, library
        width = self.heads * d
        self.qkv = noise(sum(lengths), 3 * width, scale=1.5).to(library.form.numbers)
        self.places = Places.of(torch.tensor(lengths))
        rows = self.places.rows * self.heads
        self.weights = torch.empty(16 * rows, dtype=library.form.numbers)
        self.mask = torch.empty(rows, dtype=torch.int16) if p else None
        self.out = torch.empty(len(self.qkv), width, dtype=library.form.numbers)
        library.attention(
            self.qkv, *self._texts(), self.heads, d, p, 11, self.weights, self.mask,
            self.out,
        )  # fmt: skip

    def back(self, dout: Tensor) -> Tensor:
        dqkv = torch.full_like(self.qkv, torch.nan)
        self.library.attention_back(
            dout, self.qkv, *self._texts(), self.heads, self.d, self.p, self.weights,
            self.mask, dqkv,
        )  # fmt: skip
        return dqkv

    def reference(self, qkv: Tensor) -> Tensor:
        """The same from qkv in float64, with the mask that was drawn."""
        return torch.cat([self._text(qkv, r) for r in range(len(self.places.lengths_R))])

    def _text(self, qkv: Tensor, r: int) -> Tensor:
        start, length = int(self.places.starts_R[r]), int(self.places.lengths_R[r])
        text = qkv[start : start + length].view(length, 3, self.heads, self.d)
        q, k, v = text.permute(1, 2, 0, 3)
        weights = torch.softmax(q @ k.mT / self.d**0.5, -1)
        if self.mask is not None:
            first, wide = int(self.places.rows_R[r]) * self.heads, -(-length // 16)
            words = self.mask[first : first + self.heads * length * wide].to(torch.int64)
            kept = (words[:, None] >> torch.arange(16) & 1).view(self.heads, length, -1)
            weights = weights * kept[:, :, :length] / (1 - self.p)
        mixed: Tensor = weights @ v
        return mixed.transpose(0, 1).flatten(1)

    def _texts(self) -> tuple[Tensor, Tensor, Tensor, int]:
        places = self.places
        return places.starts_R, places.lengths_R, places.rows_R, len(places.lengths_R)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("d", [16, 32, 64])
@pytest.mark.parametrize("p", [0.0, 0.25])
@EVERY_LIBRARY
def test_attention_and_its_way_back_are_those_of_float64(
    kind: str, lengths: tuple[int, ...], d: int, p: float
) -> None:
    library = kernels(kind)
    attended, rounded = Attended(library, lengths, d, p), ROUNDED[library.form.numbers]
    qkv = attended.qkv.double().requires_grad_()
    right = attended.reference(qkv)
    assert relative(attended.out, right.detach()) < 2 * rounded  # the weights are rounded as well
    dout = noise(*attended.out.shape, seed=8).to(library.form.numbers)
    torch.autograd.backward(right, dout.double())
    assert qkv.grad is not None
    assert relative(attended.back(dout), qkv.grad) < 3 * rounded


@EVERY_LIBRARY
def test_attention_dropout_keeps_weights_with_probability_1_minus_p(kind: str) -> None:
    attended = Attended(kernels(kind), (64,) * 8, 32, 0.25)
    assert attended.mask is not None
    kept = (attended.mask.to(torch.int64)[:, None] >> torch.arange(16) & 1).double()
    assert abs(kept.mean() - 0.75) < 5 * (0.25 * 0.75 / kept.numel()) ** 0.5


@pytest.mark.parametrize("number", [2, 3, 7])
@EVERY_KIND
def test_no_result_depends_on_the_number_of_threads(kind: str, number: int) -> None:
    def all_results() -> list[Tensor]:
        with switched(KINDS[kind]):
            library = kernels(kind)
            normed = Normed(library, 90, 96, 0.1)
            attended = Attended(library, (3, 40, 1), 32, 0.1)
            x, weight = noise(90, 64).to(library.form.numbers), noise(112, 64)
            g = noise(90, 112, seed=3).to(library.form.numbers)
            product, _ = multiply(library, BIAS, x, weight, noise(112), g)
            dW, db = torch.empty(112, 64), torch.empty(112)
            room = torch.empty(library.gradient_room(90, 112, 64), dtype=torch.int32)
            library.weight_gradient(g, x, 90, 112, 64, room, dW, db)
        return [normed.y, normed.mask, attended.out, attended.back(attended.out), product, dW, db]

    alone = all_results()
    with threads(number):
        together = all_results()
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_both_libraries_drop_the_same_numbers_for_a_seed() -> None:
    wide, narrow = (Normed(kernels(kind), 70, 96, 0.3, seed=4) for kind in ("vectors", "avx2"))
    assert torch.equal(wide.mask, narrow.mask)
    texts = [Attended(kernels(kind), (3, 40, 17), 32, 0.3) for kind in ("vectors", "avx2")]
    assert texts[0].mask is not None
    assert texts[1].mask is not None
    # What lies beyond a text's last token is drawn, too, and read by nobody.
    assert torch.equal(texts[0].mask, texts[1].mask)
