// Texts for people.
#include <string.h>

#include "tight.h"

static void add_bytes(text_t *text, const uint8_t *bytes, size_t length) {
  if (text->capacity - text->length < length) {
    size_t capacity = 2 * (text->length + length) + 64;
    uint8_t *larger = take(capacity, 1);
    if (text->length) memcpy(larger, text->bytes, text->length);
    text->bytes = larger;
    text->capacity = capacity;
  }
  if (length) memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

void add(text_t *text, const char *more) { add_bytes(text, (const uint8_t *)more, strlen(more)); }

void add_string(text_t *text, string more) { add_bytes(text, more.ptr, more.len); }

static void add_in_base(text_t *text, uint64_t number, unsigned base) {
  uint8_t digits[64];
  size_t at = sizeof digits;
  do {
    digits[--at] = (uint8_t) "0123456789abcdef"[number % base];
    number /= base;
  } while (number);
  add_bytes(text, digits + at, sizeof digits - at);
}

void add_number(text_t *text, uint64_t number) { add_in_base(text, number, 10); }

void add_address(text_t *text, uint64_t address) {
  add(text, "0x");
  add_in_base(text, address, 16);
}

void add_size(text_t *text, uint64_t bytes) {
  static const char *const UNITS[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  size_t unit = 0;
  while (bytes && bytes % 1024 == 0 && unit < 6) {
    bytes /= 1024;
    unit++;
  }
  add_number(text, bytes);
  add(text, UNITS[unit]);
}

void add_page(text_t *text, uint8_t page) { add_size(text, page_bytes(page)); }

string finished(text_t text) { return (string){.ptr = text.bytes, .len = text.length}; }

string string_of(const char *text) {
  text_t copy = {0};
  add(&copy, text);
  return finished(copy);
}

bool is(string text, const char *other) {
  return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

bool same(string a, string b) { return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0; }

bool refuse(refusal_t *refusal, uint8_t reason, text_t detail) {
  refusal->reason = reason;
  refusal->detail = finished(detail);
  return false;
}
