/* The small products of attention: up to 6 rows x 16 columns at a time. */
#include "../attention.h"
#include "turn.h"
#include <string.h>

INLINE void block(const int rows, const float *A, long a_row, long a_next, const float *B,
                  long b_stride, long K, float *C, long c_stride) {
  vec sum[FEW][2];
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = zeros();
  _Pragma("GCC unroll 8") for (long k = 0; k < K; k++) {
    vec b0 = load(B + k * b_stride), b1 = load(B + k * b_stride + LANES);
    _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) {
      vec a = all(A[i * a_row + k * a_next]);
      sum[i][0] = times_plus(a, b0, sum[i][0]);
      sum[i][1] = times_plus(a, b1, sum[i][1]);
    }
  }
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) {
    store(C + i * c_stride, sum[i][0]);
    store(C + i * c_stride + LANES, sum[i][1]);
  }
}

INLINE void blocks(const int rows, const float *A, long a_row, long a_next, const float *B,
                   long b_stride, long columns, long K, float *C, long c_stride) {
  for (; columns > 0; columns -= 16, B += 16, C += 16)
    block(rows, A, a_row, a_next, B, b_stride, K, C, c_stride);
}

void few_rows(int rows, const float *A, long a_row, long a_next, const float *B, long b_stride,
              long columns, long K, float *C, long c_stride) {
  switch (rows) {
    case 1: blocks(1, A, a_row, a_next, B, b_stride, columns, K, C, c_stride); break;
    case 2: blocks(2, A, a_row, a_next, B, b_stride, columns, K, C, c_stride); break;
    case 3: blocks(3, A, a_row, a_next, B, b_stride, columns, K, C, c_stride); break;
    case 4: blocks(4, A, a_row, a_next, B, b_stride, columns, K, C, c_stride); break;
    case 5: blocks(5, A, a_row, a_next, B, b_stride, columns, K, C, c_stride); break;
    default: blocks(6, A, a_row, a_next, B, b_stride, columns, K, C, c_stride);
  }
}

void columns_of(const float *x, long stride, long L, long wide, long d, float *out) {
  for (long row = 0; row < wide; row += LANES)
    for (long k = 0; k < d; k += LANES) {
      vec r[LANES];
      for (int i = 0; i < LANES; i++)
        r[i] = row + i < L ? load(x + (row + i) * stride + k) : zeros();
      turn(r);
      for (int i = 0; i < LANES; i++) store(out + (k + i) * wide + row, r[i]);
    }
}

void words_of(const float *x, long stride, long L, long width, float *out) {
  for (long row = 0; row < L; row++)
    memcpy(out + row * width, x + row * stride, (size_t)width * sizeof(float));
}
