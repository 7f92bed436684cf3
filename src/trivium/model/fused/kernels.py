"""What stands between the products of a layer, in Triton. Only `launch` imports this file.

Matrices are read row after row in bf16 and computed in fp32. Four rows of a matrix are a *group*,
because a draw of Philox is four numbers. Kernels that go back also add up columns, for the
gradients of biases and of LayerNorm: each program leaves the sums of its own groups in a row of
`sums`, and `add_up` adds the rows, always in one order. So a run that is repeated is the same to
the bit.

Letters of a program's own tile: R its four rows, C its columns; L the tokens of a text, twice in a
matrix of attention's weights, d the columns of a head.
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
    columns, tokens, place, threshold, scale,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Gradients of `norm`'s residual and update, and sums for weight, bias and update's columns.

    Without dropout the two are one, and only `to_residual` is written. columns: of `sums`.
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
    _leave(sums + program * columns, column_C, of_weight_C, of_bias_C, of_update_C, WIDTH)


@triton.jit
def _leave(sums, column_C, first_C, second_C, third_C, WIDTH: tl.constexpr):
    """A program's sums, three times as wide as a row."""
    tl.store(sums + column_C, first_C, mask=column_C < WIDTH)
    tl.store(sums + WIDTH + column_C, second_C, mask=column_C < WIDTH)
    tl.store(sums + 2 * WIDTH + column_C, third_C, mask=column_C < WIDTH)


