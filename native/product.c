#include "product.h"

long blocks_of(long M) {
  long groups = (M + GROUP - 1) / GROUP, blocks = (M + rows_at_once - 1) / rows_at_once;
  return least(up_to(blocks, threads()), groups);
}

/* Sixteen numbers of a product to what is stored of them. `at`: their place in out, other and sum. */
typedef struct {
  const float *bias;
  bf16 *out, *other;
  float *sum;
} Place;

INLINE void finish(const Then then, const Place p, __m512 x, long at, long column) {
  __m512 slope;
  if (then == BIAS || then == GELU || then == GELU_SLOPE)
    x = _mm512_add_ps(x, _mm512_loadu_ps(p.bias + column));
  if (then == ADD) {
    _mm512_storeu_ps(p.sum + at, _mm512_add_ps(x, _mm512_loadu_ps(p.sum + at)));
    return;
  }
  if (then == GELU) x = gelu(x, 0);
  if (then == GELU_SLOPE) {
    x = gelu(x, &slope);
    store_bf16(p.other + at, slope);
  }
  if (then == TIMES) x = _mm512_mul_ps(x, load_bf16(p.other + at));
  store_bf16(p.out + at, x);
}

INLINE void finish_all(const Then then, const Product *product, const float *c, int rows, long row,
                       long column) {
  /* By value: else every store might change them, for all that the compiler knows. */
  const Place p = {product->bias, product->out, product->other, product->sum};
  const long N = product->N, columns = least(PANEL, N - column);
  for (int i = 0; i < rows; i++, c += PANEL) {
    long at = (row + i) * N + column;
    if (columns == PANEL) {
      _Pragma("GCC unroll 3") for (int j = 0; j < PANEL; j += 16)
        finish(then, p, _mm512_load_ps(c + j), at + j, column + j);
    } else {
      for (long j = 0; j < columns; j += 16)
        finish(then, p, _mm512_load_ps(c + j), at + j, column + j);
    }
  }
}

/* Have the lines come that `finish` will write or read, row by row a page apart, while the numbers
 * are made. */
INLINE void foresee(const Product *p, int rows, long row, long column) {
  for (int i = 0; i < rows; i++) {
    long at = (row + i) * p->N + column;
    if (p->then == ADD) {
      for (int line = 0; line < PANEL; line += 16) __builtin_prefetch(p->sum + at + line, 1);
      continue;
    }
    for (int line = 0; line < PANEL; line += 32) {
      __builtin_prefetch(p->out + at + line, 1);
      if (p->other) __builtin_prefetch(p->other + at + line, 1);
    }
  }
}

typedef struct {
  const Product *product;
  long blocks, slices; /* of rows, and of panels where there are few rows */
} Parts;

static void one_part(void *given, long unit) {
  const Parts *parts = given;
  const Product *p = parts->product;
  Span rows = span_of(unit / parts->slices, parts->blocks, p->M, GROUP);
  long slice = unit % parts->slices, panels = (p->N + PANEL - 1) / PANEL;
  float c[GROUP * PANEL] __attribute__((aligned(64)));
  for (long n = slice * panels / parts->slices; n < (slice + 1) * panels / parts->slices; n++)
    for (long row = rows.low; row < rows.high; row += GROUP) {
      int several = (int)least(GROUP, rows.high - row);
      foresee(p, several, row, n * PANEL);
      times_panel(several, (const pair *)(p->x + row * p->K), p->K / 2,
                  p->B + n * (p->K / 2) * PANEL, p->K / 2, c, PANEL);
      switch (p->then) { /* a constant in each branch, so that no row asks what is to be done */
        case PLAIN: finish_all(PLAIN, p, c, several, row, n * PANEL); break;
        case BIAS: finish_all(BIAS, p, c, several, row, n * PANEL); break;
        case GELU: finish_all(GELU, p, c, several, row, n * PANEL); break;
        case GELU_SLOPE: finish_all(GELU_SLOPE, p, c, several, row, n * PANEL); break;
        case TIMES: finish_all(TIMES, p, c, several, row, n * PANEL); break;
        case ADD: finish_all(ADD, p, c, several, row, n * PANEL);
      }
    }
}

API void trivium_product(int then, const bf16 *x, long M, long K, const pair *B, long N,
                         const float *bias, bf16 *out, bf16 *other, float *sum) {
  Product product = {(Then)then, x, M, K, N, B, bias, out, other, sum};
  long blocks = blocks_of(M), slices = blocks < threads() ? threads() : 1;
  Parts parts = {&product, blocks, slices};
  each(blocks * slices, one_part, &parts);
}

/* --- packing a weight ------------------------------------------------------------------------- */

typedef struct {
  const float *W;
  long N, K, first, all;
  pair *ahead, *back;
} Weight;

/* Sixteen rows of W, each of them a column of what is multiplied with x. */
static void pack_ahead(void *given, long unit) {
  const Weight *w = given;
  long column = w->first + 16 * unit;
  pair *out = w->ahead + column / PANEL * (w->K / 2) * PANEL + column % PANEL;
  for (long k = 0; k < w->K; k += 32) {
    __m512i r[16];
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) {
      const float *row = w->W + (16 * unit + i) * w->K + k;
      __m256i low = narrowed(_mm512_loadu_ps(row)), high = narrowed(_mm512_loadu_ps(row + 16));
      r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    transpose(r);
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
      _mm512_storeu_si512(out + (k / 2 + i) * PANEL, r[i]);
  }
}

/* Two rows of W, a row of pairs of what is multiplied with a gradient. */
static void pack_back(void *given, long unit) {
  const Weight *w = given;
  const float *one = w->W + 2 * unit * w->K, *two = one + w->K;
  for (long k = 0; k < w->K; k += 16) {
    __m512i low = _mm512_cvtepu16_epi32(narrowed(_mm512_loadu_ps(one + k)));
    __m512i high = _mm512_cvtepu16_epi32(narrowed(_mm512_loadu_ps(two + k)));
    pair *out = w->back + k / PANEL * (w->all / 2) * PANEL + (w->first / 2 + unit) * PANEL;
    _mm512_storeu_si512(out + k % PANEL, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}

/* W [N][K] in fp32, to bf16 in the order in which products read it: `ahead` for x W^T and, unless
 * it is null, `back` for g W. first: row of a taller matrix, of `all` rows, that W begins at. */
API void trivium_pack(const float *W, long N, long K, pair *ahead, pair *back, long first,
                      long all) {
  Weight weight = {W, N, K, first, all, ahead, back};
  each(N / 16, pack_ahead, &weight);
  if (back) each(N / 2, pack_back, &weight);
}
