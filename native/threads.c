/* Work for the threads that torch has already: its OpenMP's, by the one function of it that every
 * OpenMP offers under this name (GNU's, and LLVM's and Intel's for its sake). A second pool would
 * have its threads spin beside torch's, on the same cores. The library is linked to no OpenMP: it
 * finds the functions in the process, where importing torch has put them. */
#include "common.h"
#include <stdatomic.h>
#include <stdlib.h>

extern void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);

static int wanted = 1;
void use_threads(int n) { wanted = n < 1 ? 1 : n; }
int threads(void) { return wanted; }

typedef struct {
  atomic_long next;
  long units;
  Task task;
  void *data;
} Work;

static void take_units(void *given) {
  Work *work = given;
  for (;;) {
    long unit = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
    if (unit >= work->units) return;
    work->task(work->data, unit);
  }
}

void each(long units, Task task, void *data) {
  long several = least(wanted, units);
  if (several < 2) {
    for (long unit = 0; unit < units; unit++) task(data, unit);
    return;
  }
  Work work = {.units = units, .task = task, .data = data};
  atomic_init(&work.next, 0);
  GOMP_parallel(take_units, &work, (unsigned)several, 0);
}

static __thread char *buffers[SCRATCHES];
static __thread size_t sizes[SCRATCHES];

void *scratch(int which, size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  const int exactly = 1; /* so that one number too many is seen */
#else
  const int exactly = 0;
#endif
  if (sizes[which] < bytes || exactly) {
    free(buffers[which]);
    sizes[which] = exactly ? (bytes + 63) & ~(size_t)63 : (bytes * 5 / 4 + 4095) & ~(size_t)4095;
    buffers[which] = aligned_alloc(64, sizes[which]);
    if (!buffers[which]) abort(); /* as torch's allocator would end it, in words of its own */
  }
  return buffers[which];
}
