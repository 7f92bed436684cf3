/* Several tasks' gradients of the same parameters: their inner products, and a weighted sum of them.
 * Both read every number once from memory.
 */
#include "cut.h"
#include "vec.h"

enum {
  BLOCK = 4096, /* numbers of each task that stay in the cache while all pairs meet */
  AT_ONCE = 4 * LANES
};

typedef struct {
  Cut cut;
  long T;
  const float *const *g; /* [parameters][T]; null where a task does not reach the parameter */
  const int64_t *sizes;
  double *room; /* [units][pairs] */
} Gram;

static double dot(const float *a, const float *b, long n) {
  vec s[4] = {zeros(), zeros(), zeros(), zeros()};
  long j = 0;
  for (; j + AT_ONCE <= n; j += AT_ONCE)
    _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++)
      s[e] = times_plus(load(a + j + LANES * e), load(b + j + LANES * e), s[e]);
  for (; j < n; j += LANES) s[0] = times_plus(load_some(a + j, n - j), load_some(b + j, n - j), s[0]);
  /* From here on in float64: in fp32 throughout, those of millions of numbers are 3e-4 off. */
  return total_of(in_doubles((s[0] + s[1]) + (s[2] + s[3])), in_doubles(zeros()));
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

/* Up to AT_ONCE numbers from j on. All are read before any is written: `out` may be one of them. */
INLINE void sum_some(const Sums *w, const float *const *g, float *out, long j, long left) {
  vec sum[4] = {zeros(), zeros(), zeros(), zeros()};
  for (long t = 0; t < w->T; t++) {
    if (!g[t]) continue;
    vec weight = all(w->weights[t]);
    _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++)
      sum[e] = times_plus(weight, load_some(g[t] + j + LANES * e, left - LANES * e), sum[e]);
  }
  _Pragma("GCC unroll 4") for (int e = 0; e < 4; e++)
    store_some(out + j + LANES * e, left - LANES * e, sum[e]);
}

static void sum_block(void *given, long unit) {
  const Sums *w = given;
  long i = tensor_of(w->cut, unit), from = (unit - w->cut.first[i]) * BLOCK;
  long to = least(from + BLOCK, w->sizes[i]), j = from;
  const float *const *g = w->g + i * w->T;
  for (; j + AT_ONCE <= to; j += AT_ONCE) sum_some(w, g, w->out[i], j, AT_ONCE);
  if (j < to) sum_some(w, g, w->out[i], j, to - j);
}

/* out[i] = sum over t of weights[t] g[i][t], of those that are not null, in their order; out[i] may
 * be one of them. */
API void trivium_weighted_sums(long n, long T, const float *const *g, const int64_t *sizes,
                               const float *weights, float *const *out) {
  Sums work = {cut_by(sizes, 0, BLOCK, n), T, g, sizes, weights, out};
  each(work.cut.first[n], sum_block, &work);
}
