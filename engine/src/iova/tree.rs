//! All holes of an allocator, ordered by where they begin: a B+ tree in which each node knows the longest hole and the
//! largest aligned block below it.
//!
//! Nodes name each other by number, so that there is nothing to free one by one, and the bytes can be counted.

#[cfg(test)]
mod check;

#[cfg(test)]
use std::cell::Cell;

use super::{
    hole::Hole,
    node::{Entry, FAN_OUT, Node, NodeId, Wish},
    store::NodeStore,
};

/// How high a tree can be. A root has two nodes below at least, any other node [`FILL_MIN`](super::node::FILL_MIN),
/// which is 16: a tree of 8 levels has 2^29 holes or more.
const LEVELS_MAX: usize = 8;

/// One node on the way down, and which of its entries the way takes.
#[derive(Clone, Copy, Debug)]
struct Step {
    node: NodeId,
    slot: usize,
}

/// The way from the root to a hole. Dead once the tree changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    steps: [Step; LEVELS_MAX],
    hole: Hole,
}

impl Path {
    /// The hole it leads to.
    pub(super) const fn hole(&self) -> Hole {
        self.hole
    }
}

/// The holes. They never overlap or touch each other; that is the caller's part.
#[derive(Debug)]
pub(super) struct HoleTree {
    nodes: NodeStore,
    root: NodeId,
    /// How many nodes a way from the root to a hole passes.
    levels: usize,
    holes: usize,
    #[cfg(test)]
    visits: Cell<usize>,
}

impl HoleTree {
    /// A tree without holes.
    pub(super) fn new() -> Self {
        let mut nodes = NodeStore::new();
        let root = nodes.add(Node::EMPTY);
        Self {
            nodes,
            root,
            levels: 1,
            holes: 0,
            #[cfg(test)]
            visits: Cell::new(0),
        }
    }

    /// How many holes there are.
    pub(super) const fn holes(&self) -> usize {
        self.holes
    }

    /// The pages of the longest hole; 0 if there is none.
    pub(super) fn longest(&self) -> u64 {
        let entries = self.node(self.root).entries();
        entries.iter().map(|entry| entry.longest).max().unwrap_or(0)
    }

