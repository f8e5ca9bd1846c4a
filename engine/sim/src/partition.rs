//! The firmware side of a PE in a logical partition: which windows RTAS made for it
//! (`arch/powerpc/platforms/pseries/iommu.c`).

use tce_engine::{addr::PageShift, errno::Errno, kernel::CreateCall};

use crate::{
    profile::{Profile, SLOTS},
    window::{NewTable, size},
};

/// The windows of one PE. On powernv it stays as it is made.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    windows: [Option<Made>; SLOTS],
    dynamic: Dynamic,
}

/// How a window was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// `ibm,reset-pe-dma-window`: the default window, given back.
    Reset,
    /// `ibm,create-pe-dma-window`, recorded as the property `linux,dma64-ddr-window-info`.
    Created,
}

/// Whether dynamic windows are still tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dynamic {
    #[default]
    Tried,
    /// The PE is on `failed_ddw_pdn_list`, until the partition boots anew.
    GivenUp,
}

/// `windows_max` where the firmware offers no dynamic windows.
const NO_DYNAMIC_WINDOWS: u32 = u32::MAX;

impl Partition {
    /// `spapr_tce_create_table`. The firmware chooses the start by how the window is made, not by its slot.
    pub(crate) fn create(
        &mut self,
        slot: usize,
        call: &CreateCall,
        profile: &Profile,
    ) -> Result<NewTable, Errno> {
        if !call.size.raw().is_power_of_two() || call.levels > 1 {
            return Err(Errno::EINVAL);
        }
        if self.dynamic == Dynamic::GivenUp {
            return Err(Errno::ENODEV);
        }
        let entries = size::shifted_down(call.size.raw(), call.page_shift);
        if slot == 0 && self.has_created() {
            return Err(Errno::EPERM);
        }
        let [low, high] = profile.slot_starts;
        let (made, start) = if slot == 0 && is_default_request(call, profile) {
            (Made::Reset, low)
        } else {
            self.create_dynamic(call, entries, profile)?;
            (Made::Created, high)
        };
        self.windows[slot] = Some(made);
        Ok(NewTable { start, entries })
    }

    fn create_dynamic(
        &mut self,
        call: &CreateCall,
        entries: u64,
        profile: &Profile,
    ) -> Result<(), Errno> {
        if profile.windows_max == NO_DYNAMIC_WINDOWS {
            return Err(self.give_up(Errno::EINVAL));
        }
        if entries > profile.largest_window_tces {
            return Err(Errno::EINVAL);
        }
        // create_ddw: the firmware refuses a window smaller than its page, a page that is none, and a second dynamic
        // window, because it keeps the default one back even when Linux has removed it.
        if entries == 0 || call.page_shift >= u64::BITS || self.has_created() {
            return Err(self.give_up(Errno::ENODEV));
        }
        Ok(())
    }

    /// `spapr_tce_unset_window`.
    pub(crate) fn unset(&mut self, slot: usize) {
        self.windows[slot] = None;
    }

    /// Whether dynamic windows are gone for good.
    pub(crate) fn has_given_up(&self) -> bool {
        self.dynamic == Dynamic::GivenUp
    }

    /// `find_existing_ddw`.
    fn has_created(&self) -> bool {
        self.windows.contains(&Some(Made::Created))
    }

    /// The label `out_failed`.
    fn give_up(&mut self, errno: Errno) -> Errno {
        self.dynamic = Dynamic::GivenUp;
        errno
    }
}

/// `is_default_window_request`.
fn is_default_request(call: &CreateCall, profile: &Profile) -> bool {
    call.size <= profile.default_window && call.page_shift == u32::from(PageShift::K4.raw())
}

#[cfg(test)]
mod tests {
    use tce_engine::addr::Bytes;

    use super::*;

    fn call(size: Bytes, page_shift: u32) -> CreateCall {
        CreateCall { page_shift, size, levels: 1 }
    }

    #[test]
    fn a_window_beside_the_default_one_is_created() {
        let profile = Profile::pseries();
        let mut pe = Partition::default();
        let low = pe.create(0, &call(Bytes::gib(1), 12), &profile);
        assert_eq!(low, Ok(NewTable { start: profile.slot_starts[0], entries: 1 << 18 }));
        let high = pe.create(1, &call(Bytes::gib(8), 21), &profile);
        assert_eq!(high, Ok(NewTable { start: profile.slot_starts[1], entries: 1 << 12 }));
    }

    #[test]
    fn the_default_window_does_not_come_back_beside_a_created_one() {
        let profile = Profile::pseries();
        let mut pe = Partition::default();
        pe.create(1, &call(Bytes::gib(8), 21), &profile).expect("it is the first");
        assert_eq!(pe.create(0, &call(Bytes::gib(1), 12), &profile), Err(Errno::EPERM));
        assert_eq!(pe.create(0, &call(Bytes::gib(2), 16), &profile), Err(Errno::EPERM));
        pe.unset(1);
        assert!(pe.create(0, &call(Bytes::gib(1), 12), &profile).is_ok());
    }

    #[test]
    fn a_second_created_window_ends_all_dynamic_windows_of_the_pe() {
        let profile = Profile::pseries();
        let mut pe = Partition::default();
        let first = pe.create(0, &call(Bytes::gib(8), 21), &profile).expect("it is the first");
        assert_eq!(first.start, profile.slot_starts[1], "high, though it has slot 0");
        assert_eq!(pe.create(1, &call(Bytes::gib(8), 21), &profile), Err(Errno::ENODEV));
        pe.unset(0);
        assert_eq!(pe.create(0, &call(Bytes::gib(1), 12), &profile), Err(Errno::ENODEV));
    }

    #[test]
    fn too_large_is_refused_without_giving_up() {
        let profile = Profile { largest_window_tces: 1 << 10, ..Profile::pseries() };
        let mut pe = Partition::default();
        assert_eq!(pe.create(1, &call(Bytes::gib(8), 21), &profile), Err(Errno::EINVAL));
        assert!(pe.create(1, &call(Bytes::gib(2), 21), &profile).is_ok());
    }

    #[test]
    fn a_partition_without_dynamic_windows_has_the_default_one() {
        let profile = Profile { windows_max: u32::MAX, ..Profile::pseries() };
        let mut pe = Partition::default();
        assert!(pe.create(0, &call(Bytes::gib(1), 12), &profile).is_ok());
        assert_eq!(pe.create(1, &call(Bytes::gib(8), 21), &profile), Err(Errno::EINVAL));
        assert_eq!(pe.create(1, &call(Bytes::gib(8), 21), &profile), Err(Errno::ENODEV));
    }
}
