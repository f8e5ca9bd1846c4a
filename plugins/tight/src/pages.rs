//! One page size for all regions: the largest that each of them allows.
//!
//! A region allows a page that is no larger than its backing and its granule and that divides its size and its bus
//! address. With one window for all regions the most demanding one decides. A second choice would not make more demands
//! possible, since a region that allows a large page allows the smaller ones too.

use tce_policy_sdk::{
    Size,
    page_selection::PageQuestion,
    settings::{SettingDescription, SettingProblem},
    types::{PageChoice, PageShift, Refusal, RefusalReason, Region, Setting},
};

/// The setting that limits the page.
const PAGE_MAX: &str = "page-max";

/// Answers `select-pages`.
///
/// # Errors
///
/// Refuses if no page of the container suits every region, or if the settings forbid those that do.
pub fn select(question: &PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
    let page_max = page_max(question)?;
    let regions = &question.demand.regions;
    let suits = |page: PageShift| regions.iter().all(|region| region.allows(page));
    let mut suitable = question.facts.page_shifts.iter().copied().filter(|page| suits(*page));
    let Some(smallest) = suitable.clone().min() else {
        return Err(Refusal::new(RefusalReason::PageSize, why_none_suits(question)));
    };
    match suitable.by_ref().filter(|page| *page <= page_max).max() {
        Some(page) => Ok(vec![question.demand.all_with(page)]),
        None => Err(Refusal::new(
            RefusalReason::Settings,
            format!(
                "the setting {PAGE_MAX} allows pages up to {}, and the smallest page that suits is {}",
                Size::of_page(page_max),
                Size::of_page(smallest)
            ),
        )),
    }
}

/// The largest page that the settings allow.
fn page_max(question: &PageQuestion) -> Result<PageShift, Refusal> {
    let Some(value) = question.setting(PAGE_MAX) else { return Ok(PageShift::MAX) };
    Size::page_of(value).ok_or_else(|| {
        let detail = format!("the setting {PAGE_MAX} is {NO_PAGE}, not `{value}`");
        Refusal::new(RefusalReason::Settings, detail)
    })
}

/// What [`PAGE_MAX`] should be.
const NO_PAGE: &str = "a page such as 64K, or its shift such as 16";

/// The settings there are.
#[must_use]
pub fn settings() -> Vec<SettingDescription> {
    vec![SettingDescription::new(
        PAGE_MAX,
        NO_PAGE,
        "no larger page, whatever the backing allows: around a buffer a device sees one such page at most",
    )]
}

/// What is wrong with their values.
#[must_use]
pub fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
    let values = settings.iter().filter(|each| each.key == PAGE_MAX);
    let bad = values.filter(|each| Size::page_of(&each.value).is_none());
    bad.map(|each| {
        SettingProblem::new(PAGE_MAX, format!("`{}` is no page: write {NO_PAGE}", each.value))
    })
    .collect()
}

fn why_none_suits(question: &PageQuestion) -> String {
    let Some(smallest) = question.facts.page_shifts.iter().copied().min() else {
        return "the container offers no page size at all".to_owned();
    };
    match question.demand.regions.iter().find(|region| !region.allows(smallest)) {
        Some(region) => why_not(region, smallest),
        // Every region allows the smallest page, so that one suits: `select` has returned it.
        None => "no page size suits all regions".to_owned(),
    }
}

/// Which of the conditions keeps the region from the page.
fn why_not(region: &Region, page: PageShift) -> String {
    let Region { id, size, backing, granule, at, .. } = region;
    let least = format!("the container's smallest page is {}", Size::of_page(page));
    if *backing < page {
        return format!(
            "region {id} is backed by pages of {}, and {least}",
            Size::of_page(*backing)
        );
    }
    if *granule < page {
        return format!(
            "region {id} is mapped in pieces of {}, and {least}",
            Size::of_page(*granule)
        );
    }
    match at {
        Some(at) if Region { at: None, ..region.clone() }.allows(page) => {
            format!("region {id} shall be at {at:#x}, which is no whole page: {least}")
        }
        _ => format!("region {id} is {}, which is no whole number of pages: {least}", Size(*size)),
    }
}
