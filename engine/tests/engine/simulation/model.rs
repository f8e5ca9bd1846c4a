//! What holders have wished, page by page: made from the edits alone, without the engine's arithmetic.

use std::collections::BTreeMap;

use tce_engine::{
    access::Access,
    addr::{Iova, PageShift},
    edit::Edit,
    growth::Growth,
    lease::{LeaseId, LeasePart},
    region::RegionId,
    table::Table,
    window::{Window, WindowId},
};

/// What a TCE shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tce {
    pub(super) address: u64,
    pub(super) access: Access,
    pub(super) region: RegionId,
}

/// A range of a lease in one window. Pages go by their bus address.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) page: u64,
    /// Index of the first TCE, and the one behind the last.
    pub(super) tces: (u64, u64),
    pub(super) wished: BTreeMap<u64, Tce>,
    /// What was given up under a lease that puts unmaps off, and since when: set until it is flushed.
    pub(super) ghosts: BTreeMap<u64, (Tce, u64)>,
    /// In this step its taking back has begun, and a call of it has failed: what is gone is gone.
    pub(super) is_torn: bool,
    /// Some of it has gone in this way.
    pub(super) has_lost: bool,
}

impl Part {
    fn new(part: &LeasePart, window: &Window) -> Self {
        let start = part.claim.start.raw();
        Self {
            start,
            end: start + part.claim.size.raw(),
            page: window.page.bytes().raw(),
            tces: (part.run.first(), part.run.end()),
            wished: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            is_torn: false,
            has_lost: false,
        }
    }

    /// What is set at an address: used, or left behind.
    pub(super) fn tce(&self, iova: u64) -> Option<Tce> {
        let ghost = || self.ghosts.get(&iova).map(|(tce, _)| *tce);
        self.wished.get(&iova).copied().or_else(ghost)
    }

    /// How many TCEs are set.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.wished.len() + self.ghosts.len()).expect("it fits")
    }

    pub(super) fn is_empty_within(&self, start: u64, end: u64) -> bool {
        let is_empty = self.wished.range(start..end).next().is_none();
        is_empty && self.ghosts.range(start..end).next().is_none()
    }

    /// Of what may have gone, keeps what the table still has, and all that must be there.
    pub(super) fn keep_set(&mut self, table: &Table, must_be_there: impl Fn(u64) -> bool) {
        let (first, page, start) = (self.tces.0, self.page, self.start);
        let is_set = |at: u64| {
            let index = first + (at - start) / page;
            must_be_there(at) || !table.is_empty_within(index, index + 1)
        };
        self.wished.retain(|at, _| is_set(*at));
        self.ghosts.retain(|at, _| is_set(*at));
    }

    pub(super) fn iova_of(&self, index: u64) -> u64 {
        self.start + (index - self.tces.0) * self.page
    }

    fn map(&mut self, start: u64, size: u64, first: Tce) {
        for offset in (0..size).step_by(step_of(self.page)) {
            let tce = Tce { address: first.address + offset, ..first };
            self.wished.insert(start + offset, tce);
            self.ghosts.remove(&(start + offset));
        }
    }

    fn unmap(&mut self, start: u64, size: u64) {
        let inside: Vec<u64> = self.wished.range(start..start + size).map(|(at, _)| *at).collect();
        for at in inside {
            self.wished.remove(&at);
        }
    }

    /// What was set `before` and is not wished any more stays set.
    fn put_off(&mut self, before: &Self, now: u64) {
        for (at, tce) in before.wished.iter().filter(|(at, _)| !self.wished.contains_key(at)) {
            self.ghosts.insert(*at, (*tce, now));
        }
        for (at, ghost) in before.ghosts.iter().filter(|(at, _)| !self.wished.contains_key(at)) {
            self.ghosts.insert(*at, *ghost);
        }
    }
}

/// What becomes of pages that are given up.
#[derive(Clone, Copy)]
pub(super) enum Unmap {
    AtOnce,
    /// They stay set from this moment on.
    PutOff(u64),
}

/// All leases that have not ended, with what they have.
#[derive(Default)]
pub(super) struct Model {
    pub(super) parts: BTreeMap<(LeaseId, WindowId), Part>,
    /// What sub-leases are parts of.
    pub(super) parents: BTreeMap<LeaseId, LeaseId>,
    /// Of leases with a rate: since when edits are counted, and how many they were.
    pub(super) paces: BTreeMap<LeaseId, (u64, u64)>,
}

impl Model {
    pub(super) fn add(&mut self, lease: LeaseId, part: &LeasePart, window: &Window) {
        self.parts.insert((lease, part.window), Part::new(part, window));
    }

    pub(super) fn forget(&mut self, lease: LeaseId) {
        self.parts.retain(|(id, _), _| *id != lease);
        self.parents.remove(&lease);
        self.paces.remove(&lease);
    }

    /// Where sub-leases of a lease are in a window: from, to.
    pub(super) fn sublet_of(&self, lease: LeaseId, window: WindowId) -> Vec<(u64, u64)> {
        let subleases = self.parents.iter().filter(|(_, parent)| **parent == lease);
        let parts = subleases.filter_map(|(id, _)| self.parts.get(&(*id, window)));
        parts.map(|part| (part.start, part.end)).collect()
    }

