// Whoever comes first is served, with what was asked for, while there is room. Nothing is taken back.
#include "tight.h"

typedef tce_policy_types_terms_t terms_t;
typedef exports_tce_policy_lease_policy_list_lease_id_t lease_ids_t;

// Later than now, whatever was asked; and the end of time is as good as never.
static uint64_t expiry(uint64_t now, uint64_t duration) { return plus(now, duration ? duration : 1); }

bool exports_tce_policy_lease_policy_admit(exports_tce_policy_lease_policy_admit_question_t *question,
                                           terms_t *terms, refusal_t *refusal) {
  const tce_policy_types_lease_request_t *request = &question->request;
  const tce_policy_types_window_t *window = &question->window;
  text_t text = {0};
  if (!request->size) {
    add(&text, "a lease of 0 bytes allows nothing");
    return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_OTHER, text);
  }
  if (request->size > window->unleased) {
    add_size(&text, request->size);
    add(&text, " were asked for, and ");
    add_size(&text, window->unleased);
    add(&text, " of the window in slot ");
    add_number(&text, window->slot);
    add(&text, " are not leased yet");
    return refuse(refusal, TCE_POLICY_TYPES_REFUSAL_REASON_WINDOW, text);
  }
  uint64_t page = page_bytes(window->page) ? page_bytes(window->page) : 1;
  uint64_t pages = request->size / page + (request->size % page != 0);
  uint64_t tces = request->tces < 1 ? 1 : request->tces;
  *terms = (terms_t){.access = request->access, .tces_max = tces > pages ? pages : tces};
  terms->expires.is_some = request->duration.is_some;
  terms->expires.val = expiry(question->now, request->duration.val);
  return true;
}

bool exports_tce_policy_lease_policy_renew(exports_tce_policy_lease_policy_renew_question_t *question,
                                           terms_t *terms, refusal_t *refusal) {
  (void)refusal;
  *terms = question->lease.terms;
  terms->expires.is_some = question->duration.is_some;
  terms->expires.val = expiry(question->now, question->duration.val);
  return true;
}

void exports_tce_policy_lease_policy_reclaim(exports_tce_policy_lease_policy_reclaim_question_t *question,
                                             lease_ids_t *leases) {
  (void)question;
  *leases = (lease_ids_t){0};
}

void exports_tce_policy_lease_policy_group_leaves(exports_tce_policy_lease_policy_group_loss_question_t *question,
                                                  lease_ids_t *leases) {
  (void)question;
  *leases = (lease_ids_t){0};
}
