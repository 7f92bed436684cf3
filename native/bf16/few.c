/* The small products of attention, in pairs of bf16. */
#include "../attention.h"
#include "words.h"

INLINE void block(const int rows, const int wide, const pair *A, long a_row, long a_next,
                  const pair *B, long b_stride, long K2, float *C, long c_stride) {
  __m512 sum[FEW][4];
  _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++) sum[i][j] = _mm512_setzero_ps();
  for (long k = 0; k < K2; k++) {
    __m512i b[4];
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
      b[j] = _mm512_loadu_si512(B + k * b_stride + 16 * j);
    _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++) {
      __m512i a = _mm512_set1_epi32((int)A[i * a_row + k * a_next]);
      _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
        sum[i][j] = dot_pairs(sum[i][j], a, b[j]);
    }
  }
  _Pragma("GCC unroll 4") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 4") for (int j = 0; j < wide; j++)
      _mm512_storeu_ps(C + i * c_stride + 16 * j, sum[i][j]);
}

INLINE void blocks(const int rows, const pair *A, long a_row, long a_next, const pair *B,
                   long b_stride, long columns, long K2, float *C, long c_stride) {
  for (; columns >= 64; columns -= 64, B += 64, C += 64)
    block(rows, 4, A, a_row, a_next, B, b_stride, K2, C, c_stride);
  switch (columns / 16) {
    case 3: block(rows, 3, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
    case 2: block(rows, 2, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
    case 1: block(rows, 1, A, a_row, a_next, B, b_stride, K2, C, c_stride); break;
  }
}

void few_rows(int rows, const pair *A, long a_row, long a_next, const pair *B, long b_stride,
              long columns, long K2, float *C, long c_stride) {
  switch (rows) {
    case 1: blocks(1, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    case 2: blocks(2, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    case 3: blocks(3, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride); break;
    default: blocks(4, A, a_row, a_next, B, b_stride, columns, K2, C, c_stride);
  }
}

void columns_of(const bf16 *x, long stride, long L, long wide, long d, pair *out) {
  for (long row = 0; row < L; row += 16)
    for (long k = 0; k < d / 2; k += 16) {
      const long there = least(16, d / 2 - k); /* 8 or 16 */
      const __mmask16 mask = (__mmask16)((1u << there) - 1);
      __m512i r[16];
      _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
        r[i] = row + i < L ? _mm512_maskz_loadu_epi32(mask, x + (row + i) * stride + 2 * k)
                           : _mm512_setzero_si512();
      transpose(r);
      for (int i = 0; i < there; i++) _mm512_storeu_si512(out + (k + i) * wide + row, r[i]);
    }
}

void words_of(const bf16 *x, long stride, long L, long width, pair *out) {
  for (long row = 0; row < L; row += 2, out += width)
    for (long k = 0; k < width; k += 16) {
      const bf16 *at = x + row * stride + k;
      _mm512_storeu_si512(out + k, paired(at, row + 1 < L ? at + stride : 0));
    }
}
