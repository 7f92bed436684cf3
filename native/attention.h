/* Attention of one head within one text: what forward and backward pass share. */
#pragma once
#include "common.h"

/* The packed stream, and where each text's weights are kept. */
typedef struct {
  const bf16 *qkv;       /* [tokens][3 D] */
  const int64_t *start;  /* [R] first token of each text */
  const int64_t *length; /* [R] */
  const int64_t *place;  /* [R] rows of 16 weights of one head that stand before the text's */
  long R, H, d;          /* d a multiple of 16 */
  int threshold;
  float kept_scale, scale;
  uint64_t seed;
  bf16 *weights;  /* after softmax, before dropout; for each text [H][L][wide]; or null */
  uint16_t *mask; /* a bit for each of them, of what dropout kept; or null */
  const bf16 *dout; /* [tokens][D] */
  bf16 *out;        /* [tokens][D], or [tokens][3 D] in the backward pass */
} Texts;

/* One head of one text. */
typedef struct {
  const bf16 *q, *k, *v;
  long L, wide, L2, stride; /* wide: L up to a multiple of 16; L2: pairs of tokens */
  long kept;                /* where its weights begin, in rows of 16 */
} Head;

INLINE Head head_of(const Texts *t, long unit) {
  long r = unit / t->H, h = unit % t->H, D = t->H * t->d, L = t->length[r], wide = up_to(L, 16);
  const bf16 *q = t->qkv + t->start[r] * 3 * D + h * t->d;
  return (Head){q, q + D, q + 2 * D, L, wide, (L + 1) / 2, 3 * D,
                t->place[r] * t->H + h * L * (wide / 16)};
}

/* C[rows][16 columns] = A[rows][K2] B[K2][...]; A's words are a_row and a_next apart. */
void few_rows(int rows, const pair *A, long a_row, long a_next, const pair *B, long b_stride,
              long columns, long K2, float *C, long c_stride);
enum { FEW = 4 };

/* Rows of x as columns of pairs: [d / 2][wide], zeros where there is no row. */
void columns_of(const bf16 *x, long stride, long L, long wide, long d, pair *out);
/* Rows of x two by two: [L2][width]. */
void pairs_of(const bf16 *x, long stride, long L, long width, pair *out);
