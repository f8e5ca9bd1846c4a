//! The ways to misbehave.

use tce_policy_sdk::types::Setting;

/// What the setting `behaviour` chooses. Each word is the value that chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// None: as `tight`.
    Honest,
    /// `refuse`: a plain no, which is no misbehaviour at all.
    Refuse,
    /// `trap`: panics.
    Trap,
    /// `loop`: never returns.
    Loop,
    /// `eat-memory`: allocates without end.
    EatMemory,
    /// `recurse`: calls itself without end.
    Recurse,
    /// `huge-list`: an answer of 40,000 entries.
    HugeList,
    /// `huge-refusal`: a refusal of 8 MiB of text.
    HugeRefusal,
    /// `long-refusal`: a refusal of some thousand bytes, in characters of three bytes each.
    LongRefusal,
    /// `empty`: an answer without entries.
    Empty,
    /// `unknown-page`: a page that no machine has.
    UnknownPage,
    /// `largest-page`: the largest page that windows here can have, whatever the regions allow.
    LargestPage,
    /// `region-twice`: an answer in which a region stands twice.
    RegionTwice,
    /// `region-missing`: an answer without one of the regions.
    RegionMissing,
    /// `unknown-region`: an answer with a region that nobody asked about.
    UnknownRegion,
    /// `no-candidate`: a window that is none of the candidates.
    NoCandidate,
    /// `wrong-origin`: a candidate, but made where it would be found, or found where it would be made.
    WrongOrigin,
    /// `same-slot`: two windows in one slot.
    SameSlot,
    /// `too-much`: a lease with more access and more TCEs than asked, without end.
    TooMuch,
    /// `nothing`: a lease of no TCE, which ended long ago.
    Nothing,
    /// `unknown-lease`: takes back a lease that there is not, twice.
    UnknownLease,
    /// `take-all`: takes back every lease there is, which is allowed.
    TakeAll,
}

impl Behaviour {
    /// What the settings choose for this function.
    pub(crate) fn of(settings: &[Setting], function: &str) -> Self {
        let value = |key: &str| {
            settings.iter().find(|each| each.key == key).map(|each| each.value.as_str())
        };
        if value("only").is_some_and(|only| only != function) {
            return Self::Honest;
        }
        match value("behaviour") {
            Some("refuse") => Self::Refuse,
            Some("trap") => Self::Trap,
            Some("loop") => Self::Loop,
            Some("eat-memory") => Self::EatMemory,
            Some("recurse") => Self::Recurse,
            Some("huge-list") => Self::HugeList,
            Some("huge-refusal") => Self::HugeRefusal,
            Some("long-refusal") => Self::LongRefusal,
            Some("empty") => Self::Empty,
            Some("unknown-page") => Self::UnknownPage,
            Some("largest-page") => Self::LargestPage,
            Some("region-twice") => Self::RegionTwice,
            Some("region-missing") => Self::RegionMissing,
            Some("unknown-region") => Self::UnknownRegion,
            Some("no-candidate") => Self::NoCandidate,
            Some("wrong-origin") => Self::WrongOrigin,
            Some("same-slot") => Self::SameSlot,
            Some("too-much") => Self::TooMuch,
            Some("nothing") => Self::Nothing,
            Some("unknown-lease") => Self::UnknownLease,
            Some("take-all") => Self::TakeAll,
            _ => Self::Honest,
        }
    }
}
