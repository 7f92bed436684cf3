/* Vectors of fp32, as wide as the processor's. Sums, differences, products and quotients are those
 * of C, each rounded by itself. */
#pragma once
#include "common.h"
#ifdef FP32
#include "fp32/lanes.h"
#else
#include "bf16/lanes.h"
#endif

/* exp by Cody and Waite's reduction and the polynomial of Cephes' expf: relative error below 2e-7.
 * From -80 down all are exp(-80), about 2e-35: below that, products of them would be denormal, which
 * cost a hundred times as much. x is at most 88. */
INLINE vec exponential(vec x) {
  x = larger(all(-80.0f), x); /* in this order: what is no number stays so */
  vec n = nearest(x * all(1.44269504f));
  vec r = minus_times(n, all(0.693359375f), x);
  r = minus_times(n, all(-2.12194440e-4f), r);
  vec y = all(1.9875691500e-4f);
  y = times_plus(y, r, all(1.3981999507e-3f));
  y = times_plus(y, r, all(8.3334519073e-3f));
  y = times_plus(y, r, all(4.1665795894e-2f));
  y = times_plus(y, r, all(1.6666665459e-1f));
  y = times_plus(y, r, all(5.0000001201e-1f));
  y = times_plus(y, r * r, r + all(1.0f));
  return times_two_to(y, n);
}

/* x Phi(x), with Phi by formula 7.1.26 of Abramowitz and Stegun (absolute error of erf 1.5e-7);
 * *slope: its derivative, Phi(x) + x phi(x). */
INLINE vec gelu(vec x, vec *slope) {
  const vec one = all(1.0f);
  vec z = size_of(x) * all(0.70710678f);
  vec below = times_plus(z, all(0.3275911f), one);
  vec t = about_one_over(below); /* and one step of Newton's for its 24 bits */
  t = t * minus_times(below, t, all(2.0f));
  vec e = exponential(x * x * all(-0.5f));
  vec tail = all(1.061405429f);
  tail = times_plus(tail, t, all(-1.453152027f));
  tail = times_plus(tail, t, all(1.421413741f));
  tail = times_plus(tail, t, all(-0.284496736f));
  tail = times_plus(tail, t, all(0.254829592f));
  tail = tail * t * (e * all(0.5f));
  vec phi = where_positive(x, one - tail, tail);
  if (slope) *slope = times_plus(x * e, all(0.39894228f), phi);
  return x * phi;
}

INLINE int threshold_of(float p) { return (int)lrintf(p * 65536.0f); }
