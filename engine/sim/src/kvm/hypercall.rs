//! A guest's hypercalls that set TCEs, as the kernel answers them without leaving for user space (the virtual-mode
//! handlers of `book3s_64_vio.c`).
//!
//! The traps are the kernel's: nothing is undone when a later table or a later TCE fails, what is cleared after a
//! failure is not counted down from its region, and an empty TCE in a list counts a page that is not mapped.

use std::collections::BTreeMap;

use tce_engine::{
    addr::HostAddr,
    machine::{HypercallExit, HypercallRegisters},
    papr,
};

use super::{GuestTable, MemorySlots, hardware::GuestRun};
use crate::{
    container::{Container, ContainerId},
    fault::Tally,
    inspect::HostLog,
    process::{Mm, MmId},
    profile::Profile,
    window::{TableId, Window},
};

/// A hypercall of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hypercall {
    /// `H_GET_TCE`: reads one TCE.
    GetTce {
        /// The table's name.
        liobn: u64,
        /// The I/O address.
        ioba: u64,
    },
    /// `H_PUT_TCE`: sets one TCE.
    PutTce {
        /// The table's name.
        liobn: u64,
        /// The I/O address.
        ioba: u64,
        /// The guest's address, and bits 0 and 1 for reading and writing; without them the TCE is cleared.
        tce: u64,
    },
    /// `H_PUT_TCE_INDIRECT`: sets TCEs from a list in the guest's memory.
    PutTceIndirect {
        /// The table's name.
        liobn: u64,
        /// The first I/O address.
        ioba: u64,
        /// The guest's address of the list: 64-bit big-endian TCEs.
        list: u64,
        /// TCEs in it.
        count: u64,
    },
    /// `H_STUFF_TCE`: clears TCEs.
    StuffTce {
        /// The table's name.
        liobn: u64,
        /// The first I/O address.
        ioba: u64,
        /// What the guest's table shall hold there.
        value: u64,
        /// How many.
        count: u64,
    },
}

/// What a guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HypercallAnswer {
    /// `H_SUCCESS`.
    Success,
    /// `H_SUCCESS`, and this TCE in R4.
    Tce(u64),
    /// `H_PARAMETER`.
    Parameter,
    /// `H_TOO_HARD`: the guest gets nothing yet; the call goes to the program that runs it.
    TooHard,
}

/// TCEs in one list (PAPR: a list fills at most 4 KiB).
const LIST_TCES_MAX: u64 = 512;
const LIST_ALIGNMENT: u64 = 4096;
const TCE_BYTES: u64 = 8;
pub(super) const READ_BIT: u64 = 1;
pub(super) const WRITE_BIT: u64 = 2;
pub(super) const PERMISSION_BITS: u64 = READ_BIT | WRITE_BIT;

/// What a handler works on.
pub(crate) struct Handler<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) mm: &'a mut Mm,
    pub(crate) mm_id: MmId,
    pub(crate) memory: &'a MemorySlots,
    pub(crate) table: &'a mut GuestTable,
    pub(crate) containers: &'a mut BTreeMap<ContainerId, Container>,
    pub(crate) kept: &'a mut BTreeMap<TableId, Window>,
    pub(crate) tally: &'a mut Tally,
    pub(crate) log: &'a mut HostLog,
}

pub(super) type Answer = Result<(), HypercallAnswer>;

impl HypercallAnswer {
    /// The answer in the guest's registers.
    pub(crate) const fn exit(self) -> HypercallExit {
        use papr::ReturnCode::{Parameter, Success};
        match self {
            Self::Success => HypercallExit::Answered { code: Success.register(), value: 0 },
            Self::Tce(value) => HypercallExit::Answered { code: Success.register(), value },
            Self::Parameter => HypercallExit::Answered { code: Parameter.register(), value: 0 },
            Self::TooHard => HypercallExit::ToUserSpace,
        }
    }
}

impl Hypercall {
    /// The call of these registers, if it is one about TCEs.
    pub(crate) const fn of(registers: &HypercallRegisters) -> Option<Self> {
        let [liobn, ioba, third, count] = registers.arguments;
        Some(match registers.token {
            papr::Hypercall::GET_TCE => Self::GetTce { liobn, ioba },
            papr::Hypercall::PUT_TCE => Self::PutTce { liobn, ioba, tce: third },
            papr::Hypercall::PUT_TCE_INDIRECT => {
                Self::PutTceIndirect { liobn, ioba, list: third, count }
            }
            papr::Hypercall::STUFF_TCE => Self::StuffTce { liobn, ioba, value: third, count },
            _ => return None,
        })
    }

    /// Whether the kernel answers it only when told to (it is not in `default_hcall_list`).
    pub(crate) const fn is_multi_tce(&self) -> bool {
        matches!(self, Self::PutTceIndirect { .. } | Self::StuffTce { .. })
    }

    /// The table it names.
    pub(crate) const fn liobn(&self) -> u64 {
        match self {
            Self::GetTce { liobn, .. }
            | Self::PutTce { liobn, .. }
            | Self::PutTceIndirect { liobn, .. }
            | Self::StuffTce { liobn, .. } => *liobn,
        }
    }
}

