#include "attention.h"

/* --- small products --------------------------------------------------------------------------- */

INLINE void block(const int rows, const int wide, const pair *A, long a_row, long a_next,
                  const pair *B, long b_stride, long K2, float *C, long c_stride) {
  __m512 sum[FEW][4];
  _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++) sum[i][j] = _mm512_setzero_ps();
  for (long k = 0; k < K2; k++) {
    __m512i b[4];
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
      b[j] = _mm512_loadu_si512(B + k * b_stride + 16 * j);
    _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++) {
      __m512i a = _mm512_set1_epi32((int)A[i * a_row + k * a_next]);
      _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
        sum[i][j] = dot_pairs(sum[i][j], a, b[j]);
    }
  }
  _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
      _mm512_storeu_ps(C + i * c_stride + 16 * j, sum[i][j]);
}

INLINE void blocks(const int rows, const pair *A, long a_row, long a_next, const pair *B,
                   long b_stride, long columns, long K2, float *C, long c_stride) {
  for (; columns >= 64; columns -= 64, B += 64, C += 64)
    block(rows, 4, A, a_row, a_next, B, b_stride, K2, C, c_stride);
  switch (columns / 16) {
    case 3: block(rows, 3, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
    case 2: block(rows, 2, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
    case 1: block(rows, 1, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
  }
}

void few_rows(int rows, const pair *A, long a_row, long a_next, const pair *B, long b_stride,
              long columns, long K2, float *C, long c_stride) {
  switch (rows) {
    case 1: blocks(1, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    case 2: blocks(2, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    case 3: blocks(3, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    default: blocks(4, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride);
  }
}

void columns_of(const bf16 *x, long stride, long L, long wide, long d, pair *out) {
  for (long row = 0; row < L; row += 16)
    for (long k = 0; k < d / 2; k += 16) {
      const long there = least(16, d / 2 - k); /* 8 or 16 */
      const __mmask16 mask = (__mmask16)((1u << there) - 1);
      __m512i r[16];
      _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
        r[i] = row + i < L ? _mm512_maskz_loadu_epi32(mask, x + (row + i) * stride + 2 * k)
                           : _mm512_setzero_si512();
      transpose(r);
      for (int i = 0; i < there; i++) _mm512_storeu_si512(out + (k + i) * wide + row, r[i]);
    }
}

void pairs_of(const bf16 *x, long stride, long L, long width, pair *out) {
  for (long row = 0; row < L; row += 2, out += width)
    for (long k = 0; k < width; k += 16) {
      const bf16 *at = x + row * stride + k;
      _mm512_storeu_si512(out + k, paired(at, row + 1 < L ? at + stride : 0));
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

/* One token's scores s[wide] to its weights after dropout; row: of all rows of 16 weights. */
static void softmax(const Texts *t, const Head *h, float *s, long row, bf16 *dropped) {
  const __mmask16 last = (__mmask16)(0xffff >> (h->wide - h->L));
  __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
  for (long j = 0; j < h->wide; j += 16)
    top = _mm512_mask_max_ps(top, j + 16 <= h->L ? 0xffff : last, top, _mm512_loadu_ps(s + j));
  const __m512 most = _mm512_set1_ps(_mm512_reduce_max_ps(top)), scale = _mm512_set1_ps(t->scale);
  for (long j = 0; j < h->wide; j += 16) {
    __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(s + j), most), scale);
    x = _mm512_maskz_mov_ps(j + 16 <= h->L ? 0xffff : last, exponential(x));
    _mm512_storeu_ps(s + j, x);
    sum = _mm512_add_ps(sum, x);
  }
  const __m512 share = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
  uint32_t bits = 0;
  for (long j = 0; j < h->wide; j += 16, row++) {
    __m512 x = _mm512_mul_ps(_mm512_loadu_ps(s + j), share);
    if (t->weights) store_bf16(t->weights + 16 * row, x);
    if (t->threshold) {
      if (j % 32 == 0) bits = kept_bits(t->seed, (uint64_t)row, t->threshold);
      __mmask16 kept = (__mmask16)(j % 32 ? bits >> 16 : bits);
      if (t->mask) t->mask[row] = kept;
      x = _mm512_maskz_mul_ps(kept, x, _mm512_set1_ps(t->kept_scale));
    }
    store_bf16(dropped + j, x);
  }
}

static void forward(void *given, long unit) {
  const Texts *t = given;
  const Head h = head_of(t, unit);
  const long d = t->d, D = t->H * d;
  bf16 *out = t->out + t->start[unit / t->H] * D + unit % t->H * d;
  pair *keys = scratch(0, (size_t)(d / 2 * h.wide) * 4);
  pair *values = scratch(1, (size_t)(h.L2 * d) * 4);
  float *scores = scratch(2, (size_t)(FEW * h.wide) * 4);
  float *mixed = scratch(3, (size_t)(FEW * d) * 4);
  bf16 *dropped = scratch(4, (size_t)(FEW * h.wide) * 2);
  columns_of(h.k, h.stride, h.L, h.wide, d, keys);
  pairs_of(h.v, h.stride, h.L, d, values);
  for (long i = 0; i < h.L; i += FEW) {
    int rows = (int)least(FEW, h.L - i);
    few_rows(rows, (const pair *)(h.q + i * h.stride), h.stride / 2, 1, keys, h.wide, h.wide, d / 2,
             scores, h.wide);
    for (int e = 0; e < rows; e++)
      softmax(t, &h, scores + e * h.wide, h.kept + (i + e) * (h.wide / 16), dropped + e * h.wide);
    few_rows(rows, (const pair *)dropped, h.wide / 2, 1, values, d, d, h.L2, mixed, d);
    for (int e = 0; e < rows; e++)
      for (long j = 0; j < d; j += 16)
        store_bf16(out + (i + e) * D + j, _mm512_loadu_ps(mixed + e * d + j));
  }
}

/* out [tokens][D] = softmax(q k^T / sqrt(d)) v within each text. weights and mask are kept for the
 * backward pass, or null. */
API void trivium_attention(const bf16 *qkv, const int64_t *start, const int64_t *length,
                           const int64_t *place, long R, long H, long d, float p, uint64_t seed,
                           bf16 *weights, uint16_t *mask, bf16 *out) {
  Texts t = {qkv, start, length, place, R, H, d, threshold_of(p), 1.0f / (1.0f - p),
             1.0f / sqrtf((float)d), seed, weights, mask, 0, out};
  each(R * H, forward, &t);
}
