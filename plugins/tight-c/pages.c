// One page size for all regions: the largest that each of them allows.
#include "tight.h"

#define PAGE_SIZE_REASON TCE_POLICY_TYPES_REFUSAL_REASON_PAGE_SIZE

static bool whole(uint64_t bytes, uint8_t page) {
  uint64_t size = page_bytes(page);
  return size ? bytes % size == 0 : bytes == 0;
}

static bool fits(const region_t *region, uint8_t page) {
  return page <= region->backing && page <= region->granule && whole(region->size, page);
}

bool allows(const region_t *region, uint8_t page) {
  return fits(region, page) && (!region->at.is_some || whole(region->at.val, page));
}

// The first region that does not allow a page; none if all do.
static const region_t *first_against(const demand_t *demand, uint8_t page) {
  for (size_t at = 0; at < demand->regions.len; at++) {
    if (!allows(&demand->regions.ptr[at], page)) return &demand->regions.ptr[at];
  }
  return NULL;
}

static bool why_not(const region_t *region, uint8_t page, refusal_t *refusal) {
  text_t text = {0};
  add(&text, "region ");
  add_number(&text, region->id);
  if (region->backing < page) {
    add(&text, " is backed by pages of ");
    add_page(&text, region->backing);
    add(&text, ", and ");
  } else if (region->granule < page) {
    add(&text, " is mapped in pieces of ");
    add_page(&text, region->granule);
    add(&text, ", and ");
  } else if (region->at.is_some && fits(region, page)) {
    add(&text, " shall be at ");
    add_address(&text, region->at.val);
    add(&text, ", which is no whole page: ");
  } else {
    add(&text, " is ");
    add_size(&text, region->size);
    add(&text, ", which is no whole number of pages: ");
  }
  add(&text, "the container's smallest page is ");
  add_page(&text, page);
  return refuse(refusal, PAGE_SIZE_REASON, text);
}

static bool why_none_suits(const page_question_t *question, refusal_t *refusal) {
  text_t text = {0};
  if (!question->facts.page_shifts.len) {
    add(&text, "the container offers no page size at all");
    return refuse(refusal, PAGE_SIZE_REASON, text);
  }
  uint8_t smallest = UINT8_MAX;
  for (size_t at = 0; at < question->facts.page_shifts.len; at++) {
    uint8_t page = question->facts.page_shifts.ptr[at];
    if (page < smallest) smallest = page;
  }
  const region_t *region = first_against(&question->demand, smallest);
  if (region) return why_not(region, smallest, refusal);
  add(&text, "no page size suits all regions");
  return refuse(refusal, PAGE_SIZE_REASON, text);
}

// The largest page that the settings allow.
static bool page_max_of(const page_question_t *question, uint8_t *page_max, refusal_t *refusal) {
  *page_max = UINT8_MAX;
  for (size_t at = 0; at < question->settings.len; at++) {
    const setting_t *setting = &question->settings.ptr[at];
    if (!is(setting->key, PAGE_MAX_KEY)) continue;
    if (read_page(setting->value, page_max)) return true;
    text_t text = {0};
    add(&text, "the setting " PAGE_MAX_KEY " is " A_PAGE ", not `");
    add_string(&text, setting->value);
    add(&text, "`");
    return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_SETTINGS, text);
  }
  return true;
}

static page_choice_t all_with(const demand_t *demand, uint8_t page) {
  page_choice_t choice = {.page = page};
  choice.regions.len = demand->regions.len;
  choice.regions.ptr = take(demand->regions.len, sizeof *choice.regions.ptr);
  for (size_t at = 0; at < demand->regions.len; at++) choice.regions.ptr[at] = demand->regions.ptr[at].id;
  return choice;
}

bool exports_tce_policy_page_selection_select_pages(
    page_question_t *question, exports_tce_policy_page_selection_list_page_choice_t *answer, refusal_t *refusal) {
  uint8_t page_max, smallest = UINT8_MAX, best = 0;
  bool any = false, found = false;
  if (!page_max_of(question, &page_max, refusal)) return false;
  for (size_t at = 0; at < question->facts.page_shifts.len; at++) {
    uint8_t page = question->facts.page_shifts.ptr[at];
    if (first_against(&question->demand, page)) continue;
    any = true;
    if (page < smallest) smallest = page;
    if (page > page_max) continue;
    found = true;
    if (page > best) best = page;
  }
  if (!any) return why_none_suits(question, refusal);
  if (!found) {
    text_t text = {0};
    add(&text, "the setting " PAGE_MAX_KEY " allows pages up to ");
    add_page(&text, page_max);
    add(&text, ", and the smallest page that suits is ");
    add_page(&text, smallest);
    return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_SETTINGS, text);
  }
  answer->len = 1;
  answer->ptr = take(1, sizeof *answer->ptr);
  answer->ptr[0] = all_with(&question->demand, best);
  return true;
}
