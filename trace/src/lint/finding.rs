//! What a rule found.

use serde::Serialize;

use crate::format::Place;

/// The most lines that a finding names.
pub const LINES_MAX: usize = 10;

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// An unmap of other addresses than those of the memory that is freed.
    UnmapWrongRange,
    /// Memory that is unregistered while it is mapped.
    UnregisterWhileMapped,
    /// A map or unmap past the window's end.
    Overrun,
    /// Mappings that a failed map erased.
    MappingLostByRollback,
    /// Mappings that a leaving group erased.
    MappingLostByDetach,
    /// A map of no bytes.
    EmptyMap,
    /// A failed `CREATE` whose charge stays.
    ChargeLeaked,
    /// A map at addresses that devices cannot use.
    ReservedRange,
    /// A table far larger than what is mapped needs.
    OversizedTable,
    /// Many calls where few would do.
    OneCallPerPage,
    /// A failure that looks like success.
    PositiveResult,
    /// A map whose TCE page is larger than the pages of its memory.
    WrongPageSize,
    /// A group that another opener holds.
    SecondOpener,
    /// Calls on a container whose last group has left.
    CallAfterLastGroup,
    /// A map over live mappings.
    SilentExchange,
    /// The default window, made by a call that was for something else.
    ImplicitDefaultWindow,
    /// What the program left for the kernel to take down.
    LeftAtExit,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::UnmapWrongRange,
        Self::UnregisterWhileMapped,
        Self::Overrun,
        Self::MappingLostByRollback,
        Self::MappingLostByDetach,
        Self::EmptyMap,
        Self::ChargeLeaked,
        Self::ReservedRange,
        Self::OversizedTable,
        Self::OneCallPerPage,
        Self::PositiveResult,
        Self::WrongPageSize,
        Self::SecondOpener,
        Self::CallAfterLastGroup,
        Self::SilentExchange,
        Self::ImplicitDefaultWindow,
        Self::LeftAtExit,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnmapWrongRange => "unmap-wrong-range",
            Self::UnregisterWhileMapped => "unregister-while-mapped",
            Self::Overrun => "overrun",
            Self::MappingLostByRollback => "mapping-lost-by-rollback",
            Self::MappingLostByDetach => "mapping-lost-by-detach",
            Self::EmptyMap => "empty-map",
            Self::ChargeLeaked => "charge-leaked",
            Self::ReservedRange => "reserved-range",
            Self::OversizedTable => "oversized-table",
            Self::OneCallPerPage => "one-call-per-page",
            Self::PositiveResult => "positive-result",
            Self::WrongPageSize => "wrong-page-size",
            Self::SecondOpener => "second-opener",
            Self::CallAfterLastGroup => "call-after-last-group",
            Self::SilentExchange => "silent-exchange",
            Self::ImplicitDefaultWindow => "implicit-default-window",
            Self::LeftAtExit => "left-at-exit",
        }
    }

    /// Whether it needs no more than what calls returned.
    #[must_use]
    pub const fn needs_only_answers(self) -> bool {
        matches!(self, Self::PositiveResult | Self::SecondOpener)
    }
}

/// How bad a hazard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; often as it should be.
    Note,
    /// It costs memory or time, or hides a failure.
    Warning,
    /// Mappings or memory are lost, or the host is in danger.
    Error,
}

/// What a cost is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Kernel calls.
    Calls,
    /// TCEs.
    Tces,
    /// Mappings: as many as the program made calls for.
    Mappings,
    /// Registered regions.
    Regions,
    /// Windows.
    Windows,
}

/// One thing that a hazard costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// What it is.
    pub what: &'static str,
    /// How much of it.
    pub amount: u64,
    /// In what.
    pub unit: Unit,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// How often.
    pub count: u64,
    /// The first lines, [`LINES_MAX`] at most.
    pub lines: Vec<u64>,
    /// What happened.
    pub what: String,
    /// Why the kernel does that, with its function.
    pub cause: &'static str,
    /// What it costs.
    pub costs: Vec<Cost>,
    /// What to do.
    pub remedy: &'static str,
}

impl Finding {
    /// What a cost of this finding is, by its words.
    #[must_use]
    pub fn cost(&self, what: &str) -> Option<u64> {
        self.costs.iter().find(|cost| cost.what == what).map(|cost| cost.amount)
    }
}

/// Where something happened, and how often.
#[derive(Debug, Default)]
pub(super) struct Hits {
    count: u64,
    lines: Vec<u64>,
}

impl Hits {
    pub(super) fn hit(&mut self, place: Place) {
        self.count += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(place.0);
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The finding, if there was anything. Costs of nothing are left out.
    pub(super) fn finding(self, rule: Rule, severity: Severity, told: Told) -> Option<Finding> {
        if self.count == 0 {
            return None;
        }
        let costs = told.costs.into_iter().filter(|cost| cost.amount > 0).collect();
        Some(Finding {
            rule,
            severity,
            count: self.count,
            lines: self.lines,
            what: told.what,
            cause: told.cause,
            costs,
            remedy: told.remedy,
        })
    }
}

/// What a rule tells of its finding.
pub(super) struct Told {
    pub(super) what: String,
    pub(super) cause: &'static str,
    pub(super) costs: Vec<Cost>,
    pub(super) remedy: &'static str,
}

pub(super) const fn cost(what: &'static str, amount: u64, unit: Unit) -> Cost {
    Cost { what, amount, unit }
}

/// `1 call`, `2 calls`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
