//! Where nodes lie: in chunks, so that growing never moves what is there, and no operation waits for it.

use super::node::{Node, NodeId};

/// Nodes of a chunk.
const CHUNK: usize = 64;

/// Nodes by number. Those taken out are used again.
#[derive(Debug)]
pub(super) struct NodeStore {
    /// All full but the last.
    chunks: Vec<Vec<Node>>,
    /// The first of a list of nodes that are not in use.
    spare: NodeId,
}

impl NodeStore {
    /// A store without nodes.
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), spare: NodeId::NONE }
    }

    /// Puts a node in.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        if self.spare != NodeId::NONE {
            let id = self.spare;
            self.spare = self.get(id).next_spare();
            *self.get_mut(id) = node;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::new());
        }
        let number = self.nodes();
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(node);
        }
        NodeId(u32::try_from(number).expect("there are fewer nodes than holes"))
    }

    /// Takes a node out. Nothing must name it any more.
    pub(super) fn remove(&mut self, id: NodeId) {
        *self.get_mut(id) = Node::spare(self.spare);
        self.spare = id;
    }

    pub(super) fn get(&self, id: NodeId) -> &Node {
        let place = place(id);
        &self.chunks[place / CHUNK][place % CHUNK]
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut Node {
        let place = place(id);
        &mut self.chunks[place / CHUNK][place % CHUNK]
    }

    /// How many nodes there are, in use or spare.
    pub(super) fn nodes(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * CHUNK + last
    }

    /// The bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let nodes: usize = self.chunks.iter().map(Vec::capacity).sum();
        nodes * size_of::<Node>() + self.chunks.capacity() * size_of::<Vec<Node>>()
    }

    /// How many nodes are spare.
    #[cfg(test)]
    pub(super) fn spares(&self) -> usize {
        let next = |id: &NodeId| Some(self.get(*id).next_spare()).filter(|id| *id != NodeId::NONE);
        std::iter::successors(Some(self.spare).filter(|id| *id != NodeId::NONE), next).count()
    }
}

fn place(id: NodeId) -> usize {
    usize::try_from(id.0).expect("32 bits are an index")
}
