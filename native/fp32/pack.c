/* A weight in the order in which products read it. */
#include "../vec.h"
#include "turn.h"
#include <string.h>

typedef struct {
  const float *W;
  long N, K, first, all;
  float *ahead, *back;
} Weight;

/* Sixteen rows of W, each of them a column of what is multiplied with x. */
static void pack_ahead(void *given, long unit) {
  const Weight *w = given;
  float *out = w->ahead + (w->first / PANEL + unit) * w->K * PANEL;
  for (long half = 0; half < PANEL; half += LANES)
    for (long k = 0; k < w->K; k += LANES) {
      vec r[LANES];
      for (int i = 0; i < LANES; i++) r[i] = load(w->W + (PANEL * unit + half + i) * w->K + k);
      turn(r);
      for (int i = 0; i < LANES; i++) store(out + (k + i) * PANEL + half, r[i]);
    }
}

/* Some rows of W, rows of what is multiplied with a gradient. */
enum { SOME = 16 };
static void pack_back(void *given, long unit) {
  const Weight *w = given;
  for (long n = SOME * unit; n < SOME * (unit + 1); n++)
    for (long k = 0; k < w->K; k += PANEL)
      memcpy(w->back + k / PANEL * w->all * PANEL + (w->first + n) * PANEL, w->W + n * w->K + k,
             PANEL * sizeof(float));
}

/* W [N][K], N and K multiples of 16: `ahead` for x W^T and, unless it is null, `back` for g W.
 * first: row of a taller matrix, of `all` rows, that W begins at. */
API void trivium_pack(const float *W, long N, long K, float *ahead, float *back, long first,
                      long all) {
  Weight weight = {W, N, K, first, all, ahead, back};
  each(N / PANEL, pack_ahead, &weight);
  if (back) each(N / SOME, pack_back, &weight);
}
