/* The gradient of a weight: dW [N][K] = g^T x over M rows, and that of its bias. */
#include "../panel.h"
#include "words.h"
#include <string.h>

enum { STRIP = 64 }; /* outputs, or columns of x, that are turned round together */

typedef struct {
  const bf16 *g, *x; /* [M][N], [M][K] */
  long M, N, K;
  long M2;     /* pairs of rows, up to a multiple of 16 */
  long stride; /* words from one turned output to the next */
  pair *room;  /* the narrower of the two, as the products read it */
  float *dW, *db;
} Gradient;

/* --- g: sums over rows are what a product sums over, so its rows must lie along ---------------- */

/* 16 columns of 32 rows of g, from row 2 m on, as rows of pairs; what they add up to. */
INLINE __m512 turn(const Gradient *p, long column, long m, pair *out) {
  __m512 sum = _mm512_setzero_ps();
  __m512i r[16];
  _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) {
    long row = 2 * (m + i);
    const bf16 *at = p->g + row * p->N + column;
    r[i] = row < p->M ? paired(at, row + 1 < p->M ? at + p->N : 0) : _mm512_setzero_si512();
    __m512 low = _mm512_castsi512_ps(_mm512_slli_epi32(r[i], 16));
    __m512 high = _mm512_castsi512_ps(_mm512_and_si512(r[i], _mm512_set1_epi32((int)0xffff0000)));
    sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
  }
  transpose(r);
  _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
    _mm512_storeu_si512(out + i * p->stride + m, r[i]);
  return sum;
}

/* A strip's columns of g as rows of pairs [outputs][M2]; their sums, in the order of the rows. All
 * columns of a few rows at a time: those lie on a page each. */
static void turn_strip(const Gradient *p, long first, long outputs, pair *out) {
  __m512 sums[STRIP / 16];
  for (int s = 0; s < STRIP / 16; s++) sums[s] = _mm512_setzero_ps();
  for (long m = 0; m < p->M2; m += 16)
    for (long n = 0; n < outputs; n += 16)
      sums[n / 16] = _mm512_add_ps(sums[n / 16], turn(p, first + n, m, out + n * p->stride));
  for (long n = 0; p->db && n < outputs; n += 16) _mm512_storeu_ps(p->db + first + n, sums[n / 16]);
}

/* --- x ---------------------------------------------------------------------------------------- */

/* Two rows' columns from k to `last`, as pairs, to the panels that stand `apart` words apart. */
INLINE void pack_row(const Gradient *p, long m, long k, long last, pair *out, long apart) {
  for (long first = k; k < last; k += 16) {
    const bf16 *row = p->x + 2 * m * p->K + k;
    __m512i words = _mm512_setzero_si512();
    if (2 * m < p->M) words = paired(row, 2 * m + 1 < p->M ? row + p->K : 0);
    long column = k - first;
    _mm512_storeu_si512(out + column / PANEL * apart + m * PANEL + column % PANEL, words);
  }
}

/* --- their product ---------------------------------------------------------------------------- */

/* dW of some outputs and one panel of x, whose first column is k. */
static void multiply(const Gradient *p, const pair *A, long first, long outputs, const pair *B,
                     long k) {
  float c[GROUP * PANEL] __attribute__((aligned(64)));
  for (long n = 0; n < outputs; n += GROUP) {
    int rows = (int)least(GROUP, outputs - n);
    float *to = p->dW + (first + n) * p->K + k;
    /* Each of these rows is on a page of its own, where the processor foresees nothing. */
    for (int i = 0; i < rows; i++)
      for (int line = 0; line < PANEL; line += 16) __builtin_prefetch(to + i * p->K + line, 1);
    if (p->K - k >= PANEL) {
      times_panel(rows, A + n * p->stride, p->stride, B, p->M2, to, p->K);
      continue;
    }
    times_panel(rows, A + n * p->stride, p->stride, B, p->M2, c, PANEL);
    for (int i = 0; i < rows; i++)
      memcpy(to + i * p->K, c + i * PANEL, (size_t)(p->K - k) * sizeof(float));
  }
}

/* x is in the room; a strip of g is turned, and meets all of it. */
static void pack_all_columns(void *given, long m) {
  const Gradient *p = given;
  pack_row(p, m, 0, p->K, p->room, p->M2 * PANEL);
}
static void one_strip(void *given, long strip) {
  const Gradient *p = given;
  long first = strip * STRIP, outputs = least(STRIP, p->N - first);
  pair *A = scratch(0, (size_t)(STRIP * p->stride) * sizeof(pair));
  turn_strip(p, first, outputs, A);
  if (!p->dW) return;
  for (long k = 0; k < p->K; k += PANEL)
    multiply(p, A, first, outputs, p->room + k * p->M2, k);
}

/* g is in the room; a panel of x is packed, and meets all of it. */
static void turn_one_strip(void *given, long strip) {
  const Gradient *p = given;
  long first = strip * STRIP;
  turn_strip(p, first, least(STRIP, p->N - first), p->room + first * p->stride);
}
static void one_panel(void *given, long panel) {
  const Gradient *p = given;
  long k = panel * PANEL;
  pair *B = scratch(0, (size_t)(p->M2 * PANEL) * sizeof(pair));
  for (long m = 0; m < p->M2; m++) pack_row(p, m, k, least(k + PANEL, p->K), B, 0);
  multiply(p, p->room, 0, p->N, B, k);
}

/* Words of room that `trivium_weight_gradient` needs. */
API long trivium_gradient_room(long M, long N, long K) {
  long M2 = up_to(M, 32) / 2;
  return K <= N ? M2 * up_to(K, PANEL) : (M2 / 16 | 1) * 16 * N;
}

/* dW and db, each null where it is not wanted. */
API void trivium_weight_gradient(const bf16 *g, const bf16 *x, long M, long N, long K, pair *room,
                                 float *dW, float *db) {
  long M2 = up_to(M, 32) / 2;
  /* An odd number of cache lines: rows of a power of two would meet in the same few of them. */
  Gradient p = {g, x, M, N, K, M2, (M2 / 16 | 1) * 16, room, dW, db};
  long strips = (N + STRIP - 1) / STRIP;
  if (!dW || K <= N) { /* the narrower one stays in the cache while the wider one passes */
    if (dW) each(M2, pack_all_columns, &p);
    each(strips, one_strip, &p);
  } else {
    each(strips, turn_one_strip, &p);
    each((K + PANEL - 1) / PANEL, one_panel, &p);
  }
}
