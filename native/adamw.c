/* One step of AdamW for many tensors in one pass, and the sums of squares that their gradients' norm
 * is made of.
 */
#include "adamw.h"
#include "cut.h"

enum { UNIT = 16384, BLOCKS = 8 };

typedef struct {
  Cut cut;
  float *const *p, *const *m, *const *v;
  const float *const *g;
  const int64_t *sizes;
  const Rule *rules;
  float scale;
} Many;

static __attribute__((noinline)) void part_of_tensor(void *given, long unit) {
  const Many *w = given;
  long i = tensor_of(w->cut, unit), from = (unit - w->cut.first[i]) * UNIT;
  long to = least(from + UNIT, w->sizes[i]);
  float *p = w->p[i], *m = w->m[i], *v = w->v[i];
  const float *g = w->g[i];
  const Rule rule = w->rules[i];
  const vec scale = all(w->scale);
  long j = from;
  for (; j + LANES <= to; j += LANES) { /* whole vectors: masked stores are slow */
    Moved at = {load(p + j), load(m + j), load(v + j)};
    move(&at, load(g + j) * scale, &rule);
    store(p + j, at.p), store(m + j, at.m), store(v + j, at.v);
  }
  if (j < to) {
    long left = to - j;
    Moved at = {load_some(p + j, left), load_some(m + j, left), load_some(v + j, left)};
    move(&at, load_some(g + j, left) * scale, &rule);
    store_some(p + j, left, at.p), store_some(m + j, left, at.m), store_some(v + j, left, at.v);
  }
}

static void update_part(void *given, long unit) { without_denormals(part_of_tensor, given, unit); }

/* One step of n tensors with the gradients scale * g; m and v: the means of g and of g^2. */
API void trivium_adamw(long n, float *const *p, const float *const *g, float *const *m,
                       float *const *v, const int64_t *sizes, const Rule *rules, float scale) {
  Many work = {cut_by(sizes, 0, UNIT, n), p, m, v, g, sizes, rules, scale};
  each(work.cut.first[n], update_part, &work);
}

typedef struct {
  Cut cut;
  const float *const *g;
  const int64_t *sizes, *lengths;
  double *room; /* of each block; where those of tensor i begin: `begins` */
  const int64_t *begins;
} Squares;

static double squares_of(const float *x, long n) {
  doubles s[2] = {in_doubles(zeros()), in_doubles(zeros())};
  for (long j = 0; j < n; j += 2 * LANES)
    for (int e = 0; e < 2; e++)
      s[e] = squares_plus(load_some(x + j + LANES * e, n - j - LANES * e), s[e]);
  return total_of(s[0], s[1]);
}

static void sum_blocks(void *given, long unit) {
  const Squares *w = given;
  long i = tensor_of(w->cut, unit), length = w->lengths[i];
  long from = (unit - w->cut.first[i]) * BLOCKS * length;
  long to = least(from + BLOCKS * length, w->sizes[i]);
  for (long j = from; j < to; j += length)
    w->room[w->begins[i] + j / length] = squares_of(w->g[i] + j, least(length, to - j));
}

/* sums[i]: of the squares of tensor i, in float64: of each block of lengths[i] numbers, then of the
 * blocks in their order. A block of zeros changes nothing, so it may as well be absent. */
API void trivium_squares(long n, const float *const *g, const int64_t *sizes,
                         const int64_t *lengths, double *sums) {
  Cut cut = cut_by(sizes, lengths, BLOCKS, n);
  int64_t *begins = scratch(1, (size_t)(n + 1) * sizeof(int64_t));
  begins[0] = 0;
  for (long i = 0; i < n; i++)
    begins[i + 1] = begins[i] + (sizes[i] + lengths[i] - 1) / lengths[i];
  double *room = scratch(2, (size_t)(begins[n] + 1) * sizeof(double));
  Squares work = {cut, g, sizes, lengths, room, begins};
  each(cut.first[n], sum_blocks, &work);
  for (long i = 0; i < n; i++) {
    sums[i] = 0;
    for (long k = begins[i]; k < begins[i + 1]; k++) sums[i] += room[k];
  }
}