impl Handler<'_> {
    /// Answers a call on the handler's table.
    pub(crate) fn answer(&mut self, call: Hypercall) -> HypercallAnswer {
        let answer = match call {
            Hypercall::GetTce { ioba, .. } => {
                return self.get(ioba).map_or_else(|refused| refused, HypercallAnswer::Tce);
            }
            Hypercall::PutTce { ioba, tce, .. } => self.put(ioba, tce),
            Hypercall::PutTceIndirect { ioba, list, count, .. } => {
                self.put_indirect(ioba, list, count)
            }
            Hypercall::StuffTce { ioba, value, count, .. } => self.stuff(ioba, value, count),
        };
        answer.err().unwrap_or(HypercallAnswer::Success)
    }

    /// `kvmppc_h_get_tce`: what the guest set, not what the hardware has.
    fn get(&mut self, ioba: u64) -> Result<u64, HypercallAnswer> {
        self.check_range(ioba, 1)?;
        let index = self.table.index_of(ioba).ok_or(HypercallAnswer::Parameter)?;
        Ok(self.table.tce(index).unwrap_or(0))
    }

    /// `kvmppc_h_put_tce`.
    fn put(&mut self, ioba: u64, tce: u64) -> Answer {
        self.check_range(ioba, 1)?;
        self.validate(tce)?;
        let entry = ioba >> self.table.call.page_shift;
        if tce & PERMISSION_BITS == 0 {
            for hardware in self.table.hardware() {
                let unmapped = self.unmap(hardware, GuestRun { entry, count: 1 });
                self.or_clear(unmapped, hardware, entry)?;
            }
        } else {
            self.map(entry, tce)?;
        }
        self.table.put(entry, 1, tce);
        Ok(())
    }

    /// `kvmppc_h_put_tce_indirect`: all are validated, then all are set, up to the first that fails.
    fn put_indirect(&mut self, ioba: u64, list: u64, count: u64) -> Answer {
        if count > LIST_TCES_MAX || !list.is_multiple_of(LIST_ALIGNMENT) {
            return Err(HypercallAnswer::Parameter);
        }
        let count = self.check_range(ioba, count)?;
        let list = self.memory.host_address(list).ok_or(HypercallAnswer::TooHard)?;
        for number in 0..count {
            let tce = self.listed(list, number)?;
            self.validate(tce)?;
        }
        let first = ioba >> self.table.call.page_shift;
        for number in 0..count {
            let tce = self.listed(list, number)?;
            self.map(first + number, tce)?;
            self.table.put(first + number, 1, tce);
        }
        Ok(())
    }

    /// `kvmppc_h_stuff_tce`.
    fn stuff(&mut self, ioba: u64, value: u64, count: u64) -> Answer {
        let count = self.check_range(ioba, count)?;
        if value & PERMISSION_BITS != 0 {
            return Err(HypercallAnswer::Parameter);
        }
        let entry = ioba >> self.table.call.page_shift;
        for hardware in self.table.hardware() {
            self.unmap(hardware, GuestRun { entry, count })?;
        }
        self.table.put(entry, count, value);
        Ok(())
    }

    /// `kvmppc_ioba_validate`. Returns how many TCEs may be touched without harm.
    fn check_range(&mut self, ioba: u64, count: u64) -> Result<u64, HypercallAnswer> {
        let index = self.table.index_of(ioba).ok_or(HypercallAnswer::Parameter)?;
        let room = self.table.call.size - index;
        if count <= room {
            return Ok(count);
        }
        if self.profile.kernel.checks_unmap_range() {
            return Err(HypercallAnswer::Parameter);
        }
        self.log.beyond_the_table("a hypercall", count - room);
        Ok(room)
    }

    /// `kvmppc_tce_validate`: of a page larger than the hardware's only the first part is looked up.
    fn validate(&mut self, tce: u64) -> Answer {
        let guest = tce & !PERMISSION_BITS;
        if tce & PERMISSION_BITS == 0 {
            return Ok(());
        }
        let low_bits = (1_u64 << self.table.call.page_shift) - 1;
        let host = self.memory.host_address(guest).filter(|_| guest & low_bits == 0);
        let host = host.ok_or(HypercallAnswer::TooHard)?;
        for hardware in self.table.hardware() {
            let shift = self.window(hardware)?.page_shift.raw();
            self.mm.regions.of_page(host.raw(), shift).ok_or(HypercallAnswer::TooHard)?;
        }
        Ok(())
    }

    fn listed(&self, list: HostAddr, number: u64) -> Result<u64, HypercallAnswer> {
        let mut bytes = [0; 8];
        let at = list.raw().wrapping_add(number * TCE_BYTES);
        let read = self.mm.memory.read_mapped(at, &mut bytes);
        read.map(|()| u64::from_be_bytes(bytes)).ok_or(HypercallAnswer::TooHard)
    }
}
