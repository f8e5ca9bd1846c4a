//! Address spaces: what one process has of its own, as far as the backend cares. Processes share the table of
//! descriptors here, as after a `fork` none of them closed or opened anything.

use crate::{charge::LockedPages, memory::Memory, profile::Profile, region::Regions};

/// Names an address space: `mm_struct`, and the process that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MmId(pub(crate) u16);

impl MmId {
    /// The machine's first process.
    pub(crate) const FIRST: Self = Self(0);
}

/// An address space: `mm_struct`, and powerpc's `mm->context` with it.
#[derive(Debug)]
pub(crate) struct Mm {
    /// What is mapped.
    pub(crate) memory: Memory,
    /// What is registered, by any container.
    pub(crate) regions: Regions,
    /// What is charged.
    pub(crate) locked: LockedPages,
}

impl Mm {
    fn new(profile: &Profile) -> Self {
        Self {
            memory: Memory::new(profile.page_shift, &profile.hugetlb),
            regions: Regions::default(),
            locked: LockedPages::new(profile.page_shift, profile.locked_limit),
        }
    }

    /// Lets go of memory that was unmapped and is no longer pinned.
    pub(crate) fn drop_unpinned(&mut self) {
        let regions = &self.regions;
        self.memory.drop_unpinned(|start, end| regions.overlaps(start, end));
    }
}

/// All address spaces of the machine. There is at least one, and none goes away.
#[derive(Debug)]
pub(crate) struct Mms {
    first: Mm,
    others: Vec<Mm>,
}

impl Mms {
    /// With the first process's.
    pub(crate) fn new(profile: &Profile) -> Self {
        Self { first: Mm::new(profile), others: Vec::new() }
    }

    /// One more, empty. When there are as many as can be named, the newest once more.
    pub(crate) fn add(&mut self, profile: &Profile) -> MmId {
        match self.next_id() {
            Some(id) => {
                self.others.push(Mm::new(profile));
                id
            }
            None => MmId(u16::MAX),
        }
    }

    fn next_id(&self) -> Option<MmId> {
        let number = self.others.len().checked_add(1)?;
        u16::try_from(number).ok().map(MmId)
    }

    /// One of them. An unknown name is the first.
    pub(crate) fn get(&self, id: MmId) -> &Mm {
        other_index(id).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: MmId) -> &mut Mm {
        match other_index(id) {
            Some(at) if at < self.others.len() => &mut self.others[at],
            _ => &mut self.first,
        }
    }
}

fn other_index(id: MmId) -> Option<usize> {
    usize::from(id.0).checked_sub(1)
}
