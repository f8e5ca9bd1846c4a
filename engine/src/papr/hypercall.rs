//! The hypercalls, as a guest makes them.

use super::GuestTce;

/// The most TCEs of one `H_PUT_TCE_INDIRECT`: they fill a 4 KiB page.
pub const LIST_TCES_MAX: u64 = 512;

/// A guest's TCE hypercall: its registers as they came, nothing of them checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercall {
    /// `H_GET_TCE`: reads one TCE.
    GetTce {
        /// The bus.
        liobn: u64,
        /// The bus address.
        ioba: u64,
    },
    /// `H_PUT_TCE`: sets one TCE.
    PutTce {
        /// The bus.
        liobn: u64,
        /// The bus address.
        ioba: u64,
        /// What to set.
        tce: GuestTce,
    },
    /// `H_PUT_TCE_INDIRECT`: sets TCEs in a row, from a list in guest memory.
    PutTceIndirect {
        /// The bus.
        liobn: u64,
        /// The bus address of the first.
        ioba: u64,
        /// The guest address of the list: TCEs of 8 bytes, big-endian.
        list: u64,
        /// How many.
        count: u64,
    },
    /// `H_STUFF_TCE`: sets TCEs in a row to the same.
    StuffTce {
        /// The bus.
        liobn: u64,
        /// The bus address of the first.
        ioba: u64,
        /// What to set.
        tce: GuestTce,
        /// How many.
        count: u64,
    },
}

impl Hypercall {
    /// The token of `H_GET_TCE`.
    pub const GET_TCE: u64 = 0x1c;
    /// The token of `H_PUT_TCE`.
    pub const PUT_TCE: u64 = 0x20;
    /// The token of `H_STUFF_TCE`.
    pub const STUFF_TCE: u64 = 0x138;
    /// The token of `H_PUT_TCE_INDIRECT`.
    pub const PUT_TCE_INDIRECT: u64 = 0x13c;

    /// The call of a guest with this token in R3 and these arguments in R4 to R7; `None` if it is not one of these.
    #[must_use]
    pub const fn decode(token: u64, [liobn, ioba, third, count]: [u64; 4]) -> Option<Self> {
        Some(match token {
            Self::GET_TCE => Self::GetTce { liobn, ioba },
            Self::PUT_TCE => Self::PutTce { liobn, ioba, tce: GuestTce::new(third) },
            Self::PUT_TCE_INDIRECT => Self::PutTceIndirect { liobn, ioba, list: third, count },
            Self::STUFF_TCE => Self::StuffTce { liobn, ioba, tce: GuestTce::new(third), count },
            _ => return None,
        })
    }

    pub(super) const fn liobn(&self) -> u64 {
        match *self {
            Self::GetTce { liobn, .. }
            | Self::PutTce { liobn, .. }
            | Self::PutTceIndirect { liobn, .. }
            | Self::StuffTce { liobn, .. } => liobn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_in_the_order_of_each_call() {
        let tce = GuestTce::new(3);
        let (liobn, ioba) = (1, 2);
        for (token, call) in [
            (0x1c, Some(Hypercall::GetTce { liobn, ioba })),
            (0x20, Some(Hypercall::PutTce { liobn, ioba, tce })),
            (0x138, Some(Hypercall::StuffTce { liobn, ioba, tce, count: 4 })),
            (0x13c, Some(Hypercall::PutTceIndirect { liobn, ioba, list: 3, count: 4 })),
            (0x24, None),
        ] {
            assert_eq!(Hypercall::decode(token, [1, 2, 3, 4]), call, "{token:#x}");
        }
    }
}
