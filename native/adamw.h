/* What a step of AdamW (Loshchilov & Hutter 2019, algorithm 2) does to a vector's numbers. All is fp32. It is
 * the same operations in the same order wherever it happens, so that a row which makes up for steps
 * that it missed ends with the bits of one that took each in its time.
 */
#pragma once
#include "vec.h"

/* What a step does to a parameter; see `RULE` in model/native/adamw.py. */
typedef struct {
  float decay;        /* 1 - learning rate * weight decay */
  float length;       /* learning rate / (1 - beta1^t) */
  float root;         /* 1 / sqrt(1 - beta2^t) */
  float mean_new;     /* 1 - beta1 */
  float squares_kept; /* beta2 */
  float squares_new;  /* 1 - beta2 */
  float eps, unused;
} Rule;

typedef struct {
  vec p, m, v;
} Moved;

INLINE void move(Moved *at, vec g, const Rule *rule) {
  at->m = times_plus(g - at->m, all(rule->mean_new), at->m);
  at->v = times_plus(g * g, all(rule->squares_new), at->v * all(rule->squares_kept));
  vec below = times_plus(root(at->v), all(rule->root), all(rule->eps));
  at->p = minus_times(all(rule->length), at->m / below, at->p * all(rule->decay));
}

/* Denormal numbers are 0 here, as input and as output. The moments of a row that no text holds any
 * more shrink until they are denormal, and rounding keeps them from ever becoming 0: they would
 * cost a hundred times as much for good. The task must not be inlined: compilers move arithmetic
 * across a change of the mode. */
INLINE void without_denormals(Task task, void *data, long unit) {
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  task(data, unit);
  _mm_setcsr(before);
}
