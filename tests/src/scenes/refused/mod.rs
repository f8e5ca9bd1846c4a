//! The scenes of what is refused: each rule of the engine for loans and for groups, and beside it what the kernel itself
//! does with the same wish on the same machine. Either it refuses as well, and says less; or it takes it, and the scene
//! shows whom that harms.

mod engine;
mod groups;
mod kvm;
mod unregistered;

use anyhow::{Context, Result, ensure};
use tce_engine::{
    errno::Errno,
    kernel::{Kernel as _, Platform},
    machine::Machine,
};

pub use groups::every_group_that_is_refused_has_its_reason;

/// What must be so for a lease to be lent to a guest of KVM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The container is linked to a virtual machine.
    Linked,
    /// That has one link.
    OneLink,
    /// The lease starts where its window does.
    FromTheStart,
    /// The guest's page is no smaller than the window's.
    NoSmallerPage,
    /// The guest's table, which has the lease's size, is no larger than the window.
    WithinTheWindow,
    /// The lease is whole pages of the guest's.
    WholePages,
    /// Nothing is mapped in it.
    NothingMapped,
    /// Nothing in it is quarantined.
    NothingUnknown,
    /// It allows reading and writing.
    AllAccess,
    /// It allows as many TCEs as its range has.
    AllTces,
    /// It is not lent already.
    OneGuest,
    /// The table's number is no other table's.
    OwnNumber,
    /// The lease is in one window.
    OneWindow,
    /// It has no sub-leases, and is none.
    Undivided,
    /// It has not ended.
    Live,
}

impl Rule {
    /// All of them, in the order in which they are tried: nothing is linked before the first has been.
    const ALL: [Self; 15] = [
        Self::Linked,
        Self::OneLink,
        Self::FromTheStart,
        Self::NoSmallerPage,
        Self::WithinTheWindow,
        Self::WholePages,
        Self::NothingMapped,
        Self::NothingUnknown,
        Self::AllAccess,
        Self::AllTces,
        Self::OneGuest,
        Self::OwnNumber,
        Self::OneWindow,
        Self::Undivided,
        Self::Live,
    ];
}

/// What the engine refuses to lend, by name and before any call, KVM refuses as well or does harm with.
///
/// # Errors
/// What did not come out so, and where a host has no KVM.
pub fn every_loan_that_is_refused_has_its_reason<M: Machine>(machine: &mut M) -> Result<()> {
    let mut kernel = machine.kernel();
    if kernel.system().platform == Platform::Pseries {
        let vm = kernel.create_vm();
        ensure!(vm == Err(Errno::ENOENT), "a partition has virtual machines: {vm:?}");
        return Ok(());
    }
    let mut lender = engine::Lender::new(machine)?;
    for rule in Rule::ALL {
        lender.refuses(rule).with_context(|| format!("the engine: {rule:?}"))?;
    }
    lender.close()?;
    let mut guest = kvm::Guest::new(machine)?;
    for rule in Rule::ALL {
        guest.shows_why(rule).with_context(|| format!("KVM itself: {rule:?}"))?;
    }
    guest.close()?;
    unregistered::the_engine_waits_for_memory(machine).context("the engine: memory first")?;
    unregistered::the_kernel_does_not(machine).context("KVM itself: memory first")
}
