/* What the kernels share: the types of numbers, work for threads.
 *
 * The module is built twice. For processors with AVX-512 and its bf16 products layers are computed in
 * bf16; for those with AVX2 alone (FP32 is defined) in fp32. `num` is what layers compute in. A
 * "word" is what one lane of a product takes: a "pair" of neighbouring bf16 of the dimension that a
 * product sums over, for vdpbf16ps (and a tile of AMX), or one fp32. Letters: M rows (tokens),
 * N outputs, K inputs of a product; K2 = K / WORD words; D width of the encoder, H heads, d width of
 * a head, L tokens of a text.
 */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t bf16;
typedef uint32_t pair;
#ifdef FP32
typedef float num, word;
enum { WORD = 1, PANEL = 16 };
#else
typedef bf16 num;
typedef pair word;
enum { WORD = 2, PANEL = 48 };
#endif
/* WORD: numbers of a word. PANEL: columns of a packed matrix that stand together, and end in
 * registers. */

#define API __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

INLINE long up_to(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }

/* --- threads (threads.c) ---------------------------------------------------------------------- */

typedef void (*Task)(void *data, long unit);
/* task(data, unit) for every unit below `units`, each by whichever thread is free. What a unit
 * computes must not depend on who computes it: then results do not depend on how many threads. */
void each(long units, Task task, void *data);
int threads(void);
void use_threads(int n);
/* A buffer of the calling thread's own, valid until the next call with the same `which`. */
void *scratch(int which, size_t bytes);
enum { SCRATCHES = 6 };
