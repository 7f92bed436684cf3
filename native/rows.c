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
    __m512i any = _mm512_setzero_si512();
    for (int e = 0; e < CHAINS; e++) any = _mm512_or_si512(any, _mm512_castps_si512(at[e].m));
    if (!_mm512_test_epi32_mask(any, any)) break;
    for (const Rule *stop = rule + least(STEPS, end - rule); rule < stop; rule++)
      _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++)
        move(at + e, _mm512_setzero_ps(), rule);
  }
  /* Without a mean there is only decay: what `move` would subtract is 0. */
  for (; rule < end; rule++)
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      at[e].p = _mm512_mul_ps(at[e].p, _mm512_set1_ps(rule->decay));
      at[e].v = _mm512_mul_ps(at[e].v, _mm512_set1_ps(rule->squares_kept));
    }
}

static void one_row(const Rows *w, long i) {
  long row = w->rows ? w->rows[i] : i, D = w->D;
  const Rule *first = w->rules + w->seen[row], *end = w->rules + w->to;
  if (first == end && !w->g) return;
  for (long j = 0; j < D; j += 16 * CHAINS) {
    float *p = w->p + row * D + j, *m = w->m + row * D + j, *v = w->v + row * D + j;
    Moved at[CHAINS];
    __m512i any = _mm512_setzero_si512();
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      __mmask16 k = lanes(D - j - 16 * e);
      at[e].p = _mm512_maskz_loadu_ps(k, p + 16 * e);
      at[e].m = _mm512_maskz_loadu_ps(k, m + 16 * e);
      at[e].v = _mm512_maskz_loadu_ps(k, v + 16 * e);
      any = _mm512_or_si512(any, _mm512_castps_si512(_mm512_or_ps(at[e].m, at[e].v)));
    }
    int moments = w->g || _mm512_test_epi32_mask(any, any); /* or they are 0, and stay so */
    make_up(at, first, end);
    _Pragma("GCC unroll 4") for (int e = 0; e < CHAINS; e++) {
      __mmask16 k = lanes(D - j - 16 * e);
      if (w->g) {
        __m512 g = _mm512_maskz_loadu_ps(k, w->g + i * D + j + 16 * e);
        move(at + e, _mm512_mul_ps(g, _mm512_set1_ps(w->scale)), end);
      }
      _mm512_mask_storeu_ps(p + 16 * e, k, at[e].p);
      if (!moments) continue;
      _mm512_mask_storeu_ps(m + 16 * e, k, at[e].m);
      _mm512_mask_storeu_ps(v + 16 * e, k, at[e].v);
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
