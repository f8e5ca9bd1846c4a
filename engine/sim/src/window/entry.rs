//! One TCE, packed as the kernel packs it: page address and permission bits in one word.

use tce_engine::addr::HostAddr;

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

/// A TCE that is set. The address is the process's: the simulated host has no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The page, aligned to at least 4 KiB.
    pub(crate) address: HostAddr,
    /// What it allows.
    pub(crate) access: TceAccess,
}

impl Entry {
    /// As one word; never 0.
    pub(crate) const fn pack(self) -> u64 {
        self.address.raw() | self.access.bits()
    }

    /// Back from a word; `None` for 0.
    pub(crate) const fn unpack(word: u64) -> Option<Self> {
        let access = match word & ACCESS_MASK {
            1 => TceAccess::Read,
            2 => TceAccess::Write,
            3 => TceAccess::ReadWrite,
            _ => return None,
        };
        Some(Self { address: address_of(word), access })
    }
}

/// The address in a packed TCE.
pub(crate) const fn address_of(word: u64) -> HostAddr {
    HostAddr::new(word & !ACCESS_MASK)
}
