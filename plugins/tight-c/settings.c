// One setting: the largest page.
#include "tight.h"

typedef exports_tce_policy_settings_list_setting_description_t descriptions_t;
typedef exports_tce_policy_settings_list_setting_t settings_t;
typedef exports_tce_policy_settings_list_setting_problem_t problems_t;

void exports_tce_policy_settings_describe_settings(descriptions_t *descriptions) {
  descriptions->len = 1;
  descriptions->ptr = take(1, sizeof *descriptions->ptr);
  descriptions->ptr[0].key = string_of(PAGE_MAX_KEY);
  descriptions->ptr[0].values = string_of(A_PAGE);
  descriptions->ptr[0].meaning = string_of(
      "no larger page, whatever the backing allows: around a buffer a device sees one such page at most");
}

static void tell(problems_t *problems, string key, text_t detail) {
  exports_tce_policy_settings_setting_problem_t *problem = &problems->ptr[problems->len++];
  text_t copy = {0};
  add_string(&copy, key);
  problem->key = finished(copy);
  problem->detail = finished(detail);
}

void exports_tce_policy_settings_validate_settings(settings_t *settings, problems_t *problems) {
  problems->len = 0;
  problems->ptr = take(2 * settings->len, sizeof *problems->ptr);
  for (size_t at = 0; at < settings->len; at++) {
    text_t text = {0};
    bool twice = false;
    for (size_t before = 0; before < at; before++) {
      twice = twice || same(settings->ptr[before].key, settings->ptr[at].key);
    }
    if (!is(settings->ptr[at].key, PAGE_MAX_KEY)) add(&text, "there is no such setting; there are: " PAGE_MAX_KEY);
    else if (twice) add(&text, "it is set twice");
    if (text.length) tell(problems, settings->ptr[at].key, text);
  }
  for (size_t at = 0; at < settings->len; at++) {
    uint8_t page;
    if (!is(settings->ptr[at].key, PAGE_MAX_KEY) || read_page(settings->ptr[at].value, &page)) continue;
    text_t text = {0};
    add(&text, "`");
    add_string(&text, settings->ptr[at].value);
    add(&text, "` is no page: write " A_PAGE);
    tell(problems, settings->ptr[at].key, text);
  }
}
