#include "../panel.h"
#include "words.h"

void panel_avx512(int rows, const pair *A, long a_stride, const pair *B, long K2, float *C,
                  long c_stride);
void panel_amx(int rows, const pair *A, long a_stride, const pair *B, long K2, float *C,
               long c_stride);

Panel times_panel = panel_avx512;
long rows_at_once = 64;

/* For what is called next. which: 1 vectors, 2 tiles, which are several times as fast. */
API void trivium_use(int which, int threads) {
  use_threads(threads);
  times_panel = which == 2 ? panel_amx : panel_avx512;
  /* Tiles read a panel faster than it comes from the outer cache, unless for many rows. */
  rows_at_once = which == 2 ? 256 : 64;
}

/* --- vectors: 8 rows x 48 columns are 24 accumulators ----------------------------------------- */

INLINE void eight_rows(const int rows, const pair *A, long a_stride, const pair *B, long K2,
                       float *C, long c_stride) {
  __m512 sum[8][3];
  _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 3") for (int j = 0; j < 3; j++) sum[i][j] = _mm512_setzero_ps();
  for (long k = 0; k < K2; k++, B += PANEL) {
    __m512i b0 = _mm512_loadu_si512(B), b1 = _mm512_loadu_si512(B + 16),
            b2 = _mm512_loadu_si512(B + 32);
    _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++) {
      __m512i a = _mm512_set1_epi32((int)A[i * a_stride + k]);
      sum[i][0] = dot_pairs(sum[i][0], a, b0);
      sum[i][1] = dot_pairs(sum[i][1], a, b1);
      sum[i][2] = dot_pairs(sum[i][2], a, b2);
    }
  }
  _Pragma("GCC unroll 8") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 3") for (int j = 0; j < 3; j++)
      _mm512_storeu_ps(C + i * c_stride + 16 * j, sum[i][j]);
}

void panel_avx512(int rows, const pair *A, long a_stride, const pair *B, long K2, float *C,
                  long c_stride) {
  for (; rows > 0; rows -= 8, A += 8 * a_stride, C += 8 * c_stride) switch (rows) {
      case 1: eight_rows(1, A, a_stride, B, K2, C, c_stride); break;
      case 2: eight_rows(2, A, a_stride, B, K2, C, c_stride); break;
      case 3: eight_rows(3, A, a_stride, B, K2, C, c_stride); break;
      case 4: eight_rows(4, A, a_stride, B, K2, C, c_stride); break;
      case 5: eight_rows(5, A, a_stride, B, K2, C, c_stride); break;
      case 6: eight_rows(6, A, a_stride, B, K2, C, c_stride); break;
      case 7: eight_rows(7, A, a_stride, B, K2, C, c_stride); break;
      default: eight_rows(8, A, a_stride, B, K2, C, c_stride);
    }
}

/* --- tiles: 2 x 3 of 16 x 16 accumulators, one of A, one of B --------------------------------- */

#define TILED __attribute__((target("amx-tile,amx-bf16")))

/* Tiles of C with the rows that there are: 0-2 the first 16, 3-5 the rest; 6 and 7 of A; all of B
 * and 7's row count are full where it is B's. */
typedef struct {
  uint8_t palette, start_row, zero[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} Shape;

TILED static void shape_tiles(int first, int rest) {
  Shape shape = {.palette = 1};
  for (int t = 0; t < 8; t++) shape.row_bytes[t] = 64;
  for (int t = 0; t < 3; t++) {
    shape.rows[t] = (uint8_t)first;
    shape.rows[3 + t] = (uint8_t)(rest ? rest : 1);
  }
  shape.rows[6] = (uint8_t)first;
  shape.rows[7] = 16;
  _tile_loadconfig(&shape);
}

/* Up to 16 rows: three accumulators. */
TILED static void one_row_of_tiles(const pair *A, long a_stride, const pair *B, long K2, float *C,
                                   long c_stride) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  for (long k = 0; k < K2; k += 16, B += 16 * PANEL) {
    _tile_loadd(6, A + k, a_stride * 4);
    _tile_loadd(7, B, PANEL * 4);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, B + 16, PANEL * 4);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, B + 32, PANEL * 4);
    _tile_dpbf16ps(2, 6, 7);
  }
  _tile_stored(0, C, c_stride * 4);
  _tile_stored(1, C + 16, c_stride * 4);
  _tile_stored(2, C + 32, c_stride * 4);
}

/* 32 rows: six accumulators, all tiles of 16 rows. */
TILED static void two_rows_of_tiles(const pair *A, long a_stride, const pair *B, long K2, float *C,
                                    long c_stride) {
  const pair *A1 = A + 16 * a_stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (long k = 0; k < K2; k += 16, B += 16 * PANEL) {
    _tile_loadd(6, A + k, a_stride * 4);
    _tile_loadd(7, B, PANEL * 4);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, B + 16, PANEL * 4);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, B + 32, PANEL * 4);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(6, A1 + k, a_stride * 4);
    _tile_dpbf16ps(5, 6, 7);
    _tile_loadd(7, B, PANEL * 4);
    _tile_dpbf16ps(3, 6, 7);
    _tile_loadd(7, B + 16, PANEL * 4);
    _tile_dpbf16ps(4, 6, 7);
  }
  _tile_stored(0, C, c_stride * 4);
  _tile_stored(1, C + 16, c_stride * 4);
  _tile_stored(2, C + 32, c_stride * 4);
  C += 16 * c_stride;
  _tile_stored(3, C, c_stride * 4);
  _tile_stored(4, C + 16, c_stride * 4);
  _tile_stored(5, C + 32, c_stride * 4);
}

TILED void panel_amx(int rows, const pair *A, long a_stride, const pair *B, long K2, float *C,
                     long c_stride) {
  if (rows == GROUP) {
    shape_tiles(16, 16);
    two_rows_of_tiles(A, a_stride, B, K2, C, c_stride);
  } else {
    for (; rows > 0; rows -= 16, A += 16 * a_stride, C += 16 * c_stride) {
      shape_tiles(rows < 16 ? rows : 16, 0);
      one_row_of_tiles(A, a_stride, B, K2, C, c_stride);
    }
  }
  _tile_release();
}
