/* A weight in bf16, in the order in which products read it. */
#include "words.h"

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
