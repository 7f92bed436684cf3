/* Eight lanes: AVX2 with fused multiply-adds. What each function means: see bf16/lanes.h. */
#pragma once

typedef __m256 vec;
enum { LANES = 8 };

INLINE vec load(const float *at) { return _mm256_loadu_ps(at); }
INLINE void store(float *at, vec x) { _mm256_storeu_ps(at, x); }
INLINE vec zeros(void) { return _mm256_setzero_ps(); }
INLINE vec all(float x) { return _mm256_set1_ps(x); }
INLINE vec times_plus(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec minus_times(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vec root(vec x) { return _mm256_sqrt_ps(x); }
INLINE vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec size_of(vec x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
INLINE vec nearest(vec x) { return _mm256_round_ps(x, 8); }
/* n a whole number from -126 to 127. */
INLINE vec times_two_to(vec x, vec n) {
  __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return x * _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
/* To 12 bits, and by a step of Newton's to what 14 are worth and more. */
INLINE vec about_one_over(vec x) {
  vec y = _mm256_rcp_ps(x);
  return y * minus_times(x, y, all(2.0f));
}
INLINE float sum_of(vec x) {
  __m128 four = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
  __m128 two = four + _mm_movehl_ps(four, four);
  return _mm_cvtss_f32(two) + _mm_cvtss_f32(_mm_movehdup_ps(two));
}
INLINE float most_of(vec x) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
INLINE vec where_positive(vec x, vec yes, vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ));
}
INLINE vec keep(uint32_t bits, vec x) {
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  __m256i own = _mm256_and_si256(_mm256_set1_epi32((int)bits), each);
  return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(own, each)));
}

/* --- fewer than a vector's numbers ------------------------------------------------------------ */

INLINE __m256i lanes(long left) {
  const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(left < LANES ? left : LANES)), place);
}
INLINE vec load_some(const float *at, long left) { return _mm256_maskload_ps(at, lanes(left)); }
INLINE void store_some(float *at, long left, vec x) { _mm256_maskstore_ps(at, lanes(left), x); }
INLINE vec first_of(long left, vec x, vec rest) {
  return _mm256_blendv_ps(rest, x, _mm256_castsi256_ps(lanes(left)));
}
INLINE int any_bit(vec x) {
  __m256i bits = _mm256_castps_si256(x);
  return !_mm256_testz_si256(bits, bits);
}
INLINE vec either(vec a, vec b) { return _mm256_or_ps(a, b); }

/* --- float64 ---------------------------------------------------------------------------------- */

typedef struct {
  __m256d low, high;
} doubles;
INLINE doubles in_doubles(vec x) {
  return (doubles){_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                   _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
INLINE doubles squares_plus(vec x, doubles sum) {
  doubles y = in_doubles(x);
  return (doubles){_mm256_fmadd_pd(y.low, y.low, sum.low), _mm256_fmadd_pd(y.high, y.high, sum.high)};
}
INLINE double total_of(doubles a, doubles b) {
  __m256d four = (a.low + a.high) + (b.low + b.high);
  __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

/* --- what layers compute in ------------------------------------------------------------------- */

INLINE vec load_num(const float *at) { return load(at); }
INLINE void store_num(float *at, vec x) { store(at, x); }
INLINE vec as_num(vec x) { return x; }

/* --- dropout ---------------------------------------------------------------------------------- */

INLINE __m256i times64(__m256i a, __m256i b) {
  __m256i crossed = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), b),
                                     _mm256_mul_epu32(a, _mm256_srli_epi64(b, 32)));
  return _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64(crossed, 32));
}

/* The very bits of bf16/lanes.h: four at a time, and those four again. */
INLINE __m256i four_words(uint64_t seed, uint64_t counter) {
  const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
  __m256i z = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)counter), lane);
  z = times64(z, _mm256_set1_epi64x((int64_t)0x9E3779B97F4A7C15ull));
  z = _mm256_add_epi64(z, _mm256_set1_epi64x((int64_t)seed));
  z = _mm256_xor_si256(z, _mm256_srli_epi64(z, 30));
  z = times64(z, _mm256_set1_epi64x((int64_t)0xBF58476D1CE4E5B9ull));
  z = _mm256_xor_si256(z, _mm256_srli_epi64(z, 27));
  z = times64(z, _mm256_set1_epi64x((int64_t)0x94D049BB133111EBull));
  return _mm256_xor_si256(z, _mm256_srli_epi64(z, 31));
}
INLINE uint32_t kept_bits(uint64_t seed, uint64_t place, int threshold) {
  /* There is no comparison without signs: of what is dropped, by a difference that stops at 0. */
  const __m256i least_kept = _mm256_set1_epi16((short)threshold);
  __m256i low = _mm256_subs_epu16(least_kept, four_words(seed, place * 8));
  __m256i high = _mm256_subs_epu16(least_kept, four_words(seed, place * 8 + 4));
  low = _mm256_cmpeq_epi16(low, _mm256_setzero_si256());
  high = _mm256_cmpeq_epi16(high, _mm256_setzero_si256());
  __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
  return (uint32_t)_mm256_movemask_epi8(bytes);
}
