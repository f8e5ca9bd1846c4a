//! A TCE in the form that PAPR gives it.

use std::fmt;

use crate::{
    access::Access,
    addr::{GuestAddress, PageShift},
};

const READ: u64 = 0b01;
const WRITE: u64 = 0b10;
const PAGE_MAPPING: u64 = READ | WRITE;
/// The address bits of a TCE: all above the smallest page. The two lowest are its page mapping, those between are
/// reserved (LoPAR, "TCE Definition").
const ADDRESS: u64 = !0xfff;

/// A TCE as a guest writes it: a page of its memory, and what a device may do there. Any 64-bit value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestTce(u64);

/// What a TCE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A "page fault": nothing is mapped.
    Nothing,
    /// A page of guest memory is mapped.
    Page(GuestAddress, Access),
    /// An address inside a page, or a reserved bit.
    Malformed,
}

impl GuestTce {
    /// The TCE with this value.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The TCE that lets a device do this with the page at this address. Address bits below the smallest page are lost.
    #[must_use]
    pub const fn of_page(address: GuestAddress, access: Access) -> Self {
        Self(address.raw() & ADDRESS | page_mapping(access))
    }

    /// The TCE of a page that the guest has no address for: all address bits are set (LoPAR, `H_GET_TCE`).
    pub(super) const fn of_foreign_page(access: Access) -> Self {
        Self(ADDRESS | page_mapping(access))
    }

    /// The value.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Whether it maps a page.
    #[must_use]
    pub const fn is_mapping(self) -> bool {
        self.0 & PAGE_MAPPING != 0
    }

    pub(super) const fn meaning(self, page: PageShift) -> Meaning {
        let access = match self.0 & PAGE_MAPPING {
            READ => Access::Read,
            WRITE => Access::Write,
            PAGE_MAPPING => Access::ReadWrite,
            _ => return Meaning::Nothing,
        };
        let address = GuestAddress::new(self.0 & !PAGE_MAPPING);
        if address.is_aligned(page) { Meaning::Page(address, access) } else { Meaning::Malformed }
    }
}

impl fmt::Display for GuestTce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

const fn page_mapping(access: Access) -> u64 {
    match access {
        Access::Read => READ,
        Access::Write => WRITE,
        Access::ReadWrite => READ | WRITE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bits_say_what_a_device_may_do() {
        let at = GuestAddress::new(0x1_0000);
        for (raw, meaning) in [
            (0x1_0000, Meaning::Nothing),
            (0x1_0001, Meaning::Page(at, Access::Read)),
            (0x1_0002, Meaning::Page(at, Access::Write)),
            (0x1_0003, Meaning::Page(at, Access::ReadWrite)),
            (0x1_0007, Meaning::Malformed),
            (0x1_1003, Meaning::Malformed),
            // What maps nothing may say anything.
            (0xdead_beec, Meaning::Nothing),
        ] {
            assert_eq!(GuestTce::new(raw).meaning(PageShift::K64), meaning, "{raw:#x}");
        }
    }

    #[test]
    fn a_page_comes_back_as_it_was_given() {
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let at = GuestAddress::new(0xffff_ffff_ffff_f000);
            let tce = GuestTce::of_page(at, access);
            assert_eq!(tce.meaning(PageShift::K4), Meaning::Page(at, access));
        }
        assert_eq!(GuestTce::of_foreign_page(Access::Write).raw(), 0xffff_ffff_ffff_f002);
    }
}
