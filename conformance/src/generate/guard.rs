//! What is kept off a real kernel.

use tce_engine::kernel::EehOperation;
use tce_sim::profile::KernelVersion;

use super::Draft;
use crate::step::{Backing, File, Place, Step};

/// Memory that may leak in one call; it stays pinned until the machine boots anew.
const LEAK_MAX: u64 = 256 << 10;

impl Draft {
    /// Whether the last step broke the machine, or spoiled it for later sequences.
    pub(super) fn is_broken(&self) -> bool {
        let machine = self.stage.machine();
        machine.host_corruption().is_some() || machine.partition_spoiled()
    }

    /// What the simulated machine does not show.
    pub(super) fn is_forbidden(&self, step: &Step) -> bool {
        match step {
            Step::Register { file, memory, size } => {
                self.is_bad_registration(*memory, *size) || self.is_anothers(*file, *memory)
            }
            Step::Unregister { memory, size, .. } => self.leaks_much(*memory, *size),
            Step::Map { file, memory, size, .. } => {
                *size == 0
                    || self.leaves_its_block(*memory, *size)
                    || self.is_anothers(*file, *memory)
            }
            // A device that was reset without being set up again cannot be opened by a later sequence.
            Step::Eeh { operation, .. } => {
                matches!(operation, EehOperation::ResetHot | EehOperation::ResetFundamental)
            }
            Step::Create { page_shift, size, .. } => {
                is_smaller_than_its_page(*page_shift, *size) || self.is_the_compilers(*page_shift)
            }
            Step::OpenContainer { container } => self.is_open(File::Container(*container)),
            Step::CreateVm => self.is_open(File::Vm),
            Step::CreateLink => self.is_open(File::Link),
            Step::CreateTable { table, .. } => self.is_open(File::Table(*table)),
            // What another process opens and closes is its own affair, and ends with it.
            Step::Elsewhere { step } => opens_or_closes(step) || self.is_forbidden(step),
            _ => false,
        }
    }

    /// Nothing registered prints a kernel warning (`vmalloc` of nothing). What is no memory, all or in part, `tce-vfio`
    /// answers itself, so it would prove nothing.
    fn is_bad_registration(&self, memory: Place, size: u64) -> bool {
        let ends_within = memory.block.is_none() || self.leaves_its_block(memory, size);
        let is_refused_by_numbers = {
            let page = self.simulated.profile().page_shift.bytes().raw();
            !size.is_multiple_of(page) || !memory.offset.is_multiple_of(page)
        };
        size == 0 || (ends_within && !is_refused_by_numbers)
    }

    /// A shift of 128 and more is undefined in C, and what comes of it is the compiler's that built the kernel. Of those
    /// of 6.12 it is known; 7.2 for a partition refuses what that one charges for.
    fn is_the_compilers(&self, page_shift: u32) -> bool {
        page_shift >= 128 && self.simulated.profile().kernel >= KernelVersion::new(6, 13, 0)
    }

    /// What lies behind a block differs between machines: another block, perhaps a registered one.
    fn leaves_its_block(&self, memory: Place, size: u64) -> bool {
        memory.block.is_some() && size > self.left_in_block(memory)
    }

    /// What one container registered and another one maps leaks when the first one goes, a huge page as a whole.
    fn is_anothers(&self, file: File, memory: Place) -> bool {
        let File::Container(container) = file else { return false };
        let user = memory.block.and_then(|block| self.huge_users.get(&block));
        user.is_some_and(|user| *user != Some(container))
    }

    /// Whether a block is of huge pages.
    pub(super) fn is_huge(&self, block: u8) -> bool {
        let block = self.stage.blocks().get(usize::from(block));
        block.is_some_and(|block| matches!(block.backing, Backing::Huge2M | Backing::Huge1G))
    }

    /// Memory that is unregistered while it is mapped is lost until the machine boots anew; of huge pages, whose number
    /// is small, each page that it touches is lost as a whole.
    fn leaks_much(&self, memory: Place, size: u64) -> bool {
        let Some(number) = memory.block else { return false };
        let Some(block) = self.stage.blocks().get(usize::from(number)) else { return false };
        let start = block.range.address.raw().wrapping_add(memory.offset);
        let regions = self.stage.machine().regions();
        let region = regions
            .iter()
            .find(|region| region.range.address.raw() == start && region.range.size.raw() == size);
        let is_much = size > LEAK_MAX || self.is_huge(number);
        is_much && region.is_some_and(|region| region.mapped > 0)
    }
}

const fn opens_or_closes(step: &Step) -> bool {
    matches!(
        step,
        Step::Close { .. }
            | Step::CreateVm
            | Step::OpenContainer { .. }
            | Step::OpenGroup { .. }
            | Step::OpenDevice { .. }
    )
}

/// The kernel's arithmetic underflows there (`tce_iommu_create_table`).
fn is_smaller_than_its_page(page_shift: u32, size: u64) -> bool {
    1_u64.checked_shl(page_shift).is_some_and(|page| size < page)
}
