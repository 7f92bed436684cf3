/* All kernels with several threads, for ThreadSanitizer: which knows POSIX threads, but not how
 * OpenMP's meet. So this program brings its own GOMP_parallel. Ends with 0 if results do not depend
 * on the number of threads; races are the sanitizer's to tell. */
#include "../common.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { M = 150, D = 64, I = 96, H = 2, R = 3, WORDS = 1 << 18, MOST = 16, NUM = sizeof(num) };

int trivium_supports(void);
void trivium_use(int which, int threads);
void trivium_pack(const float *W, long N, long K, word *ahead, word *back, long first, long all);
void trivium_product(int then, const num *x, long rows, long K, const word *B, long N,
                     const float *bias, num *out, num *other, float *sum);
void trivium_product_norm(const num *x, long rows, long K, const word *B, long width,
                          const float *bias, const num *residual, float p, uint64_t seed,
                          const float *gamma, const float *beta, float eps, float *room,
                          num *before, uint32_t *mask, float *stats, num *y);
void trivium_norm_back(const float *dy, const num *before, const float *stats, const float *gamma,
                       const uint32_t *mask, float p, long rows, long width, float *room,
                       float *dresidual, num *dproduct, float *dgamma, float *dbeta);
void trivium_weight_gradient(const num *g, const num *x, long rows, long N, long K, word *room,
                             float *dW, float *db);
void trivium_attention(const num *qkv, const int64_t *start, const int64_t *length,
                       const int64_t *place, long texts, long heads, long d, float p, uint64_t seed,
                       num *weights, uint16_t *mask, num *out);
void trivium_attention_back(const num *dout, const num *qkv, const int64_t *start,
                            const int64_t *length, const int64_t *place, long texts, long heads,
                            long d, float p, num *weights, uint16_t *mask, num *dqkv);

typedef struct {
  void (*body)(void *);
  void *data;
} Job;
static void *run_job(void *given) {
  Job *job = given;
  job->body(job->data);
  return 0;
}
void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags) {
  (void)flags;
  pthread_t others[MOST];
  Job job = {body, data};
  for (unsigned t = 1; t < threads; t++) pthread_create(&others[t], 0, run_job, &job);
  body(data);
  for (unsigned t = 1; t < threads; t++) pthread_join(others[t], 0);
}

static void *numbers(size_t bytes) {
  void *made = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
  memset(made, 0, (bytes + 63) & ~(size_t)63);
  return made;
}
static void fill(num *x, long count, unsigned seed) {
  for (long i = 0; i < count; i++) { /* between -1 and 1 */
    seed = seed * 1664525u + 1013904223u;
    float value = (float)(seed >> 8) / (1 << 23) - 1;
#ifdef FP32
    x[i] = value;
#else
    uint32_t bits;
    memcpy(&bits, &value, 4);
    x[i] = (bf16)(bits >> 16);
#endif
  }
}
static uint64_t digest(const void *x, size_t bytes, uint64_t sum) {
  const unsigned char *at = x;
  for (size_t i = 0; i < bytes; i++) sum = (sum ^ at[i]) * 1099511628211ull;
  return sum;
}

/* A step through every kernel; a number for all that they made. */
static uint64_t step(void) {
  float *W = numbers(3 * D * I * 4), *ones = numbers(3 * I * 4), *room = numbers(WORDS * 4);
  num *x = numbers(M * I * NUM), *qkv = numbers(M * 3 * D * NUM), *y = numbers(M * I * NUM),
       *before = numbers(M * D * NUM), *other = numbers(M * I * NUM);
  for (long i = 0; i < 3 * D * I; i++) W[i] = (float)((i * 37) % 101) / 500 - 0.1f;
  for (long i = 0; i < 3 * I; i++) ones[i] = 1;
  fill(x, M * I, 1);
  fill(qkv, M * 3 * D, 2);
  word *ahead = numbers(WORDS), *back = numbers(WORDS);
  uint64_t sum = 14695981039346656037ull;
  trivium_pack(W, I, D, ahead, back, 0, I);
  for (int then = 0; then < 5; then++) {
    trivium_product(then, x, M, D, ahead, I, ones, y, other, 0);
    sum = digest(y, M * I * NUM, sum);
  }
  trivium_pack(W, D, I, ahead, back, 0, D);
  uint32_t *mask = numbers(M * D / 8);
  float *stats = numbers(M * 8), *dy = numbers(M * D * 4), *sums = numbers(2 * D * 4);
  trivium_product_norm(x, M, I, ahead, D, ones, x, 0.1f, 7, ones, ones, 1e-6f, room, before, mask,
                       stats, y);
  for (long i = 0; i < M * D; i++) dy[i] = (float)(i % 13) - 6;
  trivium_norm_back(dy, before, stats, ones, mask, 0.1f, M, D, room, dy, other, sums, sums + D);
  sum = digest(dy, M * D * 4, digest(sums, 2 * D * 4, digest(y, M * D * NUM, sum)));
  float *dW = numbers(I * D * 4), *db = numbers(I * 4);
  trivium_weight_gradient(x, other, M, I, D, (word *)room, dW, db);
  sum = digest(dW, I * D * 4, digest(db, I * 4, sum));
  trivium_weight_gradient(other, x, M, D, I, (word *)room, dW, db);
  sum = digest(dW, I * D * 4, sum);
  int64_t start[R] = {0, 100, 101}, length[R] = {100, 1, 49}, place[R] = {0, 700, 701};
  num *weights = numbers(NUM * 16 * 1000 * H);
  uint16_t *kept = numbers(2 * 1000 * H);
  trivium_attention(qkv, start, length, place, R, H, D / H, 0.1f, 3, weights, kept, y);
  sum = digest(y, M * D * NUM, sum);
  num *dqkv = numbers(M * 3 * D * NUM);
  trivium_attention_back(x, qkv, start, length, place, R, H, D / H, 0.1f, weights, kept, dqkv);
  return digest(dqkv, M * 3 * D * NUM, sum);
}

int main(void) {
  int able = trivium_supports();
#ifdef FP32
  able = able > 0; /* products of one kind */
#endif
  for (int which = 1; which <= able; which++) {
    trivium_use(which, 1);
    uint64_t alone = step();
    for (int threads = 2; threads <= MOST; threads *= 2) {
      trivium_use(which, threads);
      if (step() != alone) {
        printf("%d threads give other numbers than one (kind %d)\n", threads, which);
        return 1;
      }
    }
  }
  printf("%d kinds of products with 1 to %d threads: the same numbers\n", able, MOST);
  return 0;
}
