/* The gradient of a weight: dW [N][K] = g^T x over M rows, and that of its bias. */
#include "panel.h"
#include <string.h>

enum { STRIP = 64 }; /* outputs whose gradients are turned round, and stay in the cache */

typedef struct {
  const bf16 *g, *x; /* [M][N], [M][K] */
  long M, N, K, M2;  /* M2: pairs of rows, up to a multiple of 16 */
  pair *turned;      /* x as panels of [M2][PANEL] */
  float *dW, *db;
} Gradient;

static void pack_rows(void *given, long m) {
  const Gradient *p = given;
  for (long k = 0; k < p->K; k += 16) {
    const bf16 *row = p->x + 2 * m * p->K + k;
    __m512i words = _mm512_setzero_si512();
    if (2 * m < p->M) words = paired(row, 2 * m + 1 < p->M ? row + p->K : 0);
    _mm512_storeu_si512(p->turned + k / PANEL * p->M2 * PANEL + m * PANEL + k % PANEL, words);
  }
}

/* Sixteen columns of g as rows of pairs [16][M2]; their sums, in the order of the rows. */
static void turn(const Gradient *p, long column, pair *out) {
  __m512 sum = _mm512_setzero_ps();
  for (long m = 0; m < p->M2; m += 16) {
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
      _mm512_storeu_si512(out + i * p->M2 + m, r[i]);
  }
  if (p->db) _mm512_storeu_ps(p->db + column, sum);
}

static void one_strip(void *given, long strip) {
  const Gradient *p = given;
  long first = strip * STRIP, outputs = least(STRIP, p->N - first);
  pair *A = scratch(0, (size_t)STRIP * p->M2 * sizeof(pair));
  for (long n = 0; n < outputs; n += 16) turn(p, first + n, A + n * p->M2);
  if (!p->dW) return;
  float c[GROUP * PANEL] __attribute__((aligned(64)));
  for (long k = 0; k < p->K; k += PANEL)
    for (long n = 0; n < outputs; n += GROUP) {
      int rows = (int)least(GROUP, outputs - n);
      float *to = p->dW + (first + n) * p->K + k;
      const pair *B = p->turned + k * p->M2;
      if (p->K - k >= PANEL) {
        times_panel(rows, A + n * p->M2, p->M2, B, p->M2, to, p->K);
        continue;
      }
      times_panel(rows, A + n * p->M2, p->M2, B, p->M2, c, PANEL);
      for (int i = 0; i < rows; i++)
        memcpy(to + i * p->K, c + i * PANEL, (size_t)(p->K - k) * sizeof(float));
    }
}

/* Each of them null where it is not wanted. room: words for the rows of x, at least
 * up_to(M, 32) / 2 * up_to(K, PANEL). */
API void trivium_weight_gradient(const bf16 *g, const bf16 *x, long M, long N, long K, pair *room,
                                 float *dW, float *db) {
  Gradient p = {g, x, M, N, K, up_to(M, 32) / 2, room, dW, db};
  if (dW) each(p.M2, pack_rows, &p);
  each((N + STRIP - 1) / STRIP, one_strip, &p);
}
