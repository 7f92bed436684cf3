#include "attention.h"

/* One token's scores s[wide] to its weights after dropout; row: of all rows of 16 weights. */
static void softmax(const Texts *t, const Head *h, float *s, long row, num *dropped) {
  vec top = all(-INFINITY), sum = zeros();
  for (long j = 0; j < h->wide; j += LANES)
    top = larger(top, first_of(h->L - j, load(s + j), all(-INFINITY)));
  const vec most = all(most_of(top)), scale = all(t->scale);
  for (long j = 0; j < h->wide; j += LANES) {
    vec x = first_of(h->L - j, exponential((load(s + j) - most) * scale), zeros());
    store(s + j, x);
    sum = sum + x;
  }
  const vec share = all(1.0f / sum_of(sum));
  uint32_t bits = 0;
  for (long j = 0; j < h->wide; j += LANES) {
    vec x = load(s + j) * share;
    if (t->weights) store_num(t->weights + 16 * row + j, x);
    if (t->threshold) {
      if (j % 32 == 0) bits = kept_bits(t->seed, (uint64_t)(row + j / 16), t->threshold);
      if (t->mask && j % 16 == 0) t->mask[row + j / 16] = (uint16_t)(bits >> j % 32);
      x = keep(bits >> j % 32, x * all(t->kept_scale));
    }
    store_num(dropped + j, x);
  }
}

static void forward(void *given, long unit) {
  const Texts *t = given;
  const Head h = head_of(t, unit);
  const long d = t->d, D = t->H * d;
  num *out = t->out + t->start[unit / t->H] * D + unit % t->H * d;
  word *keys = scratch(0, (size_t)(d / WORD * h.wide) * sizeof(word));
  word *values = scratch(1, (size_t)(h.L2 * d) * sizeof(word));
  float *scores = scratch(2, (size_t)(FEW * h.wide) * 4);
  float *mixed = scratch(3, (size_t)(FEW * d) * 4);
  num *dropped = scratch(4, (size_t)(FEW * h.wide) * sizeof(num));
  columns_of(h.k, h.stride, h.L, h.wide, d, keys);
  words_of(h.v, h.stride, h.L, d, values);
  for (long i = 0; i < h.L; i += FEW) {
    int rows = (int)least(FEW, h.L - i);
    few_rows(rows, (const word *)(h.q + i * h.stride), h.stride / WORD, 1, keys, h.wide, h.wide, d / WORD,
             scores, h.wide);
    for (int e = 0; e < rows; e++)
      softmax(t, &h, scores + e * h.wide, h.kept + (i + e) * (h.wide / 16), dropped + e * h.wide);
    few_rows(rows, (const word *)dropped, h.wide / WORD, 1, values, d, d, h.L2, mixed, d);
    for (int e = 0; e < rows; e++)
      for (long j = 0; j < d; j += LANES)
        store_num(out + (i + e) * D + j, load(mixed + e * d + j));
  }
}

/* out [tokens][D] = softmax(q k^T / sqrt(d)) v within each text. weights and mask are kept for the
 * backward pass, or null. */
API void trivium_attention(const num *qkv, const int64_t *start, const int64_t *length,
                           const int64_t *place, long R, long H, long d, float p, uint64_t seed,
                           num *weights, uint16_t *mask, num *out) {
  Texts t = {qkv, start, length, place, R, H, d, threshold_of(p), 1.0f / (1.0f - p),
             1.0f / sqrtf((float)d), seed, weights, mask, 0, out};
  each(R * H, forward, &t);
}
