//! What a guest gets.

use std::fmt;

use thiserror::Error;

use super::{GuestTce, HypercallRefusal};
use crate::{
    engine::Applied,
    error::{EditRefusal, Error},
    lease::LeaseRefusal,
};

/// PAPR's return codes, those of them that a TCE hypercall gets here (LoPAR, "Hypervisor Call Return Code Table").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnCode {
    /// `H_SUCCESS`: done, all of it.
    Success,
    /// `H_PARTIAL`: the TCE points to memory that the guest has no address for.
    Partial,
    /// `H_HARDWARE`: it failed, and nothing has changed as far as that can be known.
    Hardware,
    /// `H_FUNCTION`: an option that is not offered.
    Function,
    /// `H_PARAMETER`: an argument is out of range.
    Parameter,
    /// `H_NOT_ENOUGH_RESOURCES`: more than the guest is entitled to map.
    NotEnoughResources,
    /// `H_RESCINDED`: the bus was taken from the guest.
    Rescinded,
}

impl ReturnCode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Partial,
        Self::Hardware,
        Self::Function,
        Self::Parameter,
        Self::NotEnoughResources,
        Self::Rescinded,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Success => 0,
            Self::Partial => 5,
            Self::Hardware => -1,
            Self::Function => -2,
            Self::Parameter => -4,
            Self::NotEnoughResources => -44,
            Self::Rescinded => -46,
        }
    }

    /// Its number as R3 holds it.
    #[must_use]
    pub const fn register(self) -> u64 {
        self.number().cast_unsigned()
    }

    /// Its name in PAPR.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "H_SUCCESS",
            Self::Partial => "H_PARTIAL",
            Self::Hardware => "H_HARDWARE",
            Self::Function => "H_FUNCTION",
            Self::Parameter => "H_PARAMETER",
            Self::NotEnoughResources => "H_NOT_ENOUGH_RESOURCES",
            Self::Rescinded => "H_RESCINDED",
        }
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

/// What a hypercall did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// TCEs are as the guest wants them.
    Applied(Applied),
    /// What a TCE says.
    Tce(GuestTce),
    /// What a TCE says that points to memory which the guest has no address for.
    ForeignTce(GuestTce),
}

impl Answer {
    /// The guest's R3.
    #[must_use]
    pub const fn code(&self) -> ReturnCode {
        match self {
            Self::Applied(_) | Self::Tce(_) => ReturnCode::Success,
            Self::ForeignTce(_) => ReturnCode::Partial,
        }
    }

    /// The guest's R4, if the call returns something in it.
    #[must_use]
    pub const fn value(&self) -> Option<u64> {
        match self {
            Self::Applied(_) => None,
            Self::Tce(tce) | Self::ForeignTce(tce) => Some(tce.raw()),
        }
    }
}

/// Why a hypercall did nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The guest asked for what cannot be.
    #[error(transparent)]
    Refused(#[from] HypercallRefusal),
    /// The engine refused it, or the kernel failed it.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl Failure {
    /// The guest's R3.
    #[must_use]
    pub const fn code(&self) -> ReturnCode {
        match self {
            Self::Refused(refusal) => code_of_refusal(refusal),
            Self::Engine(error) => code_of_error(error),
        }
    }
}

const fn code_of_refusal(refusal: &HypercallRefusal) -> ReturnCode {
    match refusal {
        HypercallRefusal::SeveralTables(_) => ReturnCode::Function,
        HypercallRefusal::TooScattered => ReturnCode::NotEnoughResources,
        HypercallRefusal::NoBus(_)
        | HypercallRefusal::Misaligned { .. }
        | HypercallRefusal::Outside { .. }
        | HypercallRefusal::ListTooLong(_)
        | HypercallRefusal::ListMisaligned(_)
        | HypercallRefusal::NoList(_)
        | HypercallRefusal::MalformedTce { .. }
        | HypercallRefusal::NoMemory { .. }
        | HypercallRefusal::StuffedMapping(_) => ReturnCode::Parameter,
    }
}

/// What the guest asked for was checked before, so most of what the engine refuses is not the guest's fault.
const fn code_of_error(error: &Error) -> ReturnCode {
    match error {
        Error::NoBackend => ReturnCode::Rescinded,
        Error::Lease(refusal) | Error::Edit(EditRefusal::Lease { refusal, .. }) => match refusal {
            LeaseRefusal::Stale(_) | LeaseRefusal::Ended { .. } | LeaseRefusal::NoWindow(_) => {
                ReturnCode::Rescinded
            }
            LeaseRefusal::Quota { .. } | LeaseRefusal::TooFast { .. } => {
                ReturnCode::NotEnoughResources
            }
            LeaseRefusal::Access { .. } => ReturnCode::Parameter,
            _ => ReturnCode::Hardware,
        },
        Error::Edit(EditRefusal::TooMany(_)) => ReturnCode::NotEnoughResources,
        _ => ReturnCode::Hardware,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_codes_have_the_numbers_of_papr() {
        let numbers = ReturnCode::ALL.map(ReturnCode::number);
        assert_eq!(numbers, [0, 5, -1, -2, -4, -44, -46]);
        assert_eq!(ReturnCode::Parameter.register(), 0xffff_ffff_ffff_fffc);
        assert_eq!(ReturnCode::Parameter.to_string(), "H_PARAMETER (-4)");
    }
}
