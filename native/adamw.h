/* What a step of AdamW (Loshchilov & Hutter 2019, algorithm 2) does to 16 numbers. All is fp32. It is
 * the same operations in the same order wherever it happens, so that a row which makes up for steps
 * that it missed ends with the bits of one that took each in its time.
 */
#pragma once
#include "common.h"

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
  __m512 p, m, v;
} Moved;

INLINE void move(Moved *at, __m512 g, const Rule *rule) {
  at->m = _mm512_fmadd_ps(_mm512_sub_ps(g, at->m), _mm512_set1_ps(rule->mean_new), at->m);
  at->v = _mm512_fmadd_ps(_mm512_mul_ps(g, g), _mm512_set1_ps(rule->squares_new),
                          _mm512_mul_ps(at->v, _mm512_set1_ps(rule->squares_kept)));
  __m512 below = _mm512_fmadd_ps(_mm512_sqrt_ps(at->v), _mm512_set1_ps(rule->root),
                                 _mm512_set1_ps(rule->eps));
  at->p = _mm512_fnmadd_ps(_mm512_set1_ps(rule->length), _mm512_div_ps(at->m, below),
                           _mm512_mul_ps(at->p, _mm512_set1_ps(rule->decay)));
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
