#include "product.h"

long blocks_of(long M) {
  long groups = (M + GROUP - 1) / GROUP, blocks = (M + rows_at_once - 1) / rows_at_once;
  return least(up_to(blocks, threads()), groups);
}

/* A vector of a product to what is stored of them. `at`: their place in out, other and sum. */
typedef struct {
  const float *bias;
  num *out, *other;
  float *sum;
} Place;

INLINE void finish(const Then then, const Place p, vec x, long at, long column) {
  vec slope;
  if (then == BIAS || then == GELU || then == GELU_SLOPE) x = x + load(p.bias + column);
  if (then == ADD) {
    store(p.sum + at, x + load(p.sum + at));
    return;
  }
  if (then == GELU) x = gelu(x, 0);
  if (then == GELU_SLOPE) {
    x = gelu(x, &slope);
    store_num(p.other + at, slope);
  }
  if (then == TIMES) x = x * load_num(p.other + at);
  store_num(p.out + at, x);
}

INLINE void finish_all(const Then then, const Product *product, const float *c, int rows, long row,
                       long column) {
  /* By value: else every store might change them, for all that the compiler knows. */
  const Place p = {product->bias, product->out, product->other, product->sum};
  const long N = product->N, columns = least(PANEL, N - column);
  for (int i = 0; i < rows; i++, c += PANEL) {
    long at = (row + i) * N + column;
    if (columns == PANEL) {
      _Pragma("GCC unroll 3") for (int j = 0; j < PANEL; j += LANES)
        finish(then, p, load(c + j), at + j, column + j);
    } else {
      for (long j = 0; j < columns; j += LANES)
        finish(then, p, load(c + j), at + j, column + j);
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
    for (int line = 0; line < PANEL; line += 64 / (int)sizeof(num)) {
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
      times_panel(several, (const word *)(p->x + row * p->K), p->K / WORD,
                  p->B + n * (p->K / WORD) * PANEL, p->K / WORD, c, PANEL);
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

API void trivium_product(int then, const num *x, long M, long K, const word *B, long N,
                         const float *bias, num *out, num *other, float *sum) {
  Product product = {(Then)then, x, M, K, N, B, bias, out, other, sum};
  long blocks = blocks_of(M), slices = blocks < threads() ? threads() : 1;
  Parts parts = {&product, blocks, slices};
  each(blocks * slices, one_part, &parts);
}
