/* Products with a packed panel in AVX2: 6 rows x 16 columns are 12 accumulators. */
#include "../panel.h"
#include "../vec.h"

INLINE void six_rows(const int rows, const float *A, long a_stride, const float *B, long K, float *C,
                     long c_stride) {
  vec sum[6][2];
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = zeros();
  _Pragma("GCC unroll 8") for (long k = 0; k < K; k++, B += PANEL) {
    vec b0 = load(B), b1 = load(B + LANES);
    _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) {
      vec a = all(A[i * a_stride + k]);
      sum[i][0] = times_plus(a, b0, sum[i][0]);
      sum[i][1] = times_plus(a, b1, sum[i][1]);
    }
  }
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) {
    store(C + i * c_stride, sum[i][0]);
    store(C + i * c_stride + LANES, sum[i][1]);
  }
}

static void panel_avx2(int rows, const float *A, long a_stride, const float *B, long K, float *C,
                       long c_stride) {
  for (; rows > 0; rows -= 6, A += 6 * a_stride, C += 6 * c_stride) switch (rows) {
      case 1: six_rows(1, A, a_stride, B, K, C, c_stride); break;
      case 2: six_rows(2, A, a_stride, B, K, C, c_stride); break;
      case 3: six_rows(3, A, a_stride, B, K, C, c_stride); break;
      case 4: six_rows(4, A, a_stride, B, K, C, c_stride); break;
      case 5: six_rows(5, A, a_stride, B, K, C, c_stride); break;
      default: six_rows(6, A, a_stride, B, K, C, c_stride);
    }
}

Panel times_panel = panel_avx2;
long rows_at_once = 64;

/* For what is called next. */
API void trivium_use(int which, int threads) {
  (void)which; /* there is one kind of product */
  use_threads(threads);
}
