/* Several tasks' gradients of the same parameters: their inner products, and a weighted sum of them.
 * Both read every number once from memory.
 */
#include "cut.h"

enum { BLOCK = 4096 }; /* numbers of each task that stay in the cache while all pairs meet */

typedef struct {
  Cut cut;
  long T;
  const float *const *g; /* [parameters][T]; null where a task does not reach the parameter */
  const int64_t *sizes;
  double *room; /* [units][pairs] */
} Gram;

static double dot(const float *a, const float *b, long n) {
  __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                 _mm512_setzero_ps()};
  long j = 0;
  for (; j + 64 <= n; j += 64)
    _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++) s[e] = _mm512_fmadd_ps(
        _mm512_loadu_ps(a + j + 16 * e), _mm512_loadu_ps(b + j + 16 * e), s[e]);
  for (; j < n; j += 16) {
    __mmask16 k = lanes(n - j);
    s[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(k, a + j), _mm512_maskz_loadu_ps(k, b + j), s[0]);
  }
  __m512 sum = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]));
  /* From here on in float64: in fp32 throughout, those of millions of numbers are 3e-4 off. */
  return _mm512_reduce_add_pd(
      _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(sum)),
                    _mm512_cvtps_pd(_mm512_extractf32x8_ps(sum, 1))));
}

static void pairs_of_block(void *given, long unit) {
  const Gram *w = given;
  long i = tensor_of(w->cut, unit), from = (unit - w->cut.first[i]) * BLOCK;
  long n = least(BLOCK, w->sizes[i] - from);
  const float *const *g = w->g + i * w->T;
  double *sums = w->room + unit * w->T * (w->T + 1) / 2;
  for (long s = 0; s < w->T; s++)
    for (long t = s; t < w->T; t++) *sums++ = g[s] && g[t] ? dot(g[s] + from, g[t] + from, n) : 0;
}

/* gram[i][s][t] = <g[i][s], g[i][t]> of n parameters and T tasks; 0 where one is null. Blocks are
 * added in their order. */
API void trivium_gram(long n, long T, const float *const *g, const int64_t *sizes, double *gram) {
  Cut cut = cut_by(sizes, 0, BLOCK, n);
  long pairs = T * (T + 1) / 2;
  double *room = scratch(1, (size_t)(cut.first[n] * pairs + 1) * sizeof(double));
  Gram work = {cut, T, g, sizes, room};
  each(cut.first[n], pairs_of_block, &work);
  for (long i = 0; i < n; i++)
    for (long s = 0, pair = 0; s < T; s++)
      for (long t = s; t < T; t++, pair++) {
        double sum = 0;
        for (long k = cut.first[i]; k < cut.first[i + 1]; k++) sum += room[k * pairs + pair];
        gram[(i * T + s) * T + t] = gram[(i * T + t) * T + s] = sum;
      }
}

typedef struct {
  Cut cut;
  long T;
  const float *const *g;
  const int64_t *sizes;
  const float *weights;
  float *const *out;
} Sums;

/* Up to 64 numbers from j on. All are read before any is written: `out` may be one of them. */
INLINE void sum_some(const Sums *w, const float *const *g, float *out, long j, long left) {
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
  for (long t = 0; t < w->T; t++) {
    if (!g[t]) continue;
    __m512 weight = _mm512_set1_ps(w->weights[t]);
    _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++) {
      __m512 x = _mm512_maskz_loadu_ps(lanes(left - 16 * e), g[t] + j + 16 * e);
      sum[e] = _mm512_fmadd_ps(weight, x, sum[e]);
    }
  }
  _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++)
      _mm512_mask_storeu_ps(out + j + 16 * e, lanes(left - 16 * e), sum[e]);
}

static void sum_block(void *given, long unit) {
  const Sums *w = given;
  long i = tensor_of(w->cut, unit), from = (unit - w->cut.first[i]) * BLOCK;
  long to = least(from + BLOCK, w->sizes[i]), j = from;
  const float *const *g = w->g + i * w->T;
  for (; j + 64 <= to; j += 64) sum_some(w, g, w->out[i], j, 64);
  if (j < to) sum_some(w, g, w->out[i], j, to - j);
}

/* out[i] = sum over t of weights[t] g[i][t], of those that are not null, in their order; out[i] may
 * be one of them. */
API void trivium_weighted_sums(long n, long T, const float *const *g, const int64_t *sizes,
                               const float *weights, float *const *out) {
  Sums work = {cut_by(sizes, 0, BLOCK, n), T, g, sizes, weights, out};
  each(work.cut.first[n], sum_block, &work);
}
