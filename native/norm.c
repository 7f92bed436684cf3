/* y = LayerNorm(residual + dropout(x W^T + bias)), and its backward pass. */
#include "product.h"
#include <string.h>

typedef struct {
  Product product;
  const bf16 *residual; /* [M][D] */
  int threshold;
  float kept_scale;
  uint64_t seed;
  const float *gamma, *beta;
  float eps;
  bf16 *before;   /* [M][D] what is normalised, for the backward pass; or null */
  uint32_t *mask; /* [M][D / 32] bits of what dropout kept; or null */
  float *stats;   /* [M][2] mean and 1 / standard deviation; or null */
  float *room;    /* [M][width] for the product where it is made apart */
  long blocks, slices, width;
} Normed;

/* One row; u: its product, which is overwritten. */
static void normalise(const Normed *p, float *u, long row) {
  long D = p->product.N;
  const bf16 *residual = p->residual + row * D;
  const float *bias = p->product.bias;
  __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
  const __m512 kept_scale = _mm512_set1_ps(p->kept_scale);
  for (long j = 0; j < D; j += 32) {
    uint32_t kept = 0xffffffffu;
    if (p->threshold) kept = kept_bits(p->seed, (uint64_t)(row * (D / 32) + j / 32), p->threshold);
    if (p->mask) p->mask[row * (D / 32) + j / 32] = kept;
    for (int e = 0; e < 2; e++) {
      long at = j + 16 * e;
      __m512 x = _mm512_add_ps(_mm512_loadu_ps(u + at), _mm512_loadu_ps(bias + at));
      x = _mm512_maskz_mul_ps((__mmask16)(kept >> (16 * e)), x, kept_scale);
      __m256i rounded = narrowed(_mm512_add_ps(x, load_bf16(residual + at)));
      if (p->before) _mm256_storeu_si256((__m256i *)(p->before + row * D + at), rounded);
      x = widened(rounded); /* as the backward pass will see it */
      _mm512_storeu_ps(u + at, x);
      sum = _mm512_add_ps(sum, x);
    }
  }
  float mean = _mm512_reduce_add_ps(sum) / (float)D;
  for (long j = 0; j < D; j += 16) {
    __m512 x = _mm512_sub_ps(_mm512_loadu_ps(u + j), _mm512_set1_ps(mean));
    squares = _mm512_fmadd_ps(x, x, squares);
  }
  float scale = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / (float)D + p->eps);
  if (p->stats) p->stats[2 * row] = mean, p->stats[2 * row + 1] = scale;
  for (long j = 0; j < D; j += 16) {
    __m512 x = _mm512_sub_ps(_mm512_loadu_ps(u + j), _mm512_set1_ps(mean));
    x = _mm512_mul_ps(x, _mm512_set1_ps(scale));
    x = _mm512_fmadd_ps(x, _mm512_loadu_ps(p->gamma + j), _mm512_loadu_ps(p->beta + j));
    store_bf16(p->product.out + row * D + j, x);
  }
}

static void multiply(const Normed *p, Span rows, long first, long last, float *c) {
  const Product *q = &p->product;
  for (long n = first; n < last; n++)
    for (long row = rows.low; row < rows.high; row += GROUP)
      times_panel((int)least(GROUP, rows.high - row), (const pair *)(q->x + row * q->K), q->K / 2,
                  q->B + n * (q->K / 2) * PANEL, q->K / 2,
                  c + (row - rows.low) * p->width + n * PANEL, p->width);
}

static void block_of_rows(void *given, long b) {
  const Normed *p = given;
  Span rows = span_of(b, p->blocks, p->product.M, GROUP);
  float *c = scratch(0, (size_t)(rows.high - rows.low) * p->width * sizeof(float));
  multiply(p, rows, 0, p->width / PANEL, c);
  for (long row = rows.low; row < rows.high; row++)
    normalise(p, c + (row - rows.low) * p->width, row);
}

static void slice_of_panels(void *given, long unit) {
  const Normed *p = given;
  Span rows = span_of(unit / p->slices, p->blocks, p->product.M, GROUP);
  long slice = unit % p->slices, panels = p->width / PANEL;
  multiply(p, rows, slice * panels / p->slices, (slice + 1) * panels / p->slices,
           p->room + rows.low * p->width);
}

static void row_of_room(void *given, long row) {
  const Normed *p = given;
  normalise(p, p->room + row * p->width, row);
}

