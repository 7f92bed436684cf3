/* AdamW for a matrix of which a step's gradient reaches few rows. The others move too, by their
 * momentum and decay, but nobody sees it before they are read: only then do they make up for the
 * steps that they missed, with the bits that they would have had all along.
 */
#include "adamw.h"
#include "cut.h"
#include <string.h>

typedef struct {
  float *p, *m, *v; /* [V][D] */
  int32_t *seen;    /* [V] steps that each row has taken */
  const int64_t *rows;
  long n, D;
  const Rule *rules; /* of every step */
  long to;           /* steps that there were; with a gradient: before this one */
  const float *g;    /* [n][D]; or null */
  float scale;
} Rows;

enum { AT_ONCE = 8, CHAINS = 4, STEPS = 64 };

/* The missed steps of CHAINS vectors, which wait for one another's results less than one would. */
INLINE void make_up(Moved at[CHAINS], const Rule *rule, const Rule *end) {
  while (rule < end) {
    vec any = zeros();
    for (int e = 0; e < CHAINS; e++) any = either(any, at[e].m);
    if (!any_bit(any)) break;
    for (const Rule *stop = rule + least(STEPS, end - rule); rule < stop; rule++)
      _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) move(at + e, zeros(), rule);
  }
  /* Without a mean there is only decay: what `move` would subtract is 0. */
  for (; rule < end; rule++)
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      at[e].p = at[e].p * all(rule->decay);
      at[e].v = at[e].v * all(rule->squares_kept);
    }
}

static void one_row(const Rows *w, long i) {
  long row = w->rows ? w->rows[i] : i, D = w->D;
  const Rule *first = w->rules + w->seen[row], *end = w->rules + w->to;
  if (first == end && !w->g) return;
  for (long j = 0; j < D; j += LANES * CHAINS) {
    float *p = w->p + row * D + j, *m = w->m + row * D + j, *v = w->v + row * D + j;
    Moved at[CHAINS];
    vec any = zeros();
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      long left = D - j - LANES * e;
      at[e].p = load_some(p + LANES * e, left);
      at[e].m = load_some(m + LANES * e, left);
      at[e].v = load_some(v + LANES * e, left);
      any = either(any, either(at[e].m, at[e].v));
    }
    int moments = w->g || any_bit(any); /* or they are 0, and stay so */
    make_up(at, first, end);
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      long left = D - j - LANES * e;
      if (w->g) {
        vec g = load_some(w->g + i * D + j + LANES * e, left);
        move(at + e, g * all(w->scale), end);
      }
      store_some(p + LANES * e, left, at[e].p);
      if (!moments) continue;
      store_some(m + LANES * e, left, at[e].m);
      store_some(v + LANES * e, left, at[e].v);
    }
  }
  w->seen[row] = (int32_t)(w->to + (w->g != 0));
}

static __attribute__((noinline)) void some_rows(void *given, long unit) {
  const Rows *w = given;
  for (long i = unit * AT_ONCE; i < least((unit + 1) * AT_ONCE, w->n); i++) one_row(w, i);
}

static void update_rows(void *given, long unit) { without_denormals(some_rows, given, unit); }

/* Rows (distinct; null: the first n) take the steps that they have missed of the first `to`; and with
 * a gradient g, one more by rules[to], for which it is multiplied with scale. */
API void trivium_rows(float *p, float *m, float *v, int32_t *seen, const int64_t *rows, long n,
                      long D, const Rule *rules, long to, const float *g, float scale) {
  Rows work = {p, m, v, seen, rows, n, D, rules, to, g, scale};
  each((n + AT_ONCE - 1) / AT_ONCE, update_rows, &work);
}

typedef struct {
  const float *x;
  const int64_t *order, *ends;
  long D;
  float *sums;
} Sums;

static void sum_row(void *given, long row) {
  const Sums *w = given;
  long D = w->D, at = row ? w->ends[row - 1] : 0;
  float *sum = w->sums + row * D;
  memcpy(sum, w->x + w->order[at] * D, (size_t)D * sizeof(float));
  for (at++; at < w->ends[row]; at++) {
    const float *x = w->x + w->order[at] * D;
    for (long j = 0; j < D; j++) sum[j] += x[j];
  }
}

/* sums[r]: of the rows of x that order[ends[r - 1]] to order[ends[r] - 1] name, one after another. */
API void trivium_row_sums(const float *x, const int64_t *order, const int64_t *ends, long n, long D,
                          float *sums) {
  Sums work = {x, order, ends, D, sums};
  each(n, sum_row, &work);
}
