//! Hazards in a trace: what a program did that costs memory or calls, loses mappings, leaks, or endangers the host.
//!
//! The trace is replayed on the simulated kernel; each rule looks on ([`Check`]) and has at most one finding at the
//! end. `docs/trace.md` describes the rules.

mod calls;
mod charge;
mod default_window;
mod detach;
mod empty;
mod exchange;
mod exit;
mod finding;
mod opener;
mod overrun;
mod page_size;
mod positive;
mod report;
mod reserved;
mod rollback;
mod table;
mod unmap_range;
mod unregister;
mod withdrawn;

use crate::{
    replay::{Leaving, Observer, Outcome, ReplayError, Step, replay},
    survey::Survey,
    trace::Trace,
};

pub use calls::{CallCount, CallCounts};
pub use finding::{Cost, Finding, LINES_MAX, Rule, Severity, Unit};
pub use report::{DisagreementEntry, FORMAT, Report, Unchecked};

/// A rule at work.
trait Check {
    /// A call was made.
    fn step(&mut self, step: &Step<'_>);
    /// A container is about to lose its backend.
    fn leaving(&mut self, _leaving: &Leaving<'_>) {}
    /// What the rule has to say.
    fn finish(self: Box<Self>) -> Option<Finding>;
}

/// All rules that a trace allows, and the calls.
struct Linter {
    checks: Vec<Box<dyn Check>>,
    calls: CallCounts,
}

impl Observer for Linter {
    fn step(&mut self, step: &Step<'_>) {
        self.calls.step(step);
        for check in &mut self.checks {
            check.step(step);
        }
    }

    fn leaving(&mut self, leaving: &Leaving<'_>) {
        self.calls.leaving(leaving);
        for check in &mut self.checks {
            check.leaving(leaving);
        }
    }
}

/// Looks for hazards.
///
/// # Errors
/// [`ReplayError`].
pub fn lint(trace: &Trace) -> Result<Report, ReplayError> {
    let survey = Survey::of(trace)?;
    let unchecked = report::unchecked(trace, &survey);
    let is_complete = unchecked.is_empty();
    let mut linter = Linter { checks: Vec::new(), calls: CallCounts::default() };
    linter.checks.extend(by_answers());
    if is_complete {
        linter.checks.extend(by_arguments(&survey));
    }
    let mut outcome = replay(trace, &survey, &mut linter)?;
    if !is_complete {
        // Calls are missing in between, so that what the simulated kernel said means nothing.
        outcome = Outcome::default();
    }
    linter.calls.settle();
    let mut findings: Vec<Finding> =
        linter.checks.into_iter().filter_map(|check| check.finish()).collect();
    if is_complete {
        findings.extend(linter.calls.finding());
    }
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.rule));
    Ok(Report::new(trace, survey, linter.calls, findings, &outcome, unchecked))
}

/// Rules that need no more than what calls returned.
fn by_answers() -> Vec<Box<dyn Check>> {
    vec![Box::new(positive::Positive::default()), Box::new(opener::Opener::default())]
}

/// Rules that need the arguments of calls.
fn by_arguments(survey: &Survey) -> Vec<Box<dyn Check>> {
    let profile = survey.profile();
    vec![
        Box::new(unmap_range::UnmapRange::default()),
        Box::new(unregister::Unregister::default()),
        Box::new(overrun::Overrun::default()),
        Box::new(rollback::Rollback::default()),
        Box::new(detach::Detach::default()),
        Box::new(empty::Empty::new(&profile)),
        Box::new(charge::Charge::default()),
        Box::new(reserved::Reserved::new(&profile)),
        Box::new(table::Table::new(&profile)),
        Box::new(exchange::Exchange::default()),
        Box::new(page_size::PageSize::default()),
        Box::new(default_window::DefaultWindow::default()),
        Box::new(withdrawn::Withdrawn::default()),
        Box::new(exit::Exit::default()),
    ]
}
