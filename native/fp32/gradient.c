/* The gradient of a weight: dW [N][K] = g^T x over M rows, and that of its bias. */
#include "../vec.h"
#include <string.h>

enum {
  STRIP = 24,       /* outputs that meet a panel of x together */
  DEEP = 512,       /* rows whose products are added up in registers */
  SEVERAL = 4,      /* strips for which a panel is fetched once, where all of x fills the caches: */
  FILLS = 1 << 21   /* so many numbers and more */
};

typedef struct {
  const float *g, *x; /* [M][N], [M][K] */
  long M, N, K;
  long several; /* strips at a time */
  float *room; /* x in panels: [K / PANEL][M][PANEL] */
  float *dW, *db;
} Gradient;

/* Panels of some rows of x. */
enum { SOME = 16 };
static void pack_rows(void *given, long unit) {
  const Gradient *p = given;
  for (long k = 0; k < p->K; k += PANEL)
    for (long m = SOME * unit; m < least(SOME * (unit + 1), p->M); m++)
      memcpy(p->room + k * p->M + m * PANEL, p->x + m * p->K + k, PANEL * sizeof(float));
}

/* C [rows][PANEL] (+)= A^T B over `deep` rows of A [][STRIP] and B [][PANEL]. */
INLINE void six_outputs(const int rows, const float *A, const float *B, long deep, float *C,
                        long c_stride, int adds) {
  vec sum[6][2];
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = zeros();
  _Pragma("GCC unroll 8") for (long m = 0; m < deep; m++, A += STRIP, B += PANEL) {
    vec b0 = load(B), b1 = load(B + LANES);
    _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++) {
      vec a = all(A[i]);
      sum[i][0] = times_plus(a, b0, sum[i][0]);
      sum[i][1] = times_plus(a, b1, sum[i][1]);
    }
  }
  _Pragma("GCC unroll 6") for (int i = 0; i < rows; i++)
    _Pragma("GCC unroll 2") for (int j = 0; j < 2; j++) {
      float *to = C + i * c_stride + j * LANES;
      if (adds) sum[i][j] = load(to) + sum[i][j];
      store(to, sum[i][j]);
    }
}

static void some_outputs(int rows, const float *A, const float *B, long deep, float *C,
                         long c_stride, int adds) {
  for (; rows > 0; rows -= 6, A += 6, C += 6 * c_stride) switch (rows) {
      case 1: six_outputs(1, A, B, deep, C, c_stride, adds); break;
      case 2: six_outputs(2, A, B, deep, C, c_stride, adds); break;
      case 3: six_outputs(3, A, B, deep, C, c_stride, adds); break;
      case 4: six_outputs(4, A, B, deep, C, c_stride, adds); break;
      case 5: six_outputs(5, A, B, deep, C, c_stride, adds); break;
      default: six_outputs(6, A, B, deep, C, c_stride, adds);
    }
}

/* Some rows of a strip of g side by side; its sums over rows in their order. */
static void take_strip(const Gradient *p, long first, long outputs, long from, long deep,
                       float *out) {
  float sums[STRIP];
  if (p->db && from) memcpy(sums, p->db + first, (size_t)outputs * sizeof(float));
  else memset(sums, 0, sizeof sums);
  for (long m = 0; m < deep; m++, out += STRIP) {
    const float *row = p->g + (from + m) * p->N + first;
    for (long n = 0; n < outputs; n++) out[n] = row[n], sums[n] += row[n];
  }
  if (p->db) memcpy(p->db + first, sums, (size_t)outputs * sizeof(float));
}

/* What is summed, in which order, is the same however many strips stand together. */
static void some_strips(void *given, long unit) {
  const Gradient *p = given;
  const long low = unit * p->several * STRIP, high = least(low + p->several * STRIP, p->N);
  float *A = scratch(0, (size_t)(p->several * DEEP * STRIP) * sizeof(float));
  long from = 0;
  do { /* once, if there is no row: sums of nothing are 0 */
    const long deep = least(DEEP, p->M - from);
    for (long n = low; n < high; n += STRIP)
      take_strip(p, n, least(STRIP, high - n), from, deep, A + (n - low) * DEEP);
    for (long k = 0; p->dW && k < p->K; k += PANEL)
      for (long n = low; n < high; n += STRIP)
        some_outputs((int)least(STRIP, high - n), A + (n - low) * DEEP,
                     p->room + k * p->M + from * PANEL, deep, p->dW + n * p->K + k, p->K, from > 0);
    from += DEEP;
  } while (from < p->M);
}

/* Numbers of room that `trivium_weight_gradient` needs. */
API long trivium_gradient_room(long M, long N, long K) {
  (void)N;
  return M * K;
}

/* dW and db, each null where it is not wanted. K a multiple of 16. */
API void trivium_weight_gradient(const float *g, const float *x, long M, long N, long K,
                                 float *room, float *dW, float *db) {
  const long strips = (N + STRIP - 1) / STRIP;
  const long several = M * K < FILLS ? 1 : most(1, least(SEVERAL, strips / threads()));
  Gradient p = {g, x, M, N, K, several, room, dW, db};
  if (dW) each((M + SOME - 1) / SOME, pack_rows, &p);
  each((strips + several - 1) / several, some_strips, &p);
}
