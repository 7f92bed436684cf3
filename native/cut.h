/* Many tensors cut into units of work. */
#pragma once
#include "common.h"

/* first[i]: the number of units before tensor i. */
typedef struct {
  long tensors;
  const int64_t *first;
} Cut;

INLINE long tensor_of(Cut cut, long unit) {
  long low = 0, high = cut.tensors;
  while (high - low > 1) {
    long middle = (low + high) / 2;
    if (cut.first[middle] <= unit) low = middle;
    else high = middle;
  }
  return low;
}

/* Of `length` numbers each, or of length * lengths[i]. It stands in the caller's scratch 0. */
INLINE Cut cut_by(const int64_t *sizes, const int64_t *lengths, long length, long n) {
  int64_t *first = scratch(0, (size_t)(n + 1) * sizeof(int64_t));
  first[0] = 0;
  for (long i = 0; i < n; i++) {
    long each = lengths ? length * lengths[i] : length;
    first[i + 1] = first[i] + (sizes[i] + each - 1) / each;
  }
  return (Cut){n, first};
}
