//! The settings, and what follows from them.

use tce_policy_sdk::{
    Size, expiry,
    reading::{Span, read},
    settings::{SettingDescription, SettingProblem},
    types::{ContainerFacts, Duration, Instant, PageShift, Refusal, RefusalReason, Setting, Terms},
};

const PAGE_MAX: &str = "page-max";
const PAGE_MAX_DEFAULT: PageShift = 16;
const A_PAGE: &str = "a page such as 64K, or its shift such as 16";
const GROUPS: &str = "groups";
const ONE_OR_ANY: &str = "one or any";
const EDITS: &str = "edits-per-second";
const EDITS_DEFAULT: u32 = 10_000;
const A_NUMBER: &str = "a number from 1 to 4294967295";
const LEASE_MAX: &str = "lease-max";
const LEASE_MAX_DEFAULT: Span = Span(24 * 3_600_000);
const A_SPAN: &str = "a span of time such as 90s, 15m or 24h";

/// How many groups a container may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Groups {
    One,
    Any,
}

/// What the operator set.
pub(crate) struct Rules {
    pub(crate) page_max: PageShift,
    groups: Groups,
    edits_per_second: u32,
    lease_max: Span,
}

impl Rules {
    pub(crate) fn read(settings: &[Setting]) -> Result<Self, SettingProblem> {
        let page_max = read(settings, PAGE_MAX, A_PAGE, Size::page_of)?;
        let groups = read(settings, GROUPS, ONE_OR_ANY, |text| match text {
            "one" => Some(Groups::One),
            "any" => Some(Groups::Any),
            _ => None,
        })?;
        let edits = read(settings, EDITS, A_NUMBER, |text| text.parse().ok().filter(|it| *it > 0))?;
        let lease_max = read(settings, LEASE_MAX, A_SPAN, |text| {
            text.parse().ok().filter(|span: &Span| span.0 > 0)
        })?;
        Ok(Self {
            page_max: page_max.unwrap_or(PAGE_MAX_DEFAULT),
            groups: groups.unwrap_or(Groups::One),
            edits_per_second: edits.unwrap_or(EDITS_DEFAULT),
            lease_max: lease_max.unwrap_or(LEASE_MAX_DEFAULT),
        })
    }

    /// Whether the container may have as many groups as it has.
    pub(crate) fn check_groups(&self, facts: &ContainerFacts) -> Result<(), Refusal> {
        if self.groups == Groups::Any || facts.groups.len() <= 1 {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalReason::Settings,
            format!(
                "the container has {} groups, whose devices all reach what is mapped in it, and the setting {GROUPS} allows one",
                facts.groups.len()
            ),
        ))
    }

    /// Terms within what the settings allow.
    pub(crate) fn bound(&self, terms: Terms, now: Instant, duration: Option<Duration>) -> Terms {
        let edits = terms.edits_per_second.unwrap_or(u32::MAX).min(self.edits_per_second);
        Terms {
            edits_per_second: Some(edits),
            expires: expiry(now, duration, Some(self.lease_max.0)),
            ..terms
        }
    }
}

pub(crate) fn describe() -> Vec<SettingDescription> {
    let described =
        |key, values, meaning, default| SettingDescription::new(key, values, meaning).or(default);
    vec![
        described(PAGE_MAX, A_PAGE, "no larger page, whatever the backing allows", "64K"),
        described(GROUPS, ONE_OR_ANY, "whether a container may have several groups", "one"),
        described(EDITS, A_NUMBER, "the most TCEs that a lease may change in a second", "10000"),
        described(LEASE_MAX, A_SPAN, "the longest a lease lasts without renewal", "24h"),
    ]
}