    /// The bytes on the heap, used or kept for later.
    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes()
    }

    /// The lowest hole that meets a wish.
    pub(super) fn first(&self, wish: Wish) -> Option<Path> {
        let slot = self.node(self.root).slot_with(0, wish)?;
        self.descend(self.path_to_root(), 0, slot, |node| node.slot_with(0, wish))
    }

    /// The next hole behind this one that meets a wish.
    pub(super) fn next(&self, path: &Path, wish: Wish) -> Option<Path> {
        for level in (0..self.levels).rev() {
            let step = path.steps[level];
            if let Some(slot) = self.node(step.node).slot_with(step.slot + 1, wish) {
                return self.descend(*path, level, slot, |node| node.slot_with(0, wish));
            }
        }
        None
    }

    /// The last hole that begins at or before `index`.
    pub(super) fn last_from(&self, index: u64) -> Option<Path> {
        let slot = self.node(self.root).slot_before(index)?;
        self.descend(self.path_to_root(), 0, slot, |node| node.slot_before(index))
    }

    /// Puts another hole in the place of one. It must lie between the same neighbours.
    pub(super) fn replace(&mut self, path: &Path, hole: Hole) {
        let leaf = path.steps[self.levels - 1];
        self.node_mut(leaf.node).set(leaf.slot, hole.into());
        self.summarise(path, self.levels - 1);
    }

    /// Adds a hole behind that of a path, or before all others.
    pub(super) fn insert(&mut self, after: Option<Path>, hole: Hole) {
        self.holes += 1;
        let (path, mut slot) = match after {
            Some(path) => (path, path.steps[self.levels - 1].slot + 1),
            None => (self.path_to_start(), 0),
        };
        let mut entry = Entry::from(hole);
        for level in (0..self.levels).rev() {
            let id = path.steps[level].node;
            if !self.node(id).is_full() {
                self.node_mut(id).insert(slot, entry);
                self.summarise(&path, level);
                return;
            }
            let (low, high) = self.split(id, slot, entry);
            if level == 0 {
                self.grow(low, high);
                return;
            }
            let above = path.steps[level - 1];
            self.node_mut(above.node).set(above.slot, low);
            (slot, entry) = (above.slot + 1, high);
        }
    }

    /// Removes a hole.
    pub(super) fn remove(&mut self, path: &Path) {
        self.holes -= 1;
        let mut slot = path.steps[self.levels - 1].slot;
        for level in (0..self.levels).rev() {
            let id = path.steps[level].node;
            self.node_mut(id).remove(slot);
            if level == 0 {
                self.shrink();
                return;
            }
            if !self.node(id).is_too_empty() {
                self.summarise(path, level);
                return;
            }
            let above = path.steps[level - 1];
            let low = above.slot.saturating_sub(1);
            if !self.join(above.node, low) {
                self.summarise(path, level - 1);
                return;
            }
            slot = low + 1;
        }
    }

    /// Goes on from `slot` at `level` down to a hole; `choose` says through which entry of each node below.
    fn descend(
        &self,
        mut path: Path,
        level: usize,
        mut slot: usize,
        choose: impl Fn(&Node) -> Option<usize>,
    ) -> Option<Path> {
        let mut id = path.steps[level].node;
        for step in &mut path.steps[level..self.levels] {
            *step = Step { node: id, slot };
            let entry = *self.node(id).get(slot)?;
            if entry.below == NodeId::NONE {
                path.hole = entry.hole();
                break;
            }
            id = entry.below;
            slot = choose(self.node(id))?;
        }
        Some(path)
    }

    /// A way that has only begun.
    const fn path_to_root(&self) -> Path {
        let root = Step { node: self.root, slot: 0 };
        Path { steps: [root; LEVELS_MAX], hole: Hole { start: 0, end: 0 } }
    }

    /// The way to where a hole before all others would be.
    fn path_to_start(&self) -> Path {
        let path = self.path_to_root();
        self.descend(path, 0, 0, |_| Some(0)).unwrap_or(path)
    }

    /// Brings the summaries of the nodes on a way up to date, from the node at `level` on.
    fn summarise(&mut self, path: &Path, level: usize) {
        for level in (1..=level).rev() {
            let id = path.steps[level].node;
            let above = path.steps[level - 1];
            let summary = self.node(id).summary(id);
            if self.node(above.node).get(above.slot) == Some(&summary) {
                return;
            }
            self.node_mut(above.node).set(above.slot, summary);
        }
    }

    /// Splits a full node and adds an entry to the right half of the two. Returns their summaries.
    fn split(&mut self, id: NodeId, slot: usize, entry: Entry) -> (Entry, Entry) {
        let mut high = self.node_mut(id).split_off(FAN_OUT / 2);
        match slot.checked_sub(FAN_OUT / 2) {
            Some(slot) if slot > 0 => high.insert(slot, entry),
            _ => self.node_mut(id).insert(slot, entry),
        }
        let high_id = self.nodes.add(high);
        (self.node(id).summary(id), self.node(high_id).summary(high_id))
    }

    /// Joins the nodes below entries `low` and `low + 1` of a node, or shares their entries out if they are too many
    /// for one. Says whether they were joined: the entry `low + 1` must then be removed.
    fn join(&mut self, above: NodeId, low: usize) -> bool {
        let (low_id, high_id) = (self.below(above, low), self.below(above, low + 1));
        let moved = std::mem::replace(self.node_mut(high_id), Node::EMPTY);
        let sum = self.node(low_id).entries().len() + moved.entries().len();
        let is_joined = sum <= FAN_OUT;
        if is_joined {
            self.node_mut(low_id).append(moved.entries());
            self.nodes.remove(high_id);
        } else {
            let high = share_out(self.node_mut(low_id), &moved, sum / 2);
            let summary = high.summary(high_id);
            *self.node_mut(high_id) = high;
            self.node_mut(above).set(low + 1, summary);
        }
        let summary = self.node(low_id).summary(low_id);
        self.node_mut(above).set(low, summary);
        is_joined
    }

    /// Makes a root above the two halves of the old one.
    fn grow(&mut self, low: Entry, high: Entry) {
        let mut root = Node::EMPTY;
        root.append(&[low, high]);
        self.root = self.nodes.add(root);
        self.levels += 1;
        assert!(self.levels <= LEVELS_MAX, "holes are limited");
    }

    /// Makes the only node below the root the root.
    fn shrink(&mut self) {
        if let [only] = self.node(self.root).entries()
            && only.below != NodeId::NONE
        {
            let below = only.below;
            self.nodes.remove(self.root);
            self.root = below;
            self.levels -= 1;
        }
    }

    fn below(&self, id: NodeId, slot: usize) -> NodeId {
        self.node(id).entries()[slot].below
    }

    fn node(&self, id: NodeId) -> &Node {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        self.nodes.get(id)
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        self.nodes.get_mut(id)
    }
}

/// Leaves the lower `keep` of two nodes' entries in `low`, and returns the others.
fn share_out(low: &mut Node, high: &Node, keep: usize) -> Node {
    if let Some(missing) = keep.checked_sub(low.entries().len()) {
        let (first, rest) = high.entries().split_at(missing);
        low.append(first);
        let mut others = Node::EMPTY;
        others.append(rest);
        return others;
    }
    let mut others = low.split_off(keep);
    others.append(high.entries());
    others
}
