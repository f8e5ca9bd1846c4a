//! Calls of KVM as VFIO's external user.

use super::{
    Draft,
    arguments::{any, near, one_in},
};
use crate::step::{File, Step};

/// Tables of a virtual machine.
const TABLES: u8 = 3;
/// Pages of the largest guest table, as `log2`: KVM charges for them.
const TABLE_PAGES_SHIFT_MAX: u32 = 19;

impl Draft {
    pub(super) fn kvm(&mut self) -> Step {
        if !self.is_open(File::Vm) {
            return Step::CreateVm;
        }
        let number = self.group();
        let (group, table) = (File::Group(number), self.rng.u8(..TABLES));
        if !self.is_open(File::Link) && self.rng.bool() {
            return Step::CreateLink;
        }
        let can_add = self.is_open(group) && !self.added.contains(&number);
        match self.rng.u8(..12) {
            0..=1 if can_add => Step::AddGroup { group },
            0..=2 if !self.is_open(File::Table(table)) => self.create_table(table),
            3 => Step::AddGroup { group: self.group_file() },
            4 => Step::DeleteGroup { group: self.group_file() },
            5..=9 => Step::AttachTable { group, table: File::Table(table) },
            10 if one_in(&mut self.rng, 3) => Step::Close { file: File::Table(table) },
            11 if one_in(&mut self.rng, 4) => {
                let file = any(&mut self.rng, &[File::Link, File::Vm]).unwrap_or(File::Link);
                Step::Close { file }
            }
            _ => Step::AttachTable { group: self.group_file(), table: File::Table(table) },
        }
    }

    /// A table like one of the windows, or almost.
    fn create_table(&mut self, table: u8) -> Step {
        let container = self.container();
        let windows = self.windows(container);
        let like = self.rng.choice(windows.iter());
        let (start, size, shift) = like.map_or((0, 1 << 31, 12), |view| {
            (view.start.raw(), view.size.raw(), u32::from(view.page_shift.raw()))
        });
        let page_shift = match self.rng.u8(..8) {
            0 => any(&mut self.rng, &[11, 12, 16, 21, 24, 34, 35]).unwrap_or(12),
            // A guest's page may be larger than the hardware's.
            1..=2 => shift + 4,
            _ => shift,
        };
        let pages = |bytes: u64| bytes.checked_shr(page_shift).unwrap_or(0);
        let size = pages(size).min(1 << TABLE_PAGES_SHIFT_MAX);
        Step::CreateTable {
            table,
            liobn: self.rng.u64(1..=4),
            page_shift,
            offset: near(&mut self.rng, pages(start), 1),
            size: near(&mut self.rng, size, 1).min(1 << TABLE_PAGES_SHIFT_MAX),
        }
    }
}
