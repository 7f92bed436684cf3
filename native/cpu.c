/* What the processor can do. Compiled for any x86-64: it is asked before anything else is called. */
#define _GNU_SOURCE
#include <stdint.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define API __attribute__((visibility("default")))

/* Of what the functions take and mean: `model/native/library.py` leaves another one's alone. */
API int trivium_interface(void) { return 3; }

#ifdef FP32

enum { NOTHING = 0, AVX2 = 3, WIDER = 4 };

/* 0: not enough; 3: AVX2 with fused multiply-adds; 4: vectors twice as wide, for which this is not
 * made, as well. */
API int trivium_supports(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return NOTHING;
  return __builtin_cpu_supports("avx512f") ? WIDER : AVX2;
}

#else

enum { NOTHING = 0, AVX512 = 1, AMX = 2 };

static int has_amx(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  uint32_t a = 7, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  int tiles = (d >> 24 & 1) && (d >> 22 & 1); /* AMX-TILE and AMX-BF16 */
  /* Linux lets a process use tiles once it has asked. */
  return tiles && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return 0;
#endif
}

/* 0: not enough; 1: AVX-512 with bf16 products; 2: AMX tiles of bf16 as well. */
API int trivium_supports(void) {
  __builtin_cpu_init();
  int vectors = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bf16");
  if (!vectors) return NOTHING;
  return has_amx() ? AMX : AVX512;
}

#endif
