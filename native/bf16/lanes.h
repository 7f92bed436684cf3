/* Sixteen lanes: AVX-512. */
#pragma once

typedef __m512 vec;
enum { LANES = 16 };

INLINE vec load(const float *at) { return _mm512_loadu_ps(at); }
INLINE void store(float *at, vec x) { _mm512_storeu_ps(at, x); }
INLINE vec zeros(void) { return _mm512_setzero_ps(); }
INLINE vec all(float x) { return _mm512_set1_ps(x); }
INLINE vec times_plus(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec minus_times(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
INLINE vec root(vec x) { return _mm512_sqrt_ps(x); }
/* b where either is no number. */
INLINE vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec size_of(vec x) { return _mm512_abs_ps(x); }
INLINE vec nearest(vec x) { return _mm512_roundscale_ps(x, 8); }
INLINE vec times_two_to(vec x, vec n) { return _mm512_scalef_ps(x, n); }
INLINE vec about_one_over(vec x) { return _mm512_rcp14_ps(x); }
INLINE float sum_of(vec x) { return _mm512_reduce_add_ps(x); }
INLINE float most_of(vec x) { return _mm512_reduce_max_ps(x); }
INLINE vec where_positive(vec x, vec yes, vec no) {
  return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ), yes);
}
/* Those lanes whose bit is set; 0 in the others. */
INLINE vec keep(uint32_t bits, vec x) { return _mm512_maskz_mov_ps((__mmask16)bits, x); }

/* --- fewer than a vector's numbers ------------------------------------------------------------ */

INLINE __mmask16 lanes(long left) {
  return left <= 0 ? 0 : left < 16 ? (__mmask16)((1u << left) - 1) : 0xffff;
}
/* The `left` numbers that there are, and zeros. */
INLINE vec load_some(const float *at, long left) { return _mm512_maskz_loadu_ps(lanes(left), at); }
INLINE void store_some(float *at, long left, vec x) { _mm512_mask_storeu_ps(at, lanes(left), x); }
/* The first `left` of x, and else of `rest`. */
INLINE vec first_of(long left, vec x, vec rest) { return _mm512_mask_mov_ps(rest, lanes(left), x); }
INLINE int any_bit(vec x) {
  __m512i bits = _mm512_castps_si512(x);
  return _mm512_test_epi32_mask(bits, bits) != 0;
}
INLINE vec either(vec a, vec b) { return _mm512_or_ps(a, b); }

/* --- float64 ---------------------------------------------------------------------------------- */

typedef struct {
  __m512d low, high;
} doubles;
INLINE doubles in_doubles(vec x) {
  return (doubles){_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                   _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
}
INLINE doubles squares_plus(vec x, doubles sum) {
  doubles y = in_doubles(x);
  return (doubles){_mm512_fmadd_pd(y.low, y.low, sum.low), _mm512_fmadd_pd(y.high, y.high, sum.high)};
}
INLINE double total_of(doubles a, doubles b) {
  return _mm512_reduce_add_pd(
      _mm512_add_pd(_mm512_add_pd(a.low, a.high), _mm512_add_pd(b.low, b.high)));
}

/* --- bf16 ------------------------------------------------------------------------------------- */

INLINE __m512 widened(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
INLINE __m256i narrowed(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE vec load_num(const bf16 *at) { return widened(_mm256_loadu_si256((const __m256i *)at)); }
INLINE void store_num(bf16 *at, vec x) { _mm256_storeu_si256((__m256i *)at, narrowed(x)); }
/* What will be read of it once it is stored. */
INLINE vec as_num(vec x) { return widened(narrowed(x)); }

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