    /// A lease has `count` pages from page `first` left.
    pub(super) fn shrink(&mut self, lease: LeaseId, window: WindowId, first: u64, count: u64) {
        let part = self.parts.get_mut(&(lease, window)).expect("it was there");
        part.start += first * part.page;
        part.end = part.start + count * part.page;
        part.tces = (part.tces.0 + first, part.tces.0 + first + count);
        let left = part.start..part.end;
        part.wished.retain(|at, _| left.contains(at));
        part.ghosts.retain(|at, _| left.contains(at));
    }

    pub(super) fn parts_of(&self, lease: LeaseId) -> impl Iterator<Item = (WindowId, &Part)> {
        let parts = self.parts.iter().filter(move |((id, _), _)| *id == lease);
        parts.map(|((_, window), part)| (*window, part))
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        let mut leases: Vec<LeaseId> = self.parts.keys().map(|(id, _)| *id).collect();
        leases.dedup();
        leases
    }

    /// Notes edits that were applied. `address_of` tells where a region's memory starts.
    pub(super) fn apply(
        &mut self,
        lease: LeaseId,
        edits: &[Edit],
        (growth, unmapping): (Option<Growth>, Unmap),
        address_of: impl Fn(RegionId) -> u64,
    ) {
        let mine = self.parts.iter().filter(|((id, _), _)| *id == lease);
        let before: BTreeMap<_, Part> = mine.map(|(key, part)| (*key, part.clone())).collect();
        for edit in edits {
            let claim = edit.claim();
            let (start, size) = (claim.start.raw(), claim.size.raw());
            let found = self
                .parts
                .iter_mut()
                .find(|((id, _), part)| *id == lease && part.start <= start && start < part.end);
            let ((_, window), part) = found.expect("the engine has found it too");
            let window = *window;
            change(part, start, edit, &address_of);
            let Some(growth) = growth.filter(|growth| growth.from == window) else { continue };
            let image = growth.new_range().start.raw() + (start - growth.old().start.raw());
            let into = self.parts.get_mut(&(lease, growth.into)).expect("it is in both");
            change(into, image, edit, &address_of);
            assert!(image + size <= into.end);
        }
        let Unmap::PutOff(now) = unmapping else { return };
        for (key, part) in self.parts.iter_mut().filter(|((id, _), _)| *id == lease) {
            part.put_off(&before[key], now);
        }
    }

    /// A lease has begun to grow: what it uses is at the new addresses too.
    pub(super) fn grow(&mut self, lease: LeaseId, growth: &Growth) {
        let old = self.parts[&(lease, growth.from)].clone();
        let new = self.parts.get_mut(&(lease, growth.into)).expect("it was added");
        let smaller = old.page.min(new.page);
        for (at, tce) in &old.wished {
            for inside in (0..old.page).step_by(step_of(smaller)) {
                let offset = at - old.start + inside;
                if offset.is_multiple_of(new.page) {
                    let tce = Tce { address: tce.address + inside, ..*tce };
                    new.wished.insert(new.start + offset, tce);
                }
            }
        }
    }

    pub(super) fn flush(&mut self, lease: LeaseId) {
        for (_, part) in self.parts.iter_mut().filter(|((id, _), _)| *id == lease) {
            part.ghosts.clear();
        }
    }

    pub(super) fn tear(&mut self, lease: LeaseId, torn: Option<WindowId>) {
        for ((id, window), part) in &mut self.parts {
            part.is_torn |= *id == lease && torn.is_none_or(|torn| torn == *window);
        }
    }

    /// TCEs that linger of a lease.
    pub(super) fn ghosts_of(&self, lease: LeaseId) -> u64 {
        let ghosts = self.parts_of(lease).map(|(_, part)| part.ghosts.len());
        u64::try_from(ghosts.sum::<usize>()).expect("it fits")
    }

    /// Whether what a lease uses at old addresses is what it has at the new ones, byte for byte.
    pub(super) fn is_image(&self, lease: LeaseId, growth: &Growth) -> bool {
        let (old, new) = (&self.parts[&(lease, growth.from)], &self.parts[&(lease, growth.into)]);
        let blocks = |part: &Part, size: u64| -> Vec<(u64, u64)> {
            let inside = part.wished.range(part.start..part.start + size);
            let small = PageShift::K4.bytes().raw();
            let blocks = inside.flat_map(|(at, tce)| {
                let offset = at - part.start;
                (0..part.page).step_by(step_of(small)).map(move |n| (offset + n, tce.address + n))
            });
            blocks.collect()
        };
        let size = old.end - old.start;
        blocks(old, size) == blocks(new, size)
    }
}

fn change(part: &mut Part, start: u64, edit: &Edit, address_of: &impl Fn(RegionId) -> u64) {
    match *edit {
        Edit::Map { region, offset, size, access, .. } => {
            let address = address_of(region) + offset.raw();
            part.map(start, size.raw(), Tce { address, access, region });
        }
        Edit::Unmap(claim) => part.unmap(start, claim.size.raw()),
    }
}

fn step_of(page: u64) -> usize {
    usize::try_from(page).expect("a page fits")
}

/// A bus address as such.
pub(super) const fn iova(at: u64) -> Iova {
    Iova::new(at)
}
