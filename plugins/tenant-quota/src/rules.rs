//! The settings, and what follows from them.

use tce_policy_sdk::{
    reading::{Span, read},
    settings::{SettingDescription, SettingProblem},
    types::{Bytes, Duration, Setting},
};

/// The hint of requests and leases.
pub(crate) const PRIORITY: &str = "priority";

const SHARES: &str = "shares";
const A_LIST_OF_SHARES: &str = "a list of percentages such as vm-7=50, vm-8=30";
const DEFAULT_SHARE: &str = "default-share";
const DEFAULT_SHARE_DEFAULT: u8 = 10;
const A_PERCENTAGE: &str = "a percentage from 0 to 100";
const PRIORITIES: &str = "priorities";
const A_LIST_OF_PRIORITIES: &str = "a list of numbers from 0 to 255 such as vm-7=9, vm-8=3";
const LEASE_MAX: &str = "lease-max";
const A_SPAN: &str = "a span of time such as 90s, 15m or 24h";

/// Holders that one setting may name.
const HOLDERS_MAX: usize = 1_000;

/// A number for each of some holders.
type Numbers = Vec<(String, u8)>;

/// What the operator set.
pub(crate) struct Rules {
    shares: Numbers,
    default_share: u8,
    priorities: Numbers,
    lease_max: Option<Span>,
}

impl Rules {
    pub(crate) fn read(settings: &[Setting]) -> Result<Self, SettingProblem> {
        let shares = read(settings, SHARES, A_LIST_OF_SHARES, |text| numbers(text, 100))?;
        let default_share = read(settings, DEFAULT_SHARE, A_PERCENTAGE, |text| {
            text.parse().ok().filter(|share| *share <= 100)
        })?;
        let priorities =
            read(settings, PRIORITIES, A_LIST_OF_PRIORITIES, |text| numbers(text, u8::MAX))?;
        let lease_max = read(settings, LEASE_MAX, A_SPAN, |text| {
            text.parse().ok().filter(|span: &Span| span.0 > 0)
        })?;
        Ok(Self {
            shares: shares.unwrap_or_default(),
            default_share: default_share.unwrap_or(DEFAULT_SHARE_DEFAULT),
            priorities: priorities.unwrap_or_default(),
            lease_max,
        })
    }

    /// The longest a lease lasts.
    pub(crate) fn lease_max(&self) -> Option<Duration> {
        self.lease_max.map(|span| span.0)
    }

    /// A holder's share as a percentage.
    pub(crate) fn share(&self, holder: &str) -> u8 {
        find(&self.shares, holder).unwrap_or(self.default_share)
    }

    /// A holder's share of something.
    pub(crate) fn quota(&self, holder: &str, whole: Bytes) -> Bytes {
        let share = u128::from(whole) * u128::from(self.share(holder)) / 100;
        Bytes::try_from(share).unwrap_or(whole)
    }

    /// How much a holder matters. A hint that is no number says nothing.
    pub(crate) fn priority(&self, holder: &str, hint: Option<&str>) -> u8 {
        let hinted = || hint.and_then(|text| text.trim().parse().ok());
        find(&self.priorities, holder).or_else(hinted).unwrap_or(0)
    }
}

fn find(numbers: &Numbers, holder: &str) -> Option<u8> {
    numbers.iter().find(|(name, _)| name == holder).map(|(_, number)| *number)
}

/// Reads `vm-7=50, vm-8=30`. Each holder stands once.
fn numbers(text: &str, max: u8) -> Option<Numbers> {
    let mut all = Numbers::new();
    for entry in text.split(',').filter(|entry| !entry.trim().is_empty()) {
        // The last sign counts: a name may have one in it.
        let (holder, number) = entry.rsplit_once('=')?;
        let (holder, number) = (holder.trim(), number.trim().parse().ok()?);
        let fine = number <= max && find(&all, holder).is_none() && all.len() < HOLDERS_MAX;
        if holder.is_empty() || !fine {
            return None;
        }
        all.push((holder.to_owned(), number));
    }
    Some(all)
}

pub(crate) fn describe() -> Vec<SettingDescription> {
    vec![
        SettingDescription::new(SHARES, A_LIST_OF_SHARES, "the shares of holders"),
        SettingDescription::new(DEFAULT_SHARE, A_PERCENTAGE, "the share of every other holder")
            .or("10"),
        SettingDescription::new(
            PRIORITIES,
            A_LIST_OF_PRIORITIES,
            "the priorities of holders, whatever their requests say",
        ),
        SettingDescription::new(LEASE_MAX, A_SPAN, "the longest a lease lasts without renewal"),
    ]
}
