"""What stands between the products of a layer, in Triton. Only `launch` imports this file.

Matrices are read row after row in bf16 and computed in fp32. Four rows of a matrix are a *group*,
because a draw of Philox is four numbers. Kernels that go back also add up columns, for the
gradients of biases and of LayerNorm: each program leaves the sums of its own groups in a row of
`sums`, and `add_up` adds the rows, always in one order. So a run that is repeated is the same to
the bit.

Small letters of a program's own tile: R its four rows, C its columns.
"""

import triton
import triton.language as tl

GROUP = tl.constexpr(4)
"""Rows of a group."""
ROUNDS = tl.constexpr(7)
"""Of Philox: the fewest that pass every test of randomness (Salmon et al. 2011, table 2)."""
AT_ONCE = tl.constexpr(64)
"""Rows of `sums` that `add_up` reads at a time."""


@triton.jit
def _places(group, column_C, tokens, WIDTH: tl.constexpr):
    """A group's rows, where its numbers stand, and which of them there are."""
    row_R = group * GROUP + tl.arange(0, GROUP)
    there_RC = (row_R < tokens)[:, None] & (column_C < WIDTH)[None, :]
    return row_R, row_R[:, None] * WIDTH + column_C[None, :], there_RC


@triton.jit
def _read(matrix, at, there):
    return tl.load(matrix + at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _factors(seed, place, group, column_C, threshold, scale, WIDTH: tl.constexpr):
    """What dropout multiplies a group with, `scale` or 0: a function of seed, place and where.

    threshold: of 24 random bits, from which on a number is kept.
    """
    offset_C = group * WIDTH + column_C
    a_C, b_C, c_C, d_C = tl.randint4x(tl.load(seed) + place, offset_C, ROUNDS)
    row_R1 = tl.arange(0, GROUP)[:, None]
    first_RC = tl.where(row_R1 == 0, a_C[None, :], b_C[None, :])
    last_RC = tl.where(row_R1 == 2, c_C[None, :], d_C[None, :])
    bits_RC = tl.where(row_R1 < 2, first_RC, last_RC) >> 8
    return tl.where(bits_RC.to(tl.int32) >= threshold, scale, 0.0)


@triton.jit(do_not_specialize=["tokens", "place", "threshold"])
def norm(
    update, residual, weight, bias, seed, out, mean, rstd,
    tokens, place, threshold, scale, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """out = LayerNorm(residual + dropout(update)), a group for each program."""
    group, column_C = tl.program_id(0), tl.arange(0, BLOCK)
    inside_C = column_C < WIDTH
    row_R, at_RC, there_RC = _places(group, column_C, tokens, WIDTH)
    x_RC = _read(update, at_RC, there_RC)
    residual_RC = _read(residual, at_RC, there_RC)
    weight_C = _read(weight, column_C, inside_C)
    bias_C = _read(bias, column_C, inside_C)
    if DROPS:
        x_RC *= _factors(seed, place, group, column_C, threshold, scale, WIDTH)
    x_RC += residual_RC
    mean_R = tl.sum(x_RC, axis=1) / WIDTH
    centred_RC = tl.where(inside_C[None, :], x_RC - mean_R[:, None], 0.0)
    rstd_R = tl.rsqrt(tl.sum(centred_RC * centred_RC, axis=1) / WIDTH + eps)
    y_RC = centred_RC * rstd_R[:, None] * weight_C[None, :] + bias_C[None, :]
    tl.store(out + at_RC, y_RC.to(out.dtype.element_ty), mask=there_RC)
    tl.store(mean + row_R, mean_R, mask=row_R < tokens)
    tl.store(rstd + row_R, rstd_R, mask=row_R < tokens)


@triton.jit(do_not_specialize=["tokens", "place", "threshold"])
def norm_back(
    grad, update, residual, weight, seed, mean, rstd, to_residual, to_update, sums,
    tokens, place, threshold, scale,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Gradients of `norm`'s residual and update, and sums for weight, bias and update's columns.

    Without dropout the two are one, and only `to_residual` is written. COLUMNS: of `sums`.
    """
    program, column_C = tl.program_id(0), tl.arange(0, BLOCK)
    inside_C = column_C < WIDTH
    weight_C = _read(weight, column_C, inside_C)
    of_weight_C = tl.zeros([BLOCK], dtype=tl.float32)
    of_bias_C = tl.zeros([BLOCK], dtype=tl.float32)
    of_update_C = tl.zeros([BLOCK], dtype=tl.float32)
    for group in range(program, tl.cdiv(tokens, GROUP), tl.num_programs(0)):
        row_R, at_RC, there_RC = _places(group, column_C, tokens, WIDTH)
        grad_RC = _read(grad, at_RC, there_RC)
        x_RC = _read(update, at_RC, there_RC)
        residual_RC = _read(residual, at_RC, there_RC)
        mean_R1 = _read(mean, row_R, row_R < tokens)[:, None]
        rstd_R1 = _read(rstd, row_R, row_R < tokens)[:, None]  # 0 for rows that are not there
        if DROPS:
            factor_RC = _factors(seed, place, group, column_C, threshold, scale, WIDTH)
            x_RC *= factor_RC
        # Of columns that are not there nothing is kept, and their part in a row's sums is 0.
        hat_RC = (x_RC + residual_RC - mean_R1) * rstd_R1
        of_weight_C += tl.sum(grad_RC * hat_RC, axis=0)
        of_bias_C += tl.sum(grad_RC, axis=0)
        grad_RC *= weight_C[None, :]
        middle_R1 = (tl.sum(grad_RC, axis=1) / WIDTH)[:, None]
        along_R1 = (tl.sum(grad_RC * hat_RC, axis=1) / WIDTH)[:, None]
        back_RC = (grad_RC - middle_R1 - hat_RC * along_R1) * rstd_R1
        tl.store(to_residual + at_RC, back_RC.to(to_residual.dtype.element_ty), mask=there_RC)
        if DROPS:
            back_RC *= factor_RC
            tl.store(to_update + at_RC, back_RC.to(to_update.dtype.element_ty), mask=there_RC)
        of_update_C += tl.sum(back_RC, axis=0)
    _leave(sums + program * COLUMNS, column_C, of_weight_C, of_bias_C, of_update_C, WIDTH)


@triton.jit
def _leave(sums, column_C, first_C, second_C, third_C, WIDTH: tl.constexpr):
    """A program's sums, three times as wide as a row."""
    tl.store(sums + column_C, first_C, mask=column_C < WIDTH)
    tl.store(sums + WIDTH + column_C, second_C, mask=column_C < WIDTH)
    tl.store(sums + 2 * WIDTH + column_C, third_C, mask=column_C < WIDTH)


@triton.jit(do_not_specialize=["tokens"])
def gelu_back(
    grad, x, sums, tokens,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """grad *= slope of the exact (erf) GELU at x, in place, and the sums of its columns."""
    program, column_C = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside_C = column_C < WIDTH
    sum_C = tl.zeros([BLOCK], dtype=tl.float32)
    for group in range(program, tl.cdiv(tokens, GROUP), tl.num_programs(0)):
        _, at_RC, there_RC = _places(group, column_C, tokens, WIDTH)
        grad_RC = _read(grad, at_RC, there_RC)
        x_RC = _read(x, at_RC, there_RC)
        below_RC = 0.5 + 0.5 * tl.erf(x_RC * 0.7071067811865476)
        density_RC = 0.3989422804014327 * tl.exp(-0.5 * x_RC * x_RC)
        back_RC = grad_RC * (below_RC + x_RC * density_RC)
        tl.store(grad + at_RC, back_RC.to(grad.dtype.element_ty), mask=there_RC)
        sum_C += tl.sum(back_RC, axis=0)
    tl.store(sums + program * COLUMNS + column_C, sum_C, mask=inside_C)


@triton.jit(do_not_specialize=["tokens"])
def beside(
    first, second, third, out, sums, tokens,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = three matrices side by side, and the sums of its columns."""
    program, column_C = tl.program_id(0), tl.arange(0, BLOCK)
    first_C = tl.zeros([BLOCK], dtype=tl.float32)
    second_C = tl.zeros([BLOCK], dtype=tl.float32)
    third_C = tl.zeros([BLOCK], dtype=tl.float32)
    for group in range(program, tl.cdiv(tokens, GROUP), tl.num_programs(0)):
        row_R, at_RC, there_RC = _places(group, column_C, tokens, WIDTH)
        to_RC = out + row_R[:, None] * (3 * WIDTH) + column_C[None, :]
        first_RC = tl.load(first + at_RC, mask=there_RC, other=0.0)
        second_RC = tl.load(second + at_RC, mask=there_RC, other=0.0)
        third_RC = tl.load(third + at_RC, mask=there_RC, other=0.0)
        tl.store(to_RC, first_RC, mask=there_RC)
        tl.store(to_RC + WIDTH, second_RC, mask=there_RC)
        tl.store(to_RC + 2 * WIDTH, third_RC, mask=there_RC)
        first_C += tl.sum(first_RC.to(tl.float32), axis=0)
        second_C += tl.sum(second_RC.to(tl.float32), axis=0)
        third_C += tl.sum(third_RC.to(tl.float32), axis=0)
    _leave(sums + program * COLUMNS, column_C, first_C, second_C, third_C, WIDTH)


@triton.jit(do_not_specialize=["programs"])
def add_up(sums, out, programs, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """out = the sum of the rows that so many programs have left in `sums`."""
    column_C = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside_C = column_C < COLUMNS
    total_SC = tl.zeros([AT_ONCE, BLOCK], dtype=tl.float32)
    for start in range(0, programs, AT_ONCE):
        row_S = start + tl.arange(0, AT_ONCE)
        there_SC = (row_S < programs)[:, None] & inside_C[None, :]
        total_SC += tl.load(
            sums + row_S[:, None] * COLUMNS + column_C[None, :], mask=there_SC, other=0.0
        )
    tl.store(out + column_C, tl.sum(total_SC, axis=0), mask=inside_C)
