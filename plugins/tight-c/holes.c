// The free room in a window that is still to be made.
#include <stdlib.h>

#include "tight.h"

typedef struct {
  uint64_t start;
  uint64_t end;
} run_t;

// Runs of bus addresses in whole pages, clear of reserved ranges, ascending.
typedef struct {
  run_t *runs;
  size_t count;
  uint64_t page;
} holes_t;

// Puts what a run has before another and after it in its place.
static void cut(holes_t *holes, size_t index, run_t other) {
  run_t run = holes->runs[index];
  run_t before = {run.start, run.end < other.start ? run.end : other.start};
  run_t after = {run.start > other.end ? run.start : other.end, run.end};
  run_t rest[2];
  size_t left = 0;
  if (before.start < before.end) rest[left++] = before;
  if (after.start < after.end) rest[left++] = after;
  if (left == 1) {
    holes->runs[index] = rest[0];
  } else if (left == 0) {
    for (size_t at = index + 1; at < holes->count; at++) holes->runs[at - 1] = holes->runs[at];
    holes->count--;
  } else {
    for (size_t at = holes->count; at > index + 1; at--) holes->runs[at] = holes->runs[at - 1];
    holes->runs[index] = rest[0];
    holes->runs[index + 1] = rest[1];
    holes->count++;
  }
}

static bool whole_pages(uint64_t page, uint64_t bytes, uint64_t *whole) {
  uint64_t rest = bytes % page;
  return !__builtin_add_overflow(bytes, rest ? page - rest : 0, whole);
}

static holes_t holes_of(const candidate_t *window, const facts_t *facts, size_t regions) {
  uint64_t page = page_bytes(window->page);
  // Whatever is cut out leaves one run more at most.
  holes_t holes = {take(1 + facts->reserved_ranges.len + regions, sizeof(run_t)), 1, page ? page : 1};
  holes.runs[0] = (run_t){window->start, plus(window->start, window->size)};
  for (size_t at = 0; at < facts->reserved_ranges.len; at++) {
    const tce_policy_types_reserved_range_t *range = &facts->reserved_ranges.ptr[at];
    if (!range->size) continue;
    run_t reserved = {range->start, plus(range->start, range->size)};
    for (size_t index = holes.count; index > 0; index--) cut(&holes, index - 1, reserved);
  }
  size_t kept = 0;
  for (size_t at = 0; at < holes.count; at++) {
    run_t run = holes.runs[at];
    uint64_t end = run.end - run.end % holes.page;
    if (whole_pages(holes.page, run.start, &run.start) && run.start < end) {
      holes.runs[kept++] = (run_t){run.start, end};
    }
  }
  holes.count = kept;
  return holes;
}

static bool take_at(holes_t *holes, uint64_t at, uint64_t size) {
  uint64_t end;
  if (!size) return true;
  if (!whole_pages(holes->page, size, &size) || __builtin_add_overflow(at, size, &end)) return false;
  for (size_t index = 0; index < holes->count; index++) {
    if (holes->runs[index].start <= at && end <= holes->runs[index].end) {
      cut(holes, index, (run_t){at, end});
      return true;
    }
  }
  return false;
}

static bool take_first(holes_t *holes, uint64_t size) {
  if (!whole_pages(holes->page, size, &size)) return false;
  for (size_t index = 0; index < holes->count; index++) {
    if (holes->runs[index].end - holes->runs[index].start >= size) {
      holes->runs[index].start += size;
      return true;
    }
  }
  return false;
}

static int largest_first(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x < y) - (x > y);
}

bool holds(const candidate_t *window, const facts_t *facts, const region_t *const *regions, size_t count,
           uint64_t growth) {
  uint64_t bytes = growth, left = 0;
  for (size_t at = 0; at < count; at++) bytes = plus(bytes, regions[at]->size);
  if (bytes > window->size) return false; // By far the most frequent case, and the cheapest to see.
  holes_t holes = holes_of(window, facts, count);
  uint64_t *sizes = take(count, sizeof *sizes);
  size_t anywhere = 0;
  bool fit = true;
  for (size_t at = 0; at < count && fit; at++) {
    if (regions[at]->at.is_some) fit = take_at(&holes, regions[at]->at.val, regions[at]->size);
    else sizes[anywhere++] = regions[at]->size;
  }
  if (anywhere > 1) qsort(sizes, anywhere, sizeof *sizes, largest_first);
  for (size_t at = 0; at < anywhere && fit; at++) fit = take_first(&holes, sizes[at]);
  for (size_t at = 0; at < holes.count; at++) left = plus(left, holes.runs[at].end - holes.runs[at].start);
  free(sizes);
  free(holes.runs);
  return fit && left >= growth;
}
