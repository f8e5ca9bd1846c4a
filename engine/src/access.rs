//! What a device may do to memory.

use std::fmt;

use crate::kernel::{MAP_READ, MAP_WRITE};

/// What a device may do. There is no empty value: the kernel refuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The device reads.
    Read,
    /// The device writes. On powernv it can then read as well (`pnv_tce_xchg`).
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// `MAP_DMA`'s flags for it.
    #[must_use]
    pub const fn flags(self) -> u32 {
        match self {
            Self::Read => MAP_READ,
            Self::Write => MAP_WRITE,
            Self::ReadWrite => MAP_READ | MAP_WRITE,
        }
    }

    /// Whether everything that `other` allows is allowed here.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.flags() & other.flags() == other.flags()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read-write",
        })
    }
}
