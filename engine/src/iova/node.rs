//! The nodes of a [`HoleTree`](super::tree::HoleTree).
//!
//! A leaf's entries are holes, an inner node's entries are summaries of the nodes below. Both look alike, so that one
//! code splits, joins and summarises at every level.

use super::hole::Hole;

/// How many entries a node can have.
pub(super) const FAN_OUT: usize = 32;
/// How few entries a node has, unless it is the root.
pub(super) const FILL_MIN: usize = FAN_OUT / 2;

/// A node's place in the tree's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u32);

impl NodeId {
    /// What is below a hole: no node.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// A hole, or all holes of the node below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where the hole begins, or the lowest of them.
    pub(super) start: u64,
    /// The pages of the hole, or of the longest of them.
    pub(super) longest: u64,
    /// The node below.
    pub(super) below: NodeId,
    /// [`Hole::order`], or the largest of them.
    pub(super) order: u8,
}

impl Entry {
    const UNUSED: Self = Self { start: 0, longest: 0, below: NodeId::NONE, order: 0 };

    /// The hole that this is. Only for the entries of leaves.
    pub(super) const fn hole(self) -> Hole {
        Hole { start: self.start, end: self.start + self.longest }
    }
}

impl From<Hole> for Entry {
    fn from(hole: Hole) -> Self {
        Self { start: hole.start, longest: hole.pages(), below: NodeId::NONE, order: hole.order() }
    }
}

/// What a hole is searched for. An inner entry has it exactly if a hole below has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// At least as many pages.
    Pages(u64),
    /// A naturally aligned block of this order.
    Block(u8),
}

impl Wish {
    const fn is_met_by(self, entry: &Entry) -> bool {
        match self {
            Self::Pages(pages) => entry.longest >= pages,
            Self::Block(order) => entry.order >= order,
        }
    }
}

/// Up to [`FAN_OUT`] entries, ascending.
#[derive(Clone, Debug)]
pub(super) struct Node {
    len: usize,
    entries: [Entry; FAN_OUT],
}

impl Node {
    /// A node without entries.
    pub(super) const EMPTY: Self = Self { len: 0, entries: [Entry::UNUSED; FAN_OUT] };

    /// A node that is not in use, and the next such node.
    pub(super) fn spare(next: NodeId) -> Self {
        let mut node = Self::EMPTY;
        node.entries[0].below = next;
        node
    }

    /// The next node that is not in use.
    pub(super) const fn next_spare(&self) -> NodeId {
        self.entries[0].below
    }

    /// Its entries.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries[..self.len]
    }

    /// The entry at a slot, if there are that many.
    pub(super) fn get(&self, slot: usize) -> Option<&Entry> {
        self.entries().get(slot)
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len == FAN_OUT
    }

    pub(super) const fn is_too_empty(&self) -> bool {
        self.len < FILL_MIN
    }

    /// Puts an entry in the place of another one.
    pub(super) fn set(&mut self, slot: usize, entry: Entry) {
        self.entries[..self.len][slot] = entry;
    }

    /// Puts an entry before that at `slot`. The node must not be full.
    pub(super) fn insert(&mut self, slot: usize, entry: Entry) {
        self.entries.copy_within(slot..self.len, slot + 1);
        self.entries[slot] = entry;
        self.len += 1;
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, slot: usize) {
        self.entries.copy_within(slot + 1..self.len, slot);
        self.len -= 1;
    }

    /// Takes out all entries from `slot` on, as a node of their own.
    pub(super) fn split_off(&mut self, slot: usize) -> Self {
        let mut high = Self::EMPTY;
        high.append(&self.entries()[slot..]);
        self.len = slot;
        high
    }

    /// Adds entries behind its own. There must be room.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let end = self.len + entries.len();
        self.entries[self.len..end].copy_from_slice(entries);
        self.len = end;
    }

    /// The last slot whose entry begins at or before `index`.
    pub(super) fn slot_before(&self, index: u64) -> Option<usize> {
        self.entries().partition_point(|entry| entry.start <= index).checked_sub(1)
    }

    /// The first slot from `from` on whose entry meets the wish.
    pub(super) fn slot_with(&self, from: usize, wish: Wish) -> Option<usize> {
        let found = self.entries().get(from..)?.iter().position(|entry| wish.is_met_by(entry))?;
        Some(from + found)
    }

    /// All its entries as one of the node above, where this is node `id`. It must not be empty.
    pub(super) fn summary(&self, id: NodeId) -> Entry {
        let mut sum = Entry { below: id, ..self.entries[0] };
        for entry in &self.entries()[1..] {
            sum.longest = sum.longest.max(entry.longest);
            sum.order = sum.order.max(entry.order);
        }
        sum
    }
}
