//! What a piece of memory is like for someone who pins it.

use tce_engine::kernel::MemoryRange;

use super::{Block, BlockState, Memory};

/// What the process may do with a piece of its memory, which decides whether it can be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Read and write it.
    ReadWrite,
    /// Only read it: it cannot be pinned for a device that may write.
    ReadOnly,
    /// Read and write it, but it is a file whose writes the kernel tracks: it cannot be pinned for long
    /// (`writable_file_mapping_allowed`).
    TrackedFile,
}

/// A stretch of memory in pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its first address.
    pub(crate) start: u64,
    /// Its end.
    pub(crate) end: u64,
    /// The pages: `page_shift(compound_head(page))`.
    pub(crate) page_shift: u8,
}

impl Memory {
    /// Changes what the process may do with exactly one block.
    pub(crate) fn protect(&mut self, range: MemoryRange, protection: Protection) -> Option<()> {
        let block = self.blocks.get_mut(&range.address.raw())?;
        if block.size != range.size.raw() || block.state != BlockState::Mapped {
            return None;
        }
        block.protection = protection;
        Some(())
    }

    /// The pages behind a range, as far as they can be pinned for long, without a hole (`pin_user_pages`).
    pub(crate) fn pinnable(&self, start: u64, end: u64) -> Vec<Stretch> {
        self.stretches_while(start, end, |block| block.protection == Protection::ReadWrite)
    }

    /// The mapped pages behind a range, up to the first hole.
    pub(super) fn stretches(&self, start: u64, end: u64) -> Vec<Stretch> {
        self.stretches_while(start, end, |_| true)
    }

    /// Whether the process can write all of a range.
    pub(super) fn is_writable(&self, start: u64, end: u64) -> bool {
        let writable = |block: &Block| block.protection != Protection::ReadOnly;
        is_covered(&self.stretches_while(start, end, writable), start, end)
    }

    /// Whether the process can read all of a range.
    pub(super) fn is_readable(&self, start: u64, end: u64) -> bool {
        is_covered(&self.stretches(start, end), start, end)
    }

    fn stretches_while(
        &self,
        start: u64,
        end: u64,
        suits: impl Fn(&Block) -> bool,
    ) -> Vec<Stretch> {
        let mut found = Vec::new();
        let mut at = start;
        while at < end {
            let Some((block_start, block)) = self.block_at(at) else { break };
            if block.state != BlockState::Mapped || !suits(block) {
                break;
            }
            let until = end.min(block_start + block.size);
            let page_shift = self.page_of(block.backing).raw();
            found.push(Stretch { start: at, end: until, page_shift });
            at = until;
        }
        found
    }
}

fn is_covered(stretches: &[Stretch], start: u64, end: u64) -> bool {
    stretches.last().map_or(start, |stretch| stretch.end) == end
}
