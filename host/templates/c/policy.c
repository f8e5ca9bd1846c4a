// A policy for page sizes: the largest page that every region allows, but none beyond a limit that the operator can
// set.
//
// Change it into what you want. project.h, which build.sh makes of wit/, has a type for each record of the WIT and a
// prototype for each function that is yours to write. A policy has no state: each decision runs in a fresh instance, so
// that nothing needs to be freed.
#include <stdlib.h>
#include <string.h>

#include "project.h"

#define PAGE_MAX "page-max"
#define PAGE_NONE UINT8_MAX

typedef project_string_t string_t;
typedef tce_policy_types_region_t region_t;
typedef tce_policy_types_refusal_t refusal_t;
typedef exports_tce_policy_page_selection_page_question_t page_question_t;
typedef exports_tce_policy_page_selection_list_page_choice_t page_choices_t;
typedef exports_tce_policy_settings_list_setting_description_t descriptions_t;
typedef exports_tce_policy_settings_list_setting_t settings_t;
typedef exports_tce_policy_settings_list_setting_problem_t problems_t;

static void *take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) __builtin_trap(); // A broken policy: the built-in one answers.
  return memory;
}

static bool is(string_t text, const char *word) {
  return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

// Reads a page size such as 64K, as its base-2 logarithm.
static bool read_page(string_t text, uint8_t *page) {
  uint32_t number = 0;
  size_t at = 0;
  for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9' && number <= 1 << 20; at++) {
    number = number * 10 + (text.ptr[at] - '0');
  }
  const char *units = "KMG";
  uint8_t shift = 0;
  if (at + 1 == text.len) {
    const char *unit = memchr(units, text.ptr[at], strlen(units));
    if (!unit) return false;
    shift = 10 * (uint8_t)(unit - units + 1);
  } else if (at != text.len) {
    return false;
  }
  if (!number || number & (number - 1)) return false;
  for (; number > 1; number /= 2) shift++;
  *page = shift;
  return true;
}

// Writes a page size for a person: 64 KiB.
static void write_page(char *text, uint8_t page) {
  const char *units[] = {" bytes", " KiB", " MiB", " GiB", " TiB", " PiB"};
  char digits[8];
  size_t count = 0;
  for (uint32_t number = 1u << page % 10; number; number /= 10) digits[count++] = (char)('0' + number % 10);
  text += strlen(text);
  while (count) *text++ = digits[--count];
  strcpy(text, units[page / 10]);
}

static bool whole(uint64_t bytes, uint8_t page) {
  return page < 64 ? bytes % (UINT64_C(1) << page) == 0 : bytes == 0;
}

// Whether a region can be mapped with pages of this size.
static bool allows(const region_t *region, uint8_t page) {
  return page <= region->backing && page <= region->granule && whole(region->size, page) &&
         (!region->at.is_some || whole(region->at.val, page));
}

static bool all_allow(const page_question_t *question, uint8_t page) {
  for (size_t at = 0; at < question->demand.regions.len; at++) {
    if (!allows(&question->demand.regions.ptr[at], page)) return false;
  }
  return true;
}

// The host has had the settings checked, so that what cannot be read is not there.
static uint8_t page_max(const page_question_t *question) {
  uint8_t page = PAGE_NONE;
  for (size_t at = 0; at < question->settings.len; at++) {
    if (is(question->settings.ptr[at].key, PAGE_MAX)) read_page(question->settings.ptr[at].value, &page);
  }
  return page;
}

// A no is an answer, with a reason for the operator. A trap would be a broken policy.
static bool refuse(uint8_t limit, refusal_t *refusal) {
  char detail[80] = "no page ";
  if (limit != PAGE_NONE) {
    strcat(detail, "up to ");
    write_page(detail, limit);
    strcat(detail, " ");
  }
  strcat(detail, "suits every region");
  refusal->reason = TCE_POLICY_TYPES_REFUSAL_REASON_PAGE_SIZE;
  project_string_dup(&refusal->detail, detail);
  return false;
}

// True: the choices are the answer. False: the refusal is.
bool exports_tce_policy_page_selection_select_pages(page_question_t *question, page_choices_t *choices,
                                                    refusal_t *refusal) {
  uint8_t limit = page_max(question);
  uint8_t best = 0;
  bool found = false;
  for (size_t at = 0; at < question->facts.page_shifts.len; at++) {
    uint8_t page = question->facts.page_shifts.ptr[at];
    if (page > limit || page < best || !all_allow(question, page)) continue;
    best = page;
    found = true;
  }
  if (!found) return refuse(limit, refusal);
  size_t regions = question->demand.regions.len;
  choices->len = 1;
  choices->ptr = take(1, sizeof *choices->ptr);
  choices->ptr[0].page = best;
  choices->ptr[0].regions.len = regions;
  choices->ptr[0].regions.ptr = take(regions, sizeof *choices->ptr[0].regions.ptr);
  for (size_t at = 0; at < regions; at++) choices->ptr[0].regions.ptr[at] = question->demand.regions.ptr[at].id;
  return true;
}

void exports_tce_policy_settings_describe_settings(descriptions_t *descriptions) {
  descriptions->len = 1;
  descriptions->ptr = take(1, sizeof *descriptions->ptr);
  project_string_dup(&descriptions->ptr[0].key, PAGE_MAX);
  project_string_dup(&descriptions->ptr[0].values, "a page size, such as 64K");
  project_string_dup(&descriptions->ptr[0].meaning, "the largest page");
}

void exports_tce_policy_settings_validate_settings(settings_t *settings, problems_t *problems) {
  problems->len = 0;
  problems->ptr = take(settings->len, sizeof *problems->ptr);
  for (size_t at = 0; at < settings->len; at++) {
    const char *detail;
    uint8_t page;
    if (!is(settings->ptr[at].key, PAGE_MAX)) detail = "there is no such setting; there is: " PAGE_MAX;
    else if (!read_page(settings->ptr[at].value, &page)) detail = "it is no page size: write 4K, 64K, 2M or 1G";
    else continue;
    string_t key = settings->ptr[at].key;
    problems->ptr[problems->len].key = (string_t){memcpy(take(key.len, 1), key.ptr, key.len), key.len};
    project_string_dup(&problems->ptr[problems->len++].detail, detail);
  }
}
