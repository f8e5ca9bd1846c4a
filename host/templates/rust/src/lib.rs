//! A policy for page sizes: the largest page that every region allows, but none beyond a limit that the operator can
//! set.
//!
//! Change it into what you want. The functions of the other decision points are in the traits `WindowSizing` and
//! `LeasePolicy` of the SDK; implement one and add its name to `export_policy!` below.

use tce_policy_sdk::{
    Size, export_policy,
    page_selection::{PageQuestion, PageSelection},
    settings::{SettingDescription, SettingProblem, Settings},
    types::{PageChoice, Refusal, RefusalReason, Setting},
};

/// The key of the setting.
const PAGE_MAX: &str = "page-max";

/// The policy. It has no state: each decision runs in a fresh instance.
pub struct Policy;

impl PageSelection for Policy {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        // The host has had the settings checked, so that what cannot be read is not there.
        let page_max = question.setting(PAGE_MAX).and_then(Size::page_of).unwrap_or(u8::MAX);
        let offered = question.facts.page_shifts.iter().copied();
        let allowed = offered.filter(|page| {
            *page <= page_max && question.demand.regions.iter().all(|region| region.allows(*page))
        });
        match allowed.max() {
            Some(page) => Ok(vec![question.demand.all_with(page)]),
            // A no is an answer, with a reason for the operator. A panic would be a broken policy.
            None => Err(Refusal::new(
                RefusalReason::PageSize,
                format!("no page up to {} suits every region", Size::of_page(page_max)),
            )),
        }
    }
}

impl Settings for Policy {
    fn describe_settings() -> Vec<SettingDescription> {
        vec![SettingDescription::new(PAGE_MAX, "a page size, such as 64K", "the largest page")]
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        let known = settings.iter().filter(|setting| setting.key == PAGE_MAX);
        let wrong = known.filter(|setting| Size::page_of(&setting.value).is_none());
        let detail = "it is no page size: write 4K, 64K, 2M or 1G";
        wrong.map(|setting| SettingProblem::new(&setting.key, detail)).collect()
    }
}

export_policy!(Policy: PageSelection, Settings);

#[cfg(test)]
mod tests {
    use super::Policy;
    use tce_policy_sdk::{page_selection::PageSelection as _, testing, types::Region};

    #[test]
    fn the_largest_page_that_every_region_allows_is_chosen() {
        let huge = Region { backing: 21, granule: 21, ..testing::region(1 << 30) };
        let question = testing::page_question([huge, testing::region(1 << 20)]);
        assert_eq!(Policy::select_pages(question), Ok(vec![testing::choice(16, &[0, 1])]));
    }

    #[test]
    fn a_limit_below_every_page_is_a_reason_to_refuse() {
        let mut question = testing::page_question([testing::region(1 << 20)]);
        question.settings = vec![testing::setting("page-max", "1K")];
        assert!(Policy::select_pages(question).is_err());
    }
}
