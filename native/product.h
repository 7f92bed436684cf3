/* Products whose result goes through something else on its way to memory. */
#pragma once
#include "panel.h"
#include "vec.h"

/* What becomes of a product's numbers. */
typedef enum {
  PLAIN,      /* out = x */
  BIAS,       /* out = x + bias */
  GELU,       /* out = gelu(x + bias) */
  GELU_SLOPE, /* the same; other = gelu'(x + bias) */
  TIMES,      /* out = x * other */
  ADD,        /* sum = x + sum, in fp32 */
} Then;

typedef struct {
  Then then;
  const num *x; /* [M][K] */
  long M, K, N;  /* K a multiple of 32, N of 16 */
  const word *B; /* packed by trivium_pack: panels of [K2][PANEL], the last one filled with 0 */
  const float *bias;
  num *out, *other; /* [M][N] */
  float *sum;        /* [M][N] */
} Product;

/* Rows [low, high) of block `b` of `blocks`, in whole groups. */
typedef struct {
  long low, high;
} Span;
INLINE Span span_of(long b, long blocks, long M, long group) {
  long groups = (M + group - 1) / group;
  return (Span){b * groups / blocks * group, least((b + 1) * groups / blocks * group, M)};
}
/* Blocks of at most `rows_at_once` rows, a multiple of the threads where there are enough rows. */
long blocks_of(long M);
