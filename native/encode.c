/* All layers in one call, for prediction: a short text's products take less time than as many calls
 * from Python. The operations are those of the other files. */
#include "product.h"
#include <string.h>

/* One layer's weights, packed, and what goes with them; as `model/native/stack.py` lists them. */
typedef struct {
  const word *qkv, *mixed, *inner, *outer;
  const float *qkv_bias, *mixed_bias, *inner_bias, *outer_bias;
  const float *mixed_gamma, *mixed_beta, *outer_gamma, *outer_beta;
} Layer;

void trivium_product(int then, const num *x, long M, long K, const word *B, long N,
                     const float *bias, num *out, num *other, float *sum);
void trivium_product_norm(const num *x, long M, long K, const word *B, long D, const float *bias,
                          const num *residual, float p, uint64_t seed, const float *gamma,
                          const float *beta, float eps, float *room, num *before, uint32_t *mask,
                          float *stats, num *y);
void trivium_attention(const num *qkv, const int64_t *start, const int64_t *length,
                       const int64_t *place, long R, long H, long d, float p, uint64_t seed,
                       num *weights, uint16_t *mask, num *out);

/* The rows of the texts' first tokens, moved to the front: starts are in order, so in place. */
static void keep_first(num *x, const int64_t *start, long R, long D) {
  for (long r = 0; r < R; r++) memmove(x + r * D, x + start[r] * D, (size_t)D * sizeof(num));
}

/* hidden [M][D], the layers' input, becomes their output; if first_only, its first R rows the
 * outputs of the texts' first tokens. start, length: [R] of the texts; place: [R] zeros, since no
 * weights are kept. room: num [M][4 D + I]; sums: fp32 [M][up_to(D, PANEL)]. */
API void trivium_encode(const Layer *layers, long count, num *hidden, long M, long D, long I,
                        long H, const int64_t *start, const int64_t *length, const int64_t *place,
                        long R, float eps, int first_only, num *room, float *sums) {
  num *qkv = room, *mixed = qkv + M * 3 * D, *inner = mixed + M * D;
  for (long n = 0; n < count; n++) {
    const Layer *l = layers + n;
    trivium_product(BIAS, hidden, M, D, l->qkv, 3 * D, l->qkv_bias, qkv, 0, 0);
    trivium_attention(qkv, start, length, place, R, H, D / H, 0, 0, 0, 0, mixed);
    if (first_only && n == count - 1) {
      keep_first(mixed, start, R, D);
      keep_first(hidden, start, R, D);
      M = R;
    }
    num *half = qkv; /* which is read no more */
    trivium_product_norm(mixed, M, D, l->mixed, D, l->mixed_bias, hidden, 0, 0, l->mixed_gamma,
                         l->mixed_beta, eps, sums, 0, 0, 0, half);
    trivium_product(GELU, half, M, D, l->inner, I, l->inner_bias, inner, 0, 0);
    trivium_product_norm(inner, M, I, l->outer, D, l->outer_bias, half, 0, 0, l->outer_gamma,
                         l->outer_beta, eps, sums, 0, 0, 0, hidden);
  }
}
