//! For those who trust nobody: one holder, one group, small pages, bounded leases.
//!
//! - **Pages.** One size for all regions, the largest that each allows, and no larger than the setting `page-max`: a
//!   device sees no more around a buffer than one such page.
//! - **Groups.** All devices of a container reach whatever is mapped in it. A container of several groups is refused,
//!   before it has a window, unless the setting `groups` allows it.
//! - **Leases.** One holder for each container: windows isolate holders from each other by the engine's accounting
//!   only, containers by the hardware. What was asked for is granted, bounded in memory, in edits per second, and in
//!   time; a lease goes on only while its holder is the only one. Nothing is taken back for somebody else.
//! - **A group that leaves** ends every lease: what remains is not what was admitted.
//!
//! Windows are for another policy.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `page-max` | a page, `64K` by default | No larger page, whatever the backing allows. |
//! | `groups` | `one` (the default) or `any` | Whether a container may have several groups. |
//! | `edits-per-second` | a number, `10000` by default | The most TCEs that a lease may change in a second. |
//! | `lease-max` | a span of time, such as `24h` (the default) | The longest a lease lasts without renewal. |

#![forbid(unsafe_code)]

mod rules;

use tce_policy_sdk::{
    Size,
    lease_policy::{AdmitQuestion, GroupLossQuestion, LeasePolicy, RenewQuestion},
    page_selection::{PageQuestion, PageSelection},
    reading::problems,
    settings::{SettingDescription, SettingProblem, Settings},
    types::{Lease, LeaseId, PageChoice, Refusal, RefusalReason, Region, Setting, Terms},
};

use rules::Rules;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct StrictIsolation;

tce_policy_sdk::export_policy!(StrictIsolation: PageSelection, LeasePolicy, Settings);

impl PageSelection for StrictIsolation {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        let rules = Rules::read(&question.settings)?;
        rules.check_groups(&question.facts)?;
        let regions: Vec<&Region> = question.demand.regions.iter().collect();
        let page = question.facts.largest_page(&regions, rules.page_max).ok_or_else(|| {
            let page_max = Size::of_page(rules.page_max);
            let detail = format!("no page up to {page_max} suits every region");
            Refusal::new(RefusalReason::PageSize, detail)
        })?;
        Ok(vec![question.demand.all_with(page)])
    }
}

impl LeasePolicy for StrictIsolation {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        let rules = Rules::read(&question.settings)?;
        rules.check_groups(&question.facts)?;
        check_alone(&question.request.holder, &question.leases)?;
        let asked = question.as_asked()?;
        Ok(Terms {
            pinned_max: Some(question.request.memory),
            ..rules.bound(asked, question.now, question.request.duration)
        })
    }

    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        let rules = Rules::read(&question.settings)?;
        // Another policy may have admitted them.
        rules.check_groups(&question.facts)?;
        check_alone(&question.lease.holder, &question.leases)?;
        Ok(rules.bound(question.lease.terms, question.now, question.duration))
    }

    fn group_leaves(question: GroupLossQuestion) -> Vec<LeaseId> {
        question.leases.iter().map(|lease| lease.id).collect()
    }
}

/// Whether nobody else has a lease.
fn check_alone(holder: &str, leases: &[Lease]) -> Result<(), Refusal> {
    let Some(other) = leases.iter().find(|lease| lease.holder != holder) else { return Ok(()) };
    Err(Refusal::new(
        RefusalReason::Other,
        format!(
            "a container is for one holder: {holder} asks, and {} has lease {}",
            other.holder, other.id
        ),
    ))
}

impl Settings for StrictIsolation {
    fn describe_settings() -> Vec<SettingDescription> {
        rules::describe()
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        problems(settings, Rules::read)
    }
}
