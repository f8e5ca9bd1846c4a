// Memory for what one decision needs.
#include <stdlib.h>

#include "tight.h"

void *take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) __builtin_trap();
  return memory;
}
