//! One TCE in one word, together with the kernel's record of the process's address behind it (`it_userspace`).

use tce_engine::addr::HostAddr;

use crate::process::MmId;

/// What a TCE lets a device do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TceAccess {
    /// Read memory.
    Read,
    /// Write memory.
    Write,
    /// Both.
    ReadWrite,
}

impl TceAccess {
    /// Whether a device may read through it.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether a device may write through it.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    /// `TCE_PCI_READ`, `TCE_PCI_WRITE`.
    const fn bits(self) -> u64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::ReadWrite => 3,
        }
    }
}

/// The permission bits of a packed TCE.
const ACCESS_MASK: u64 = 3;
/// The TCE is set, but the kernel has forgotten the address behind it, and with it the region that is to be counted
/// down (`tce_iommu_unuse_page_v2` after a failed exchange).
const FORGOTTEN: u64 = 4;
/// The address: whole 4 KiB pages below 2^48.
const ADDRESS_MASK: u64 = 0x0000_ffff_ffff_f000;
/// The address space, above the address.
const MM_SHIFT: u32 = 48;

/// A TCE that is set. Its address is a process's: the simulated host has no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The page, aligned to at least 4 KiB.
    pub(crate) address: HostAddr,
    /// What it allows.
    pub(crate) access: TceAccess,
    /// Whose memory it is.
    pub(crate) mm: MmId,
}

impl Entry {
    /// As one word; never 0.
    pub(crate) fn pack(self) -> u64 {
        self.address.raw() & ADDRESS_MASK | self.access.bits() | u64::from(self.mm.0) << MM_SHIFT
    }

    /// Back from a word; `None` for 0.
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        let access = match word & ACCESS_MASK {
            1 => TceAccess::Read,
            2 => TceAccess::Write,
            3 => TceAccess::ReadWrite,
            _ => return None,
        };
        let mm = MmId(u16::try_from(word >> MM_SHIFT).unwrap_or(u16::MAX));
        Some(Self { address: HostAddr::new(word & ADDRESS_MASK), access, mm })
    }
}

/// The address that the kernel has recorded for a packed TCE; `None` where it has forgotten.
pub(crate) const fn recorded_address(word: u64) -> Option<HostAddr> {
    if word & FORGOTTEN != 0 {
        return None;
    }
    Some(HostAddr::new(word & ADDRESS_MASK))
}

/// The same TCE, its record lost.
pub(crate) const fn forgotten(word: u64) -> u64 {
    word | FORGOTTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_page_access_and_address_space() {
        let entry = Entry {
            address: HostAddr::new(0x7fff_ffff_f000),
            access: TceAccess::Write,
            mm: MmId(u16::MAX),
        };
        assert_eq!(Entry::unpack(entry.pack()), Some(entry));
        assert_eq!(Entry::unpack(0), None);
        assert_eq!(recorded_address(entry.pack()), Some(entry.address));
        assert_eq!(recorded_address(forgotten(entry.pack())), None);
        assert_eq!(
            Entry::unpack(forgotten(entry.pack())),
            Some(entry),
            "the hardware's is as it was"
        );
    }
}
