//! Leases for many holders: shares, priorities, expiry, and reclaim under pressure.
//!
//! - **Shares.** A holder has a share of each window, and the same share of the locked-memory limit. What it asks for
//!   beyond that is refused, whether anybody else needs it or not.
//! - **Priorities.** From 0, the least, to 255. The setting `priorities` says, for holders that it names; for others
//!   the hint `priority` of their request; else it is 0. Whoever runs the host decides whether requests may carry that
//!   hint.
//! - **Expiry.** No lease lasts longer than `lease-max` without a renewal. A holder that has more than its share, since
//!   the settings have changed, is not renewed.
//! - **Reclaim.** When something is short, leases of a lower priority than the request's are taken back: those of the
//!   lowest priority first, of them those that end soonest, of them the oldest. Of its own priority only what holders
//!   have beyond their shares; never of a higher one, and never from the holder that asks. If all that is not enough,
//!   nothing is taken.
//!
//! Pages and windows are for another policy.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `shares` | `vm-7=50, vm-8=30` | The shares of holders, as percentages. They may add up to more than 100. |
//! | `default-share` | a percentage, `10` by default | The share of every other holder. |
//! | `priorities` | `vm-7=9, vm-8=3` | The priorities of holders, whatever their requests say. |
//! | `lease-max` | a span of time, such as `24h` | The longest a lease lasts without renewal; not set: until given back. |

#![forbid(unsafe_code)]

mod reclaim;
mod rules;

use tce_policy_sdk::{
    Size, expiry,
    lease_policy::{AdmitQuestion, LeasePolicy, ReclaimQuestion, RenewQuestion},
    reading::problems,
    settings::{SettingDescription, SettingProblem, Settings},
    types::{Bytes, Instant, Lease, LeaseId, Refusal, RefusalReason, Setting, Slot, Terms},
};

use rules::Rules;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct TenantQuota;

tce_policy_sdk::export_policy!(TenantQuota: LeasePolicy, Settings);

impl LeasePolicy for TenantQuota {
    fn admit(question: AdmitQuestion) -> Result<Terms, Refusal> {
        let rules = Rules::read(&question.settings)?;
        let (request, window) = (&question.request, &question.window);
        let holder = request.holder.as_str();
        let asked = question.as_asked()?;
        let has = Holdings::of(holder, &question.leases, question.now);
        rules.check(holder, "the window", has.in_slot(window.slot), request.size, window.size)?;
        if let Some(limit) = question.facts.locked_memory.limit {
            rules.check(holder, "the locked memory", has.memory(), request.memory, limit)?;
        }
        Ok(Terms {
            pinned_max: Some(request.memory),
            expires: expiry(question.now, request.duration, rules.lease_max()),
            ..asked
        })
    }

    fn renew(question: RenewQuestion) -> Result<Terms, Refusal> {
        let rules = Rules::read(&question.settings)?;
        let (lease, window) = (&question.lease, &question.window);
        let has = Holdings::of(&lease.holder, &question.leases, question.now);
        rules.check(&lease.holder, "the window", has.in_slot(lease.slot), 0, window.size)?;
        let expires = expiry(question.now, question.duration, rules.lease_max());
        Ok(Terms { expires, ..lease.terms })
    }

    fn reclaim(question: ReclaimQuestion) -> Vec<LeaseId> {
        // Under settings that cannot be there is nothing that says who matters more.
        Rules::read(&question.settings).map_or(vec![], |rules| reclaim::order(&question, &rules))
    }
}

/// The leases of one holder that have not expired.
struct Holdings<'a>(Vec<&'a Lease>);

impl<'a> Holdings<'a> {
    fn of(holder: &str, leases: &'a [Lease], now: Instant) -> Self {
        let live = |lease: &&Lease| lease.terms.expires.is_none_or(|expires| expires > now);
        Self(leases.iter().filter(live).filter(|lease| lease.holder == holder).collect())
    }

    /// How much of the window in a slot it has.
    fn in_slot(&self, slot: Slot) -> Bytes {
        let there = self.0.iter().filter(|lease| lease.slot == slot);
        there.map(|lease| lease.size).fold(0, Bytes::saturating_add)
    }

    /// How much memory it may register.
    fn memory(&self) -> Bytes {
        let promised = self.0.iter().map(|lease| lease.terms.pinned_max.unwrap_or(lease.pinned));
        promised.fold(0, Bytes::saturating_add)
    }
}

impl Rules {
    /// Whether a holder that has `has` of something of which there is `whole` may have `more`.
    fn check(
        &self,
        holder: &str,
        what: &str,
        has: Bytes,
        more: Bytes,
        whole: Bytes,
    ) -> Result<(), Refusal> {
        let quota = self.quota(holder, whole);
        if has.saturating_add(more) <= quota {
            return Ok(());
        }
        let share = self.share(holder);
        let [has, more, quota] = [has, more, quota].map(Size);
        let asks = if more.0 == 0 { String::new() } else { format!(" and asks for {more}") };
        Err(Refusal::new(
            RefusalReason::Quota,
            format!("{holder} has {has}{asks}, and its share of {what} is {share}%: {quota}"),
        ))
    }
}

impl Settings for TenantQuota {
    fn describe_settings() -> Vec<SettingDescription> {
        rules::describe()
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        problems(settings, Rules::read)
    }
}
