//! The process's locked memory: `mm_struct::locked_vm`, against `RLIMIT_MEMLOCK`.

use tce_engine::{
    addr::{Bytes, PageShift},
    errno::Errno,
};

/// The account, in system pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockedPages {
    page_shift: PageShift,
    pages: u64,
    limit_pages: Option<u64>,
}

impl LockedPages {
    pub(crate) fn new(page_shift: PageShift, limit: Option<Bytes>) -> Self {
        let limit_pages = limit.map(|bytes| bytes.raw() >> page_shift.raw());
        Self { page_shift, pages: 0, limit_pages }
    }

    /// `account_locked_vm`, inc.
    pub(crate) fn charge(&mut self, pages: u64) -> Result<(), Errno> {
        let wanted = self.pages.saturating_add(pages);
        if pages > 0 && self.limit_pages.is_some_and(|limit| wanted > limit) {
            return Err(Errno::ENOMEM);
        }
        self.pages = wanted;
        Ok(())
    }

    /// `account_locked_vm`, dec.
    pub(crate) fn uncharge(&mut self, pages: u64) {
        self.pages = self.pages.saturating_sub(pages);
    }

    /// What `/proc/self/status` shows as `VmLck`.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::new(self.pages.saturating_mul(self.page_shift.bytes().raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        let mut locked = LockedPages::new(PageShift::K4, Some(Bytes::new(3 * 4096 + 100)));
        assert_eq!(locked.charge(3), Ok(()));
        assert_eq!(locked.charge(1), Err(Errno::ENOMEM));
        assert_eq!(locked.charge(0), Ok(()));
        assert_eq!(locked.bytes(), Bytes::kib(12));
        locked.uncharge(1);
        assert_eq!(locked.charge(1), Ok(()));
    }

    #[test]
    fn without_a_limit_everything_fits() {
        let mut locked = LockedPages::new(PageShift::K64, None);
        assert_eq!(locked.charge(u64::MAX), Ok(()));
        assert_eq!(locked.bytes(), Bytes::new(u64::MAX));
    }
}
