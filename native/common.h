/* What the kernels share: vectors of bf16 and fp32, exp and GELU, random masks, work for threads.
 *
 * bf16 matrices are rows of 16-bit numbers. A "pair" is a 32-bit word with two neighbouring bf16 of
 * the dimension that a product sums over, which is what one lane of vdpbf16ps (and of an AMX tile)
 * takes. Letters: M rows (tokens), N outputs, K inputs of a product; K2 = K / 2 pairs; D width of
 * the encoder, H heads, d width of a head, L tokens of a text.
 */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t bf16;
typedef uint32_t pair;

#define API __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum { PANEL = 48 }; /* columns of a packed matrix that stand together, and end in registers */

INLINE long up_to(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE long least(long a, long b) { return a < b ? a : b; }

/* --- threads (threads.c) ---------------------------------------------------------------------- */

typedef void (*Task)(void *data, long unit);
/* task(data, unit) for every unit below `units`, each by whichever thread is free. What a unit
 * computes must not depend on who computes it: then results do not depend on how many threads. */
void each(long units, Task task, void *data);
int threads(void);
void use_threads(int n);
/* A buffer of the calling thread's own, valid until the next call with the same `which`. */
void *scratch(int which, size_t bytes);
enum { SCRATCHES = 6 };

/* --- bf16 ------------------------------------------------------------------------------------- */

INLINE __m512 widened(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
INLINE __m512 load_bf16(const bf16 *at) { return widened(_mm256_loadu_si256((const __m256i *)at)); }
INLINE __m256i narrowed(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE void store_bf16(bf16 *at, __m512 x) { _mm256_storeu_si256((__m256i *)at, narrowed(x)); }
INLINE __m512i words_bf16(const bf16 *at) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
}
INLINE __m512 dot_pairs(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/* --- functions -------------------------------------------------------------------------------- */

/* exp by Cody and Waite's reduction and the polynomial of Cephes' expf: relative error below 2e-7.
 * From -80 down all are exp(-80), about 2e-35: below that, products of them would be denormal, which
 * cost a hundred times as much. */
INLINE __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-80.0f));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 y = _mm512_set1_ps(1.9875691500e-4f);
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.3981999507e-3f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(8.3334519073e-3f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(4.1665795894e-2f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.6666665459e-1f));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.0000001201e-1f));
  y = _mm512_fmadd_ps(y, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(y, n);
}

/* x Phi(x), with Phi by formula 7.1.26 of Abramowitz and Stegun (absolute error of erf 1.5e-7, far
 * below a bf16's 4e-3); *slope: its derivative, Phi(x) + x phi(x). */
INLINE __m512 gelu(__m512 x, __m512 *slope) {
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  __m512 below = _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), one);
  __m512 t = _mm512_rcp14_ps(below); /* and one step of Newton's for its 24 bits */
  t = _mm512_mul_ps(t, _mm512_fnmadd_ps(below, t, _mm512_set1_ps(2.0f)));
  __m512 e = exponential(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5f)));
  __m512 tail = _mm512_set1_ps(1.061405429f);
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-1.453152027f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(1.421413741f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(-0.284496736f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.254829592f));
  tail = _mm512_mul_ps(_mm512_mul_ps(tail, t), _mm512_mul_ps(e, _mm512_set1_ps(0.5f)));
  __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
  __m512 phi = _mm512_mask_sub_ps(tail, positive, one, tail);
  if (slope)
    *slope = _mm512_fmadd_ps(_mm512_mul_ps(x, e), _mm512_set1_ps(0.39894228f), phi);
  return _mm512_mul_ps(x, phi);
}

/* --- dropout ---------------------------------------------------------------------------------- */

/* 32 bits, each 0 with probability threshold / 65536: a function of seed and place alone
 * (SplitMix64 of a counter, eight at a time), so that a mask can be drawn again. */
INLINE uint32_t kept_bits(uint64_t seed, uint64_t place, int threshold) {
  const __m512i lane = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
  __m512i z = _mm512_add_epi64(_mm512_set1_epi64((int64_t)(place * 8)), lane);
  z = _mm512_mullo_epi64(z, _mm512_set1_epi64((int64_t)0x9E3779B97F4A7C15ull));
  z = _mm512_add_epi64(z, _mm512_set1_epi64((int64_t)seed));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 30));
  z = _mm512_mullo_epi64(z, _mm512_set1_epi64((int64_t)0xBF58476D1CE4E5B9ull));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 27));
  z = _mm512_mullo_epi64(z, _mm512_set1_epi64((int64_t)0x94D049BB133111EBull));
  z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
  return _mm512_cmpge_epu16_mask(z, _mm512_set1_epi16((short)threshold));
}
INLINE int threshold_of(float p) { return (int)lrintf(p * 65536.0f); }

/* --- moving ----------------------------------------------------------------------------------- */

/* 16 x 16 words: rows become columns. */
INLINE void transpose(__m512i r[16]) {
  __m512i t[16];
  _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/* Two rows of 16 bf16 as 16 pairs; of a missing second row, zeros. */
INLINE __m512i paired(const bf16 *first, const bf16 *second) {
  __m512i high = second ? _mm512_slli_epi32(words_bf16(second), 16) : _mm512_setzero_si512();
  return _mm512_or_si512(words_bf16(first), high);
}