@triton.jit(do_not_specialize=["tokens"])
def gelu_back(
    grad, x, sums, columns, tokens, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
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
    tl.store(sums + program * columns + column_C, sum_C, mask=inside_C)


@triton.jit(do_not_specialize=["tokens"])
def beside(
    first, second, third, out, sums, columns, tokens, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
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
    _leave(sums + program * columns, column_C, first_C, second_C, third_C, WIDTH)


@triton.jit(do_not_specialize=["programs"])
def add_up(sums, out, columns, programs, BLOCK: tl.constexpr):
    """out = the sum of the rows that so many programs have left in `sums`."""
    column_C = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside_C = column_C < columns
    total_SC = tl.zeros([AT_ONCE, BLOCK], dtype=tl.float32)
    for start in range(0, programs, AT_ONCE):
        row_S = start + tl.arange(0, AT_ONCE)
        there_SC = (row_S < programs)[:, None] & inside_C[None, :]
        total_SC += tl.load(
            sums + row_S[:, None] * columns + column_C[None, :], mask=there_SC, other=0.0
        )
    tl.store(out + column_C, tl.sum(total_SC, axis=0), mask=inside_C)


# --- attention of short texts ------------------------------------------------------------------


@triton.jit
def _heads(qkv, starts, text, head, WIDTH: tl.constexpr, SIZE: tl.constexpr, LENGTH: tl.constexpr):
    """A text's q, k and v in one head, where its tokens start, and which there are."""
    begin, row_L = tl.load(starts + text), tl.arange(0, LENGTH)
    there_L = row_L < tl.load(starts + text + 1) - begin
    column_d = head * SIZE + tl.arange(0, SIZE)
    at_Ld = (begin + row_L)[:, None] * (3 * WIDTH) + column_d[None, :]
    q_Ld = tl.load(qkv + at_Ld, mask=there_L[:, None], other=0.0)
    k_Ld = tl.load(qkv + WIDTH + at_Ld, mask=there_L[:, None], other=0.0)
    v_Ld = tl.load(qkv + 2 * WIDTH + at_Ld, mask=there_L[:, None], other=0.0)
    return q_Ld, k_Ld, v_Ld, begin, there_L


@triton.jit
def _weights(q_Ld, k_Ld, there_L, scale):
    """softmax(q k^T * scale), finite even where there is no token."""
    scores_LL = tl.dot(q_Ld, tl.trans(k_Ld)) * scale
    scores_LL = tl.where(there_L[None, :], scores_LL, -1e30)
    scores_LL = tl.exp(scores_LL - tl.max(scores_LL, axis=1)[:, None])
    return scores_LL / tl.sum(scores_LL, axis=1)[:, None]


@triton.jit
def _weight_factors(seed, place, number, threshold, scale, LENGTH: tl.constexpr):
    """What dropout multiplies the weights of a text and head with, which have a `number`.

    A draw is eight times 16 bits. threshold: of 24 bits, as elsewhere.
    """
    EIGHTH: tl.constexpr = LENGTH // 8
    row_E, column_L = tl.arange(0, EIGHTH), tl.arange(0, LENGTH)
    offset_EL = (number * EIGHTH + row_E)[:, None] * LENGTH + column_L[None, :]
    a_EL, b_EL, c_EL, d_EL = tl.randint4x(tl.load(seed) + place, offset_EL, ROUNDS)
    four = tl.join(tl.join(a_EL, b_EL), tl.join(c_EL, d_EL))
    bits_LL = tl.reshape(tl.join(four & 0xFFFF, four >> 16), [LENGTH, LENGTH])
    return tl.where(bits_LL.to(tl.int32) >= threshold >> 8, scale, 0.0)


@triton.jit(do_not_specialize=["place", "threshold"])
def attend(
    qkv, starts, seed, out, place, threshold, keep, scale,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, LENGTH: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """out = softmax(q k^T * scale) v, a program for each text and head. keep: 1 / (1 - p)."""
    text, head = tl.program_id(0), tl.program_id(1)
    q_Ld, k_Ld, v_Ld, begin, there_L = _heads(qkv, starts, text, head, WIDTH, SIZE, LENGTH)
    weights_LL = _weights(q_Ld, k_Ld, there_L, scale)
    if DROPS:
        number = text * (WIDTH // SIZE) + head
        weights_LL *= _weight_factors(seed, place, number, threshold, keep, LENGTH)
    mixed_Ld = tl.dot(weights_LL.to(v_Ld.dtype), v_Ld)
    row_L = begin + tl.arange(0, LENGTH)
    at_Ld = row_L[:, None] * WIDTH + (head * SIZE + tl.arange(0, SIZE))[None, :]
    tl.store(out + at_Ld, mixed_Ld.to(out.dtype.element_ty), mask=there_L[:, None])


@triton.jit(do_not_specialize=["texts", "place", "threshold"])
def attend_back(
    grad, qkv, starts, seed, out, sums, columns, texts, place, threshold, keep, scale,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, LENGTH: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """The gradients of q, k and v side by side, and the sums of their columns.

    The weights are made again: a text's all fit into one program.
    """
    program, head = tl.program_id(0), tl.program_id(1)
    column_d = head * SIZE + tl.arange(0, SIZE)
    of_q_d = tl.zeros([SIZE], dtype=tl.float32)
    of_k_d = tl.zeros([SIZE], dtype=tl.float32)
    of_v_d = tl.zeros([SIZE], dtype=tl.float32)
    for text in range(program, texts, tl.num_programs(0)):
        q_Ld, k_Ld, v_Ld, begin, there_L = _heads(qkv, starts, text, head, WIDTH, SIZE, LENGTH)
        row_L = begin + tl.arange(0, LENGTH)
        at_Ld = row_L[:, None] * WIDTH + column_d[None, :]
        grad_Ld = tl.load(grad + at_Ld, mask=there_L[:, None], other=0.0)
        weights_LL = _weights(q_Ld, k_Ld, there_L, scale)
        back_LL = tl.dot(grad_Ld, tl.trans(v_Ld))
        dropped_LL = weights_LL
        if DROPS:
            number = text * (WIDTH // SIZE) + head
            factor_LL = _weight_factors(seed, place, number, threshold, keep, LENGTH)
            dropped_LL = weights_LL * factor_LL
            back_LL *= factor_LL
        v_back_Ld = tl.dot(tl.trans(dropped_LL.to(grad_Ld.dtype)), grad_Ld)
        back_LL = weights_LL * (back_LL - tl.sum(weights_LL * back_LL, axis=1)[:, None]) * scale
        low_LL = back_LL.to(grad_Ld.dtype)
        q_back_Ld, k_back_Ld = tl.dot(low_LL, k_Ld), tl.dot(tl.trans(low_LL), q_Ld)
        to_Ld = out + row_L[:, None] * (3 * WIDTH) + column_d[None, :]
        tl.store(to_Ld, q_back_Ld.to(out.dtype.element_ty), mask=there_L[:, None])
        tl.store(to_Ld + WIDTH, k_back_Ld.to(out.dtype.element_ty), mask=there_L[:, None])
        tl.store(to_Ld + 2 * WIDTH, v_back_Ld.to(out.dtype.element_ty), mask=there_L[:, None])
        of_q_d += tl.sum(q_back_Ld, axis=0)
        of_k_d += tl.sum(k_back_Ld, axis=0)
        of_v_d += tl.sum(v_back_Ld, axis=0)
    _leave(sums + program * columns, column_d, of_q_d, of_k_d, of_v_d, WIDTH)
