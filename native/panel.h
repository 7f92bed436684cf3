/* The heart of every product: some rows times one packed panel of PANEL columns. */
#pragma once
#include "common.h"

#ifdef FP32
enum { GROUP = 24 }; /* rows that are multiplied at a time */
#else
enum { GROUP = 32 };
#endif

/* C[rows][PANEL] = A[rows][K2] B[K2][PANEL], in fp32; rows at most GROUP, K2 a multiple of 16.
 * a_stride: words between two rows of A; c_stride: numbers between two rows of C. */
typedef void (*Panel)(int rows, const word *A, long a_stride, const word *B, long K2, float *C,
                      long c_stride);
extern Panel times_panel; /* the fastest one that the processor has */
extern long rows_at_once; /* of A, for which a panel is kept in the cache */