/* room: fp32 [M][up_to(D, PANEL)], used where there are fewer blocks of rows than threads. */
API void trivium_product_norm(const bf16 *x, long M, long K, const pair *B, long D,
                              const float *bias, const bf16 *residual, float p, uint64_t seed,
                              const float *gamma, const float *beta, float eps, float *room,
                              bf16 *before, uint32_t *mask, float *stats, bf16 *y) {
  Normed n = {
      {BIAS, x, M, K, D, B, bias, y, 0, 0}, residual, threshold_of(p), 1.0f / (1.0f - p), seed,
      gamma, beta, eps, before, mask, stats, room, blocks_of(M), threads(), up_to(D, PANEL)};
  if (n.blocks >= threads()) {
    each(n.blocks, block_of_rows, &n);
  } else {
    each(n.blocks * n.slices, slice_of_panels, &n);
    each(M, row_of_room, &n);
  }
}

/* --- backward --------------------------------------------------------------------------------- */

enum { ROWS = 32 }; /* whose gradients of gamma and beta are summed first: a fixed order */

typedef struct {
  const float *dy; /* [M][D] */
  const bf16 *before;
  const float *stats, *gamma;
  const uint32_t *mask;
  float kept_scale;
  long M, D;
  float *sums;      /* [blocks][2][D] */
  float *dresidual; /* [M][D] */
  bf16 *dproduct;   /* [M][D] */
  float *dgamma, *dbeta;
} Back;

static void back_row(const Back *p, long row, float *gamma_sum, float *beta_sum) {
  long D = p->D;
  const float *dy = p->dy + row * D;
  const bf16 *before = p->before + row * D;
  const __m512 mean = _mm512_set1_ps(p->stats[2 * row]), scale = _mm512_set1_ps(p->stats[2 * row + 1]);
  __m512 s1 = _mm512_setzero_ps(), s2 = _mm512_setzero_ps();
  for (long j = 0; j < D; j += 16) {
    __m512 x = _mm512_mul_ps(_mm512_sub_ps(load_bf16(before + j), mean), scale);
    __m512 g = _mm512_loadu_ps(dy + j);
    _mm512_storeu_ps(gamma_sum + j, _mm512_fmadd_ps(g, x, _mm512_loadu_ps(gamma_sum + j)));
    _mm512_storeu_ps(beta_sum + j, _mm512_add_ps(g, _mm512_loadu_ps(beta_sum + j)));
    g = _mm512_mul_ps(g, _mm512_loadu_ps(p->gamma + j));
    s1 = _mm512_add_ps(s1, g);
    s2 = _mm512_fmadd_ps(g, x, s2);
  }
  const __m512 m1 = _mm512_set1_ps(_mm512_reduce_add_ps(s1) / (float)D),
               m2 = _mm512_set1_ps(_mm512_reduce_add_ps(s2) / (float)D),
               kept_scale = _mm512_set1_ps(p->kept_scale);
  for (long j = 0; j < D; j += 16) {
    __m512 x = _mm512_mul_ps(_mm512_sub_ps(load_bf16(before + j), mean), scale);
    __m512 g = _mm512_mul_ps(_mm512_loadu_ps(dy + j), _mm512_loadu_ps(p->gamma + j));
    g = _mm512_sub_ps(_mm512_sub_ps(g, m1), _mm512_mul_ps(x, m2));
    g = _mm512_mul_ps(scale, g);
    _mm512_storeu_ps(p->dresidual + row * D + j, g);
    __mmask16 kept = 0xffff;
    if (p->mask) kept = (__mmask16)(p->mask[row * (D / 32) + j / 32] >> (j % 32));
    store_bf16(p->dproduct + row * D + j, _mm512_maskz_mul_ps(kept, g, kept_scale));
  }
}

static void back_rows(void *given, long block) {
  const Back *p = given;
  float *sums = p->sums + block * 2 * p->D;
  memset(sums, 0, (size_t)(2 * p->D) * sizeof(float));
  for (long row = block * ROWS; row < least((block + 1) * ROWS, p->M); row++)
    back_row(p, row, sums, sums + p->D);
}

/* dy -> the gradients of residual (fp32) and of the product before dropout (bf16), of gamma and
 * beta. room: fp32 [(M + 31) / 32][2][D]. dresidual may be dy itself. */
API void trivium_norm_back(const float *dy, const bf16 *before, const float *stats,
                           const float *gamma, const uint32_t *mask, float p, long M, long D,
                           float *room, float *dresidual, bf16 *dproduct, float *dgamma,
                           float *dbeta) {
  Back b = {dy, before, stats, gamma, mask, 1.0f / (1.0f - p), M, D, room, dresidual, dproduct,
            dgamma, dbeta};
  long blocks = (M + ROWS - 1) / ROWS;
  each(blocks, back_rows, &b);
  memcpy(dgamma, room, (size_t)D * sizeof(float));
  memcpy(dbeta, room + D, (size_t)D * sizeof(float));
  for (long k = 1; k < blocks; k++)
    for (long j = 0; j < D; j++) {
      dgamma[j] += room[k * 2 * D + j];
      dbeta[j] += room[k * 2 * D + D + j];
    }
}
