#include "attention.h"

/* The gradient of one token's weights, in s[wide], to that of its scores; and its weights after
 * dropout, which the values' gradient is made of. */
static void softmax_back(const Texts *t, const Head *h, float *s, long row, bf16 *dscores,
                         bf16 *dropped) {
  const bf16 *weights = t->weights + 16 * row;
  __m512 dot = _mm512_setzero_ps();
  for (long j = 0; j < h->wide; j += 16) {
    __m512 w = load_bf16(weights + j), g = _mm512_loadu_ps(s + j), after = w;
    if (t->mask) {
      __mmask16 kept = t->mask[row + j / 16];
      g = _mm512_maskz_mul_ps(kept, g, _mm512_set1_ps(t->kept_scale));
      after = _mm512_maskz_mul_ps(kept, w, _mm512_set1_ps(t->kept_scale));
    }
    store_bf16(dropped + j, after);
    _mm512_storeu_ps(s + j, g);
    dot = _mm512_fmadd_ps(w, g, dot);
  }
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(dot)), scale = _mm512_set1_ps(t->scale);
  for (long j = 0; j < h->wide; j += 16) {
    __m512 x = _mm512_mul_ps(load_bf16(weights + j), scale);
    store_bf16(dscores + j, _mm512_mul_ps(x, _mm512_sub_ps(_mm512_loadu_ps(s + j), mean)));
  }
}

static void store_rows(const float *from, int rows, long d, bf16 *to, long stride) {
  for (int e = 0; e < rows; e++)
    for (long j = 0; j < d; j += 16)
      store_bf16(to + e * stride + j, _mm512_loadu_ps(from + e * d + j));
}

static void backward(void *given, long unit) {
  const Texts *t = given;
  const Head h = head_of(t, unit);
  const long d = t->d, D = t->H * d, first = t->start[unit / t->H], column = unit % t->H * d;
  const bf16 *dout = t->dout + first * D + column;
  bf16 *dq = t->out + first * 3 * D + column, *dk = dq + D, *dv = dk + D;
  pair *values = scratch(0, (size_t)(d / 2 * h.wide) * 4);
  pair *q = scratch(1, (size_t)(3 * h.L2 * d) * 4), *k = q + h.L2 * d, *g = k + h.L2 * d;
  float *s = scratch(2, (size_t)(FEW * h.wide) * 4), *few = scratch(3, (size_t)(FEW * d) * 4);
  bf16 *dscores = scratch(4, (size_t)(4 * h.L2 * h.wide) * 2), *dropped = dscores + 2 * h.L2 * h.wide;
  pair *ds = scratch(5, (size_t)(2 * h.L2 * h.wide) * 4), *after = ds + h.L2 * h.wide;
  columns_of(h.v, h.stride, h.L, h.wide, d, values);
  pairs_of(h.q, h.stride, h.L, d, q);
  pairs_of(h.k, h.stride, h.L, d, k);
  pairs_of(dout, D, h.L, d, g);
  for (long i = 0; i < h.L; i += FEW) {
    int rows = (int)least(FEW, h.L - i);
    few_rows(rows, (const pair *)(dout + i * D), D / 2, 1, values, h.wide, h.wide, d / 2, s, h.wide);
    for (int e = 0; e < rows; e++)
      softmax_back(t, &h, s + e * h.wide, h.kept + (i + e) * (h.wide / 16),
                   dscores + (i + e) * h.wide, dropped + (i + e) * h.wide);
    few_rows(rows, (const pair *)(dscores + i * h.wide), h.wide / 2, 1, k, d, d, h.L2, few, d);
    store_rows(few, rows, d, dq + i * h.stride, h.stride);
  }
  pairs_of(dscores, h.wide, h.L, h.wide, ds);
  pairs_of(dropped, h.wide, h.L, h.wide, after);
  for (long j = 0; j < h.L; j += FEW) { /* the same from each key's side: the matrix turned */
    int rows = (int)least(FEW, h.L - j);
    few_rows(rows, ds + j, 1, h.wide, q, d, d, h.L2, few, d);
    store_rows(few, rows, d, dk + j * h.stride, h.stride);
    few_rows(rows, after + j, 1, h.wide, g, d, d, h.L2, few, d);
    store_rows(few, rows, d, dv + j * h.stride, h.stride);
  }
}

/* dqkv [tokens][3 D] from dout [tokens][D] and what the forward pass kept. */
API void trivium_attention_back(const bf16 *dout, const bf16 *qkv, const int64_t *start,
                                const int64_t *length, const int64_t *place, long R, long H, long d,
                                float p, bf16 *weights, uint16_t *mask, bf16 *dqkv) {
  Texts t = {qkv, start, length, place, R, H, d, mask ? threshold_of(p) : 0, 1.0f / (1.0f - p),
             1.0f / sqrtf((float)d), 0, weights, mask, dout, dqkv};
  each(R * H, backward, &t);
}
