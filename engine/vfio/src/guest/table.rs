//! What a guest has set in its TCE table, read through a mapping of it.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
};

use crate::{
    descriptors::{Descriptor, Sort},
    pages::{Pages, Use},
};

/// Bytes of a TCE.
const TCE_BYTES: u64 = 8;

/// Reads TCEs from the one of this number on. `EINVAL` outside, and for a table whose size is not known because it was
/// made elsewhere: an access behind its last page would be a fatal signal (`kvm_spapr_tce_fault`).
pub(crate) fn read(
    table: &Descriptor,
    first: u64,
    tces: &mut [u64],
    system_page: PageShift,
) -> Result<(), Errno> {
    if table.sort() != Sort::GuestTable {
        return Err(Errno::ENODEV);
    }
    let count = u64::try_from(tces.len()).map_err(|_| Errno::EINVAL)?;
    let end = first.checked_add(count).ok_or(Errno::EINVAL)?;
    let size = table.guest_tces().ok_or(Errno::EINVAL)?;
    if end > size {
        return Err(Errno::EINVAL);
    }
    if tces.is_empty() {
        return Ok(());
    }
    let bytes = |tces: u64| tces.checked_mul(TCE_BYTES).map(Bytes::new).ok_or(Errno::EINVAL);
    let (from, to) = (bytes(first)?, bytes(end)?);
    let start = from.raw() & !(system_page.bytes().raw() - 1);
    let stop = to.round_up(system_page).ok_or(Errno::EINVAL)?;
    let pages = Pages::map(table, start, stop.raw() - start, Use::Read)?;
    let within = usize::try_from(from.raw() - start).map_err(|_| Errno::EINVAL)?;
    for (offset, tce) in (within..).step_by(size_of::<u64>()).zip(tces) {
        *tce = pages.word(offset);
    }
    Ok(())
}
