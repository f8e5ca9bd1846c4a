//! Rare things that a long enough simulation must have seen, or it proves less than it seems to.

use std::collections::BTreeMap;

use tce_engine::kernel::Platform;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    AnswerRefused,
    AnswerTaken,
    BatchInTwoWindows,
    BatchRestored,
    DevicesReset,
    EndedWithParent,
    Expired,
    Fallback,
    FirmwareHasLess,
    FlushedByBatch,
    FlushedInTime,
    ForgottenTce,
    Frozen,
    GivingUpFailed,
    GroupParted,
    GroupWanted,
    GrowthAbandoned,
    GrowthFailed,
    GrowthFinished,
    GrowthMirrored,
    GrowthOfMappings,
    GuestListed,
    GuestPut,
    GuestRestored,
    GuestStuffed,
    HolderGone,
    InterruptsOn,
    LastGroupLeft,
    LateTransfer,
    LendingFailed,
    LendingRefused,
    Lent,
    LentLeaseEnded,
    MappingsLost,
    MappingsRestored,
    NotTakenByGuest,
    PartingFailed,
    PieceFailed,
    PutOff,
    Quarantine,
    QuarantineInTwoWindows,
    QuarantineLifted,
    QuotaSet,
    Recovered,
    RecoveryResumed,
    RecoveryStopped,
    RegionLeaked,
    RegionRevived,
    RegionShared,
    RegistrationLeft,
    Renewed,
    ResetBetweenHolders,
    RevocationFailed,
    SecondGroup,
    ShrinkingFailed,
    Shrunk,
    StaleTce,
    Sublet,
    Surrendered,
    TakeDownFailed,
    TakenBack,
    TakingBackFailed,
    TermsRefused,
    TooFast,
    Transfer,
    WindowRemoved,
}

impl Sight {
    const ALL: [Self; 66] = [
        Self::AnswerRefused,
        Self::AnswerTaken,
        Self::BatchInTwoWindows,
        Self::BatchRestored,
        Self::DevicesReset,
        Self::EndedWithParent,
        Self::Expired,
        Self::Fallback,
        Self::FirmwareHasLess,
        Self::FlushedByBatch,
        Self::FlushedInTime,
        Self::ForgottenTce,
        Self::Frozen,
        Self::GivingUpFailed,
        Self::GroupParted,
        Self::GroupWanted,
        Self::GrowthAbandoned,
        Self::GrowthFailed,
        Self::GrowthFinished,
        Self::GrowthMirrored,
        Self::GrowthOfMappings,
        Self::GuestListed,
        Self::GuestPut,
        Self::GuestRestored,
        Self::GuestStuffed,
        Self::HolderGone,
        Self::InterruptsOn,
        Self::LastGroupLeft,
        Self::LateTransfer,
        Self::LendingFailed,
        Self::LendingRefused,
        Self::Lent,
        Self::LentLeaseEnded,
        Self::MappingsLost,
        Self::MappingsRestored,
        Self::NotTakenByGuest,
        Self::PartingFailed,
        Self::PieceFailed,
        Self::PutOff,
        Self::Quarantine,
        Self::QuarantineInTwoWindows,
        Self::QuarantineLifted,
        Self::QuotaSet,
        Self::Recovered,
        Self::RecoveryResumed,
        Self::RecoveryStopped,
        Self::RegionLeaked,
        Self::RegionRevived,
        Self::RegionShared,
        Self::RegistrationLeft,
        Self::Renewed,
        Self::ResetBetweenHolders,
        Self::RevocationFailed,
        Self::SecondGroup,
        Self::ShrinkingFailed,
        Self::Shrunk,
        Self::StaleTce,
        Self::Sublet,
        Self::Surrendered,
        Self::TakeDownFailed,
        Self::TakenBack,
        Self::TakingBackFailed,
        Self::TermsRefused,
        Self::TooFast,
        Self::Transfer,
        Self::WindowRemoved,
    ];

    /// Whether it can happen there at all: a partition has one group, and only its firmware has a say on windows.
    const fn is_of(self, platform: Platform) -> bool {
        match self {
            Self::Fallback | Self::FirmwareHasLess => matches!(platform, Platform::Pseries),
            Self::SecondGroup
            | Self::GroupParted
            | Self::MappingsLost
            | Self::MappingsRestored
            | Self::PartingFailed
            // There is neither KVM nor EEH.
            | Self::Frozen
            | Self::GuestListed
            | Self::GuestPut
            | Self::GuestRestored
            | Self::GuestStuffed
            | Self::LendingFailed
            | Self::LendingRefused
            | Self::Lent
            | Self::LentLeaseEnded
            | Self::NotTakenByGuest
            | Self::Recovered
            | Self::RecoveryResumed
            | Self::RecoveryStopped
            | Self::TakenBack
            | Self::TakingBackFailed => matches!(platform, Platform::Powernv),
            // Once in the usual run: too rare to be asked for.
            Self::QuarantineInTwoWindows => false,
            _ => true,
        }
    }
}

/// How often each was seen.
#[derive(Debug, Default)]
pub(super) struct Sights(BTreeMap<Sight, u64>);

impl Sights {
    pub(super) fn add(&mut self, sight: Sight) {
        *self.0.entry(sight).or_insert(0) += 1;
    }

    pub(super) fn join(&mut self, other: Self) {
        for (sight, count) in other.0 {
            *self.0.entry(sight).or_insert(0) += count;
        }
    }

    #[track_caller]
    pub(super) fn assert_all(&self, platform: Platform) {
        let all = Sight::ALL.into_iter().filter(|sight| sight.is_of(platform));
        let missing: Vec<Sight> = all.filter(|sight| !self.0.contains_key(sight)).collect();
        assert!(missing.is_empty(), "never seen: {missing:?}; seen: {self:?}");
    }
}
