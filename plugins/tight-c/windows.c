// The smallest window that covers the demand and its growth.
#include "tight.h"

#define WINDOW_REASON TCE_POLICY_TYPES_REFUSAL_REASON_WINDOW

typedef exports_tce_policy_window_sizing_window_choice_t window_choice_t;
typedef exports_tce_policy_window_sizing_list_window_choice_t window_choices_t;

// What one window has to hold.
typedef struct {
  const page_choice_t *choice;
  const region_t **regions;
  size_t count;
  uint64_t growth;
} need_t;

uint64_t memory_left(const facts_t *facts) {
  const tce_policy_types_locked_memory_t *memory = &facts->locked_memory;
  if (!memory->limit.is_some) return UINT64_MAX;
  return memory->limit.val > memory->charged ? memory->limit.val - memory->charged : 0;
}

static need_t need_of(const window_question_t *question, const page_choice_t *choice, uint64_t growth) {
  need_t need = {choice, take(choice->regions.len, sizeof(region_t *)), 0, growth};
  for (size_t at = 0; at < choice->regions.len; at++) {
    for (size_t other = 0; other < question->demand.regions.len; other++) {
      if (question->demand.regions.ptr[other].id == choice->regions.ptr[at]) {
        need.regions[need.count++] = &question->demand.regions.ptr[other];
        break;
      }
    }
  }
  return need;
}

static bool fits(const window_question_t *question, const need_t *need, const candidate_t *candidate) {
  return candidate->page == need->choice->page &&
         holds(candidate, &question->facts, need->regions, need->count, need->growth);
}

static window_choice_t choose(const need_t *need, const candidate_t *candidate) {
  window_choice_t choice = {
      .slot = candidate->slot,
      .page = candidate->page,
      .size = candidate->size,
      .levels = candidate->levels,
      .origin = candidate->origin,
  };
  choice.regions.len = need->choice->regions.len;
  choice.regions.ptr = take(choice.regions.len, sizeof *choice.regions.ptr);
  for (size_t at = 0; at < choice.regions.len; at++) choice.regions.ptr[at] = need->choice->regions.ptr[at];
  return choice;
}

static bool too_expensive(const window_question_t *question, uint64_t charge, refusal_t *refusal) {
  const tce_policy_types_locked_memory_t *memory = &question->facts.locked_memory;
  text_t text = {0};
  add(&text, "the cheapest table takes ");
  add_size(&text, charge);
  add(&text, " of locked memory, and ");
  add_size(&text, memory->charged);
  add(&text, " of ");
  add_size(&text, memory->limit.is_some ? memory->limit.val : UINT64_MAX);
  add(&text, " are taken, the demand's memory included: the limit would have to be ");
  add_size(&text, plus(memory->charged, charge));
  return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_MEMORY, text);
}

static bool none_holds(const need_t *need, refusal_t *refusal) {
  uint64_t bytes = 0;
  for (size_t at = 0; at < need->count; at++) bytes = plus(bytes, need->regions[at]->size);
  text_t text = {0};
  add(&text, "no window that is possible here holds regions of ");
  add_size(&text, bytes);
  add(&text, " together and growth of ");
  add_size(&text, need->growth);
  add(&text, " with pages of ");
  add_page(&text, need->choice->page);
  return refuse(refusal, WINDOW_REASON, text);
}

// Whether a candidate is better: smaller, fewer levels, less charge, lower slot.
static bool better(const candidate_t *a, const candidate_t *b) {
  if (a->size != b->size) return a->size < b->size;
  if (a->levels != b->levels) return a->levels < b->levels;
  if (a->charge != b->charge) return a->charge < b->charge;
  return a->slot < b->slot;
}

static bool one(const window_question_t *question, need_t need, window_choices_t *answer, refusal_t *refusal) {
  uint64_t left = memory_left(&question->facts), cheapest = 0;
  const candidate_t *best = NULL;
  bool any = false;
  for (size_t at = 0; at < question->candidates.len; at++) {
    const candidate_t *each = &question->candidates.ptr[at];
    bool worse = each->charge > left ? (any && each->charge >= cheapest) : (best && !better(each, best));
    if (worse || !fits(question, &need, each)) continue;
    if (!any || each->charge < cheapest) cheapest = each->charge;
    any = true;
    if (each->charge <= left) best = each;
  }
  if (!any) return none_holds(&need, refusal);
  if (!best) return too_expensive(question, cheapest, refusal);
  answer->len = 1;
  answer->ptr = take(1, sizeof *answer->ptr);
  answer->ptr[0] = choose(&need, best);
  return true;
}

