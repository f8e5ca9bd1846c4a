//! What tests may see of a tree.

use super::{
    super::node::{Entry, FILL_MIN},
    Hole, HoleTree, NodeId,
};

impl HoleTree {
    /// All holes, after a look at every node.
    pub(in super::super) fn checked(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let nodes = self.check_below(self.root, self.levels, &mut holes);
        assert_eq!(
            nodes + self.nodes.spares(),
            self.nodes.nodes(),
            "no node is lost or used twice"
        );
        assert_eq!(holes.len(), self.holes);
        for pair in holes.windows(2) {
            assert!(pair[0].end < pair[1].start, "{pair:?} overlap or touch");
        }
        holes
    }

    /// How many levels it has.
    pub(in super::super) fn levels(&self) -> usize {
        self.levels
    }

    /// How many nodes have been looked at since the last call.
    pub(in super::super) fn take_visits(&self) -> usize {
        self.visits.take()
    }

    fn check_below(&self, id: NodeId, levels: usize, holes: &mut Vec<Hole>) -> usize {
        let node = self.node(id);
        let is_root = id == self.root;
        assert!(is_root || node.entries().len() >= FILL_MIN, "a node is too empty");
        assert!(!is_root || levels == 1 || node.entries().len() >= 2, "a root is of no use");
        if levels == 1 {
            for entry in node.entries() {
                assert_eq!(*entry, Entry::from(entry.hole()));
                holes.push(entry.hole());
            }
            return 1;
        }
        let mut nodes = 1;
        for entry in node.entries() {
            assert_eq!(*entry, self.node(entry.below).summary(entry.below), "a stale summary");
            nodes += self.check_below(entry.below, levels - 1, holes);
        }
        nodes
    }
}
