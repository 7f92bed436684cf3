/* Attention of one head within one text: what forward and backward pass share. */
#pragma once
#include "vec.h"

/* The packed stream, and where each text's weights are kept. */
typedef struct {
  const num *qkv;       /* [tokens][3 D] */
  const int64_t *start;  /* [R] first token of each text */
  const int64_t *length; /* [R] */
  const int64_t *place;  /* [R] rows of 16 weights of one head that stand before the text's */
  long R, H, d;          /* d a multiple of 16 */
  int threshold;
  float kept_scale, scale;
  uint64_t seed;
  num *weights;  /* after softmax, before dropout; for each text [H][L][wide]; or null */
  uint16_t *mask; /* a bit for each of them, of what dropout kept; or null */
  const num *dout; /* [tokens][D] */
  num *out;        /* [tokens][D], or [tokens][3 D] in the backward pass */
} Texts;

/* One head of one text. */
typedef struct {
  const num *q, *k, *v;
  long L, wide, L2, stride; /* wide: L up to a multiple of 16; L2: words of tokens */
  long kept;                /* where its weights begin, in rows of 16 */
} Head;

INLINE Head head_of(const Texts *t, long unit) {
  long r = unit / t->H, h = unit % t->H, D = t->H * t->d, L = t->length[r], wide = up_to(L, 16);
  const num *q = t->qkv + t->start[r] * 3 * D + h * t->d;
  return (Head){q, q + D, q + 2 * D, L, wide, (L + WORD - 1) / WORD, 3 * D,
                t->place[r] * t->H + h * L * (wide / 16)};
}

/* --- as each of both has it (bf16/few.c, fp32/few.c) ------------------------------------------- */

#ifdef FP32
enum { FEW = 6 }; /* rows that are multiplied at a time */
#else
enum { FEW = 4 };
#endif
/* C[rows][columns] = A[rows][K2] B[K2][...], columns a multiple of 16; A's words are a_row and a_next
 * apart. */
void few_rows(int rows, const word *A, long a_row, long a_next, const word *B, long b_stride,
              long columns, long K2, float *C, long c_stride);
/* Rows of x as columns of words: [d / WORD][wide], zeros where there is no row. */
void columns_of(const num *x, long stride, long L, long wide, long d, word *out);
/* Rows of x as rows of words: [L2][width]. */
void words_of(const num *x, long stride, long L, long width, word *out);
/* Rows x [L][wide] as few_rows reads them for their columns; `room` if they have to be made. */
INLINE const word *by_rows(const num *x, long L, long wide, word *room) {
#ifdef FP32
  (void)L, (void)wide, (void)room;
  return x;
#else
  words_of(x, wide, L, wide, room);
  return room;
#endif
}
