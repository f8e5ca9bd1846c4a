//! Guests: what a virtual machine of KVM's does by itself, without any system call that sets a TCE.

use std::fmt;

use crate::papr::Hypercall;

/// A hypercall as a guest makes it: its registers, nothing of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HypercallRegisters {
    /// R3: which call.
    pub token: u64,
    /// R4 to R7.
    pub arguments: [u64; 4],
}

impl HypercallRegisters {
    /// `H_GET_TCE`: reads the TCE for an I/O address.
    #[must_use]
    pub const fn get_tce(liobn: u64, ioba: u64) -> Self {
        Self { token: Hypercall::GET_TCE, arguments: [liobn, ioba, 0, 0] }
    }

    /// `H_PUT_TCE`: sets the TCE for an I/O address to a guest address with bits 0 and 1 for reading and writing.
    #[must_use]
    pub const fn put_tce(liobn: u64, ioba: u64, tce: u64) -> Self {
        Self { token: Hypercall::PUT_TCE, arguments: [liobn, ioba, tce, 0] }
    }

    /// `H_PUT_TCE_INDIRECT`: sets `count` TCEs from an I/O address on, from the list at a guest address.
    #[must_use]
    pub const fn put_tce_indirect(liobn: u64, ioba: u64, list: u64, count: u64) -> Self {
        Self { token: Hypercall::PUT_TCE_INDIRECT, arguments: [liobn, ioba, list, count] }
    }

    /// `H_STUFF_TCE`: sets `count` TCEs from an I/O address on to the same.
    #[must_use]
    pub const fn stuff_tce(liobn: u64, ioba: u64, tce: u64, count: u64) -> Self {
        Self { token: Hypercall::STUFF_TCE, arguments: [liobn, ioba, tce, count] }
    }
}

/// Who answered a guest's hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypercallExit {
    /// The kernel; the guest never stopped.
    Answered {
        /// R3: the return code, which is [`ReturnCode::register`](crate::papr::ReturnCode::register) of one.
        code: u64,
        /// R4: the TCE that `H_GET_TCE` has read; of another call nothing that matters.
        value: u64,
    },
    /// Nobody yet: the kernel hands the call to the program that runs the guest (`H_TOO_HARD`).
    ToUserSpace,
}

impl HypercallExit {
    /// The kernel's return code, if it was the kernel that answered.
    #[must_use]
    pub const fn code(&self) -> Option<u64> {
        match *self {
            Self::Answered { code, .. } => Some(code),
            Self::ToUserSpace => None,
        }
    }
}

/// What is done with a virtual machine so that its guest can make hypercalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestStep {
    /// It is given memory (`KVM_SET_USER_MEMORY_REGION`).
    Memory,
    /// The kernel is told to answer calls that set several TCEs (`KVM_CAP_PPC_ENABLE_HCALL`).
    MultiTce,
    /// It is given a virtual processor, its program and its registers.
    Processor,
    /// It runs (`KVM_RUN`).
    Run,
}

impl fmt::Display for GuestStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "giving the guest memory (KVM_SET_USER_MEMORY_REGION)",
            Self::MultiTce => {
                "letting KVM answer hypercalls for several TCEs (KVM_CAP_PPC_ENABLE_HCALL)"
            }
            Self::Processor => "setting up the guest's processor (KVM_CREATE_VCPU, KVM_SET_REGS)",
            Self::Run => "running the guest (KVM_RUN)",
        })
    }
}
