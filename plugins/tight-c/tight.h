// The reference policy `tight` once more, in C: what a policy in C looks like, and proof that the interfaces do not
// depend on a language. Its answers are those of the Rust one, to the letter.
//
// `policy.h` is what wit-bindgen makes of the WIT. It names each type once for every interface that uses it; here they
// have one name each.
//
// A policy runs once and is thrown away, so nothing is freed.
#ifndef TIGHT_H
#define TIGHT_H

#include "policy.h"

typedef policy_string_t string;
typedef tce_policy_types_container_facts_t facts_t;
typedef tce_policy_types_demand_t demand_t;
typedef tce_policy_types_region_t region_t;
typedef tce_policy_types_page_choice_t page_choice_t;
typedef tce_policy_types_refusal_t refusal_t;
typedef tce_policy_types_setting_t setting_t;
typedef exports_tce_policy_window_sizing_candidate_t candidate_t;
typedef exports_tce_policy_page_selection_page_question_t page_question_t;
typedef exports_tce_policy_window_sizing_window_question_t window_question_t;

// memory.c: memory for `count` elements; the policy ends where there is none.
void *take(size_t count, size_t size);

// text.c: a text that grows.
typedef struct {
  uint8_t *bytes;
  size_t length;
  size_t capacity;
} text_t;

void add(text_t *text, const char *more);
void add_string(text_t *text, string more);
void add_number(text_t *text, uint64_t number);
void add_address(text_t *text, uint64_t address); // 0x1f000
void add_size(text_t *text, uint64_t bytes);      // 64 KiB, exactly
void add_page(text_t *text, uint8_t page);
string finished(text_t text);
string string_of(const char *text);
bool is(string text, const char *other);
bool same(string a, string b);

// A refusal with this text. Always false, as what a refused question returns.
bool refuse(refusal_t *refusal, uint8_t reason, text_t detail);

// numbers.c
uint64_t page_bytes(uint8_t page);            // 0 where no page is so large
uint64_t plus(uint64_t a, uint64_t b);        // no more than can be
bool read_page(string text, uint8_t *page);   // `16` or `64K`

// pages.c
bool allows(const region_t *region, uint8_t page);

// holes.c: whether all these regions can be mapped in a window at once, each in one piece, and `growth` bytes.
bool holds(const candidate_t *window, const facts_t *facts, const region_t *const *regions, size_t count,
           uint64_t growth);

// What the locked-memory limit leaves for tables.
uint64_t memory_left(const facts_t *facts);

#define PAGE_MAX_KEY "page-max"
#define A_PAGE "a page such as 64K, or its shift such as 16"

#endif
