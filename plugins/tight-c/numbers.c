// Pages and sizes, as numbers and as people write them.
#include "tight.h"

uint64_t page_bytes(uint8_t page) { return page < 64 ? (uint64_t)1 << page : 0; }

uint64_t plus(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static string trimmed(string text) {
  while (text.len && is_space(text.ptr[0])) text.ptr++, text.len--;
  while (text.len && is_space(text.ptr[text.len - 1])) text.len--;
  return text;
}

static int digit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return 16;
}

enum gaps { NO_GAPS, GAPS };

// A number without a sign but `+`. Underscores may stand between digits where gaps are allowed.
static bool read_digits(string text, int base, enum gaps gaps, uint64_t *number) {
  bool any = false;
  *number = 0;
  for (size_t at = 0; at < text.len; at++) {
    uint8_t byte = text.ptr[at];
    if (gaps == GAPS && byte == '_') continue;
    if (byte == '+' && at == 0) continue;
    int value = digit(byte);
    if (value >= base) return false;
    if (__builtin_mul_overflow(*number, (uint64_t)base, number)) return false;
    if (__builtin_add_overflow(*number, (uint64_t)value, number)) return false;
    any = true;
  }
  return any;
}

// The unit's factor, 0 if it is none.
static uint64_t factor(string unit) {
  if (unit.len >= 2 && unit.ptr[unit.len - 2] == 'i' && unit.ptr[unit.len - 1] == 'B') unit.len -= 2;
  else if (unit.len && unit.ptr[unit.len - 1] == 'B') unit.len -= 1;
  static const char *const UNITS[] = {"", "K", "M", "G", "T", "P"};
  for (unsigned step = 0; step < 6; step++) {
    if (is(unit, UNITS[step])) return (uint64_t)1 << (10 * step);
  }
  return 0;
}

static bool read_size(string text, uint64_t *size) {
  if (text.len >= 2 && text.ptr[0] == '0' && text.ptr[1] == 'x') {
    return read_digits((string){text.ptr + 2, text.len - 2}, 16, GAPS, size);
  }
  size_t end = 0;
  while (end < text.len && (text.ptr[end] == '_' || digit(text.ptr[end]) < 10)) end++;
  if (!read_digits((string){text.ptr, end}, 10, GAPS, size)) return false;
  uint64_t times = factor(trimmed((string){text.ptr + end, text.len - end}));
  return times && !__builtin_mul_overflow(*size, times, size);
}

bool read_page(string text, uint8_t *page) {
  uint64_t number;
  text = trimmed(text);
  if (read_digits(text, 10, NO_GAPS, &number) && number <= UINT8_MAX) {
    *page = (uint8_t)number;
    return number < 64;
  }
  if (!read_size(text, &number) || __builtin_popcountll(number) != 1) return false;
  *page = (uint8_t)__builtin_ctzll(number);
  return true;
}
