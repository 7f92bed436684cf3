#include "attention.h"

/* The gradient of one token's weights, in s[wide], to that of its scores; and its weights after
 * dropout, which the values' gradient is made of. */
static void softmax_back(const Texts *t, const Head *h, float *s, long row, num *dscores,
                         num *dropped) {
  const num *weights = t->weights + 16 * row;
  vec dot = zeros();
  for (long j = 0; j < h->wide; j += LANES) {
    vec w = load_num(weights + j), g = load(s + j), after = w;
    if (t->mask) {
      uint32_t kept = (uint32_t)t->mask[row + j / 16] >> j % 16;
      g = keep(kept, g * all(t->kept_scale));
      after = keep(kept, w * all(t->kept_scale));
    }
    store_num(dropped + j, after);
    store(s + j, g);
    dot = times_plus(w, g, dot);
  }
  const vec mean = all(sum_of(dot)), scale = all(t->scale);
  for (long j = 0; j < h->wide; j += LANES) {
    vec x = load_num(weights + j) * scale;
    store_num(dscores + j, x * (load(s + j) - mean));
  }
}

static void store_rows(const float *from, int rows, long d, num *to, long stride) {
  for (int e = 0; e < rows; e++)
    for (long j = 0; j < d; j += LANES) store_num(to + e * stride + j, load(from + e * d + j));
}

static void backward(void *given, long unit) {
  const Texts *t = given;
  const Head h = head_of(t, unit);
  const long d = t->d, D = t->H * d, first = t->start[unit / t->H], column = unit % t->H * d;
  const num *dout = t->dout + first * D + column;
  num *dq = t->out + first * 3 * D + column, *dk = dq + D, *dv = dk + D;
  word *values = scratch(0, (size_t)(d / WORD * h.wide) * sizeof(word));
  word *q = scratch(1, (size_t)(3 * h.L2 * d) * sizeof(word)), *k = q + h.L2 * d, *g = k + h.L2 * d;
  float *s = scratch(2, (size_t)(FEW * h.wide) * 4), *few = scratch(3, (size_t)(FEW * d) * 4);
  const long area = h.L2 * h.wide; /* words of all its weights */
  num *dscores = scratch(4, (size_t)(2 * area) * sizeof(word)), *dropped = dscores + WORD * area;
  word *room = scratch(5, (size_t)(2 * area) * sizeof(word));
  columns_of(h.v, h.stride, h.L, h.wide, d, values);
  words_of(h.q, h.stride, h.L, d, q);
  words_of(h.k, h.stride, h.L, d, k);
  words_of(dout, D, h.L, d, g);
  for (long i = 0; i < h.L; i += FEW) {
    int rows = (int)least(FEW, h.L - i);
    few_rows(rows, (const word *)(dout + i * D), D / WORD, 1, values, h.wide, h.wide, d / WORD, s, h.wide);
    for (int e = 0; e < rows; e++)
      softmax_back(t, &h, s + e * h.wide, h.kept + (i + e) * (h.wide / 16),
                   dscores + (i + e) * h.wide, dropped + (i + e) * h.wide);
    few_rows(rows, (const word *)(dscores + i * h.wide), h.wide / WORD, 1, k, d, d, h.L2, few, d);
    store_rows(few, rows, d, dq + i * h.stride, h.stride);
  }
  const word *ds = by_rows(dscores, h.L, h.wide, room);
  const word *after = by_rows(dropped, h.L, h.wide, room + area);
  for (long j = 0; j < h.L; j += FEW) { /* the same from each key's side: the matrix turned */
    int rows = (int)least(FEW, h.L - j);
    few_rows(rows, ds + j, 1, h.wide, q, d, d, h.L2, few, d);
    store_rows(few, rows, d, dk + j * h.stride, h.stride);
    few_rows(rows, after + j, 1, h.wide, g, d, d, h.L2, few, d);
    store_rows(few, rows, d, dv + j * h.stride, h.stride);
  }
}

/* dqkv [tokens][3 D] from dout [tokens][D] and what the forward pass kept. */
API void trivium_attention_back(const num *dout, const num *qkv, const int64_t *start,
                                const int64_t *length, const int64_t *place, long R, long H, long d,
                                float p, num *weights, uint16_t *mask, num *dqkv) {
  Texts t = {qkv, start, length, place, R, H, d, mask ? threshold_of(p) : 0, 1.0f / (1.0f - p),
             1.0f / sqrtf((float)d), 0, weights, mask, dout, dqkv};
  each(R * H, backward, &t);
}