// The candidates that hold a need.
static size_t candidates_for(const window_question_t *question, const need_t *need, const candidate_t **found) {
  size_t count = 0;
  for (size_t at = 0; at < question->candidates.len; at++) {
    if (fits(question, need, &question->candidates.ptr[at])) found[count++] = &question->candidates.ptr[at];
  }
  return count;
}

// Two windows and what is compared of them.
typedef struct {
  const candidate_t *a;
  const candidate_t *b;
  uint64_t size;
  uint8_t levels;
  uint64_t charge;
} pair_t;

static pair_t pair_of(const candidate_t *a, const candidate_t *b) {
  unsigned levels = (unsigned)a->levels + b->levels;
  return (pair_t){
      a, b, plus(a->size, b->size), levels > UINT8_MAX ? UINT8_MAX : (uint8_t)levels, plus(a->charge, b->charge),
  };
}

static bool better_pair(const pair_t *x, const pair_t *y) {
  if (x->size != y->size) return x->size < y->size;
  if (x->levels != y->levels) return x->levels < y->levels;
  if (x->charge != y->charge) return x->charge < y->charge;
  return x->a->slot < y->a->slot;
}

static bool two(const window_question_t *question, need_t a, need_t b, window_choices_t *answer, refusal_t *refusal) {
  uint64_t left = memory_left(&question->facts), cheapest = 0;
  const candidate_t **for_a = take(question->candidates.len, sizeof *for_a);
  const candidate_t **for_b = take(question->candidates.len, sizeof *for_b);
  size_t count_a = candidates_for(question, &a, for_a), count_b = candidates_for(question, &b, for_b);
  if (!count_a) return none_holds(&a, refusal);
  if (!count_b) return none_holds(&b, refusal);
  pair_t best = {0};
  bool any = false;
  for (size_t x = 0; x < count_a; x++) {
    for (size_t y = 0; y < count_b; y++) {
      if (for_a[x]->slot == for_b[y]->slot || for_a[x]->start == for_b[y]->start) continue;
      pair_t pair = pair_of(for_a[x], for_b[y]);
      if (!any || pair.charge < cheapest) cheapest = pair.charge;
      any = true;
      if (pair.charge <= left && (!best.a || better_pair(&pair, &best))) best = pair;
    }
  }
  if (best.a) {
    answer->len = 2;
    answer->ptr = take(2, sizeof *answer->ptr);
    answer->ptr[0] = choose(&a, best.a);
    answer->ptr[1] = choose(&b, best.b);
    return true;
  }
  if (any) return too_expensive(question, cheapest, refusal);
  text_t text = {0};
  add(&text, "two page sizes need two windows at different starts, and no two that hold them are possible here");
  return refuse(refusal, WINDOW_REASON, text);
}

bool exports_tce_policy_window_sizing_size_windows(window_question_t *question, window_choices_t *answer,
                                                   refusal_t *refusal) {
  const page_choice_t *pages = question->pages.ptr;
  uint64_t growth = question->demand.growth;
  if (question->pages.len == 1) return one(question, need_of(question, &pages[0], growth), answer, refusal);
  if (question->pages.len == 2) {
    bool first = pages[0].page >= pages[1].page;
    return two(question, need_of(question, &pages[0], first ? growth : 0),
               need_of(question, &pages[1], first ? 0 : growth), answer, refusal);
  }
  text_t text = {0};
  add_number(&text, question->pages.len);
  add(&text, " page sizes would need as many windows, and a container has one or two");
  return refuse(refusal, WINDOW_REASON, text);
}

bool exports_tce_policy_window_sizing_grow(exports_tce_policy_window_sizing_growth_question_t *question,
                                           candidate_t *answer, refusal_t *refusal) {
  uint64_t left = memory_left(&question->facts);
  const candidate_t *best = NULL;
  for (size_t at = 0; at < question->candidates.len; at++) {
    const candidate_t *each = &question->candidates.ptr[at];
    if (each->charge > left) continue;
    bool cheaper = !best || each->charge < best->charge;
    if (best && each->charge == best->charge) {
      cheaper = each->size != best->size ? each->size < best->size : each->levels < best->levels;
    }
    if (cheaper) best = each;
  }
  if (!best) {
    text_t text = {0};
    add(&text, "no window for the growth fits the locked-memory limit");
    return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_MEMORY, text);
  }
  *answer = *best;
  return true;
}
