/* y = LayerNorm(residual + dropout(x W^T + bias)), and its backward pass. */
#include "product.h"
#include <string.h>

typedef struct {
  Product product;
  const num *residual; /* [M][D] */
  int threshold;
  float kept_scale;
  uint64_t seed;
  const float *gamma, *beta;
  float eps;
  num *before;   /* [M][D] what is normalised, for the backward pass; or null */
  uint32_t *mask; /* [M][D / 32] bits of what dropout kept; or null */
  float *stats;   /* [M][2] mean and 1 / standard deviation; or null */
  float *room;    /* [M][width] for the product where it is made apart */
  long blocks, slices, width;
} Normed;

/* One row; u: its product, which is overwritten. */
static void normalise(const Normed *p, float *u, long row) {
  long D = p->product.N;
  const num *residual = p->residual + row * D;
  const float *bias = p->product.bias;
  vec sum = zeros(), squares = zeros();
  const vec kept_scale = all(p->kept_scale);
  for (long j = 0; j < D; j += 32) {
    uint32_t kept = 0xffffffffu;
    if (p->threshold) kept = kept_bits(p->seed, (uint64_t)(row * (D / 32) + j / 32), p->threshold);
    if (p->mask) p->mask[row * (D / 32) + j / 32] = kept;
    for (int e = 0; e < 32; e += LANES) {
      long at = j + e;
      vec x = keep(kept >> e, (load(u + at) + load(bias + at)) * kept_scale);
      x = as_num(x + load_num(residual + at)); /* as the backward pass will see it */
      if (p->before) store_num(p->before + row * D + at, x);
      store(u + at, x);
      sum = sum + x;
    }
  }
  float mean = sum_of(sum) / (float)D;
  for (long j = 0; j < D; j += LANES) {
    vec x = load(u + j) - all(mean);
    squares = times_plus(x, x, squares);
  }
  float scale = 1.0f / sqrtf(sum_of(squares) / (float)D + p->eps);
  if (p->stats) p->stats[2 * row] = mean, p->stats[2 * row + 1] = scale;
  for (long j = 0; j < D; j += LANES) {
    vec x = (load(u + j) - all(mean)) * all(scale);
    store_num(p->product.out + row * D + j, times_plus(x, load(p->gamma + j), load(p->beta + j)));
  }
}

static void multiply(const Normed *p, Span rows, long first, long last, float *c) {
  const Product *q = &p->product;
  for (long n = first; n < last; n++)
    for (long row = rows.low; row < rows.high; row += GROUP)
      times_panel((int)least(GROUP, rows.high - row), (const word *)(q->x + row * q->K), q->K / WORD,
                  q->B + n * (q->K / WORD) * PANEL, q->K / WORD,
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
API void trivium_product_norm(const num *x, long M, long K, const word *B, long D,
                              const float *bias, const num *residual, float p, uint64_t seed,
                              const float *gamma, const float *beta, float eps, float *room,
                              num *before, uint32_t *mask, float *stats, num *y) {
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
  const num *before;
  const float *stats, *gamma;
  const uint32_t *mask;
  float kept_scale;
  long M, D;
  float *sums;      /* [blocks][2][D] */
  float *dresidual; /* [M][D] */
  num *dproduct;   /* [M][D] */
  float *dgamma, *dbeta;
} Back;

static void back_row(const Back *p, long row, float *gamma_sum, float *beta_sum) {
  long D = p->D;
  const float *dy = p->dy + row * D;
  const num *before = p->before + row * D;
  const vec mean = all(p->stats[2 * row]), scale = all(p->stats[2 * row + 1]);
  vec s1 = zeros(), s2 = zeros();
  for (long j = 0; j < D; j += LANES) {
    vec x = (load_num(before + j) - mean) * scale, g = load(dy + j);
    store(gamma_sum + j, times_plus(g, x, load(gamma_sum + j)));
    store(beta_sum + j, g + load(beta_sum + j));
    g = g * load(p->gamma + j);
    s1 = s1 + g;
    s2 = times_plus(g, x, s2);
  }
  const vec m1 = all(sum_of(s1) / (float)D), m2 = all(sum_of(s2) / (float)D),
            kept_scale = all(p->kept_scale);
  for (long j = 0; j < D; j += LANES) {
    vec x = (load_num(before + j) - mean) * scale, g = load(dy + j) * load(p->gamma + j);
    g = scale * ((g - m1) - x * m2);
    store(p->dresidual + row * D + j, g);
    uint32_t kept = p->mask ? p->mask[row * (D / 32) + j / 32] >> (j % 32) : ~0u;
    store_num(p->dproduct + row * D + j, keep(kept, g * kept_scale));
  }
}

static void back_rows(void *given, long block) {
  const Back *p = given;
  float *sums = p->sums + block * 2 * p->D;
  memset(sums, 0, (size_t)(2 * p->D) * sizeof(float));
  for (long row = block * ROWS; row < least((block + 1) * ROWS, p->M); row++)
    back_row(p, row, sums, sums + p->D);
}

/* dy -> the gradients of residual (fp32) and of the product before dropout (num), of gamma and
 * beta. room: fp32 [(M + 31) / 32][2][D]. dresidual may be dy itself. */
API void trivium_norm_back(const float *dy, const num *before, const float *stats,
                           const float *gamma, const uint32_t *mask, float p, long M, long D,
                           float *room, float *dresidual, num *dproduct, float *dgamma,
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
