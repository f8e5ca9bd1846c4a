//! Breadth first over all worlds.

use std::collections::HashMap;

use tce_sim::Operation as KernelCall;

use super::{
    FAILURES_MAX,
    operation::{Group, Operation, Step, does, fails},
    view::View,
    world::{World, walk},
};

/// A world, by the way to it.
struct Node {
    /// The world that the last step was made in; `None` at a beginning.
    before: Option<(usize, Step)>,
    beginning: usize,
    failures: u8,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Worlds that differ.
    pub(super) worlds: usize,
    /// Steps that were made in them.
    pub(super) transitions: u64,
    /// Steps from a beginning to the furthest.
    pub(super) depth: usize,
}

pub(super) struct Search<'a> {
    operations: Vec<Operation>,
    beginnings: Vec<&'a [Step]>,
    depth: usize,
    nodes: Vec<Node>,
    /// With the fewest failures on a way to it.
    known: HashMap<View, u8>,
    transitions: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        operations: Vec<Operation>,
        beginnings: impl IntoIterator<Item = &'a [Step]>,
        depth: usize,
    ) -> Self {
        let beginnings = beginnings.into_iter().collect();
        Self {
            operations,
            beginnings,
            depth,
            nodes: Vec::new(),
            known: HashMap::new(),
            transitions: 0,
        }
    }

    pub(super) fn run(mut self) -> Seen {
        for beginning in 0..self.beginnings.len() {
            let world = walk(self.beginnings[beginning]);
            self.note(Node { before: None, beginning, failures: 0 }, world);
        }
        let (mut from, mut depth) = (0, 0);
        while depth < self.depth && from < self.nodes.len() {
            let until = self.nodes.len();
            // Without a failure first: what is reached so may fail later.
            let failing: Vec<(usize, Step)> =
                (from..until).flat_map(|it| self.expand(it)).collect();
            for (node, step) in failing {
                let mut world = walk(&self.way(node));
                self.step(&mut world, step);
                self.reached(node, step, world);
            }
            (from, depth) = (until, depth + 1);
            println!(
                "depth {depth}: {} worlds, {} transitions",
                self.known.len(),
                self.transitions
            );
        }
        Seen { worlds: self.known.len(), transitions: self.transitions, depth }
    }

    /// Tries every operation in a world, and tells the same with each of its calls failing. In a world that an
    /// operation leaves as it was, without a call, the next one is tried.
    fn expand(&mut self, node: usize) -> Vec<(usize, Step)> {
        let way = self.way(node);
        let mut world = walk(&way);
        let origin = world.view();
        let is_wanted = Group::ALL.into_iter().any(|group| world.wanted(group).is_wanted);
        let mut failing = Vec::new();
        for operation in self.operations.clone() {
            let before = calls_of(&world);
            self.step(&mut world, does(operation));
            let after = calls_of(&world);
            if before == after && world.view() == origin {
                world.forget_step();
                continue;
            }
            if self.nodes[node].failures < FAILURES_MAX {
                let calls = KernelCall::ALL.into_iter().zip(before.into_iter().zip(after));
                let calls = calls.filter(|(call, _)| can_fail(*call, is_wanted));
                for (call, (before, after)) in calls {
                    let times = 1..=after - before;
                    failing.extend(times.map(|nth| (node, fails(operation, call, nth))));
                }
            }
            self.reached(node, does(operation), world);
            world = walk(&way);
        }
        failing
    }

    fn step(&mut self, world: &mut World, step: Step) {
        self.transitions += 1;
        world.step(step);
    }

    fn reached(&mut self, before: usize, step: Step, world: World) {
        let Node { beginning, failures, .. } = self.nodes[before];
        let failures = failures + u8::from(step.fails.is_some());
        self.note(Node { before: Some((before, step)), beginning, failures }, world);
    }

    fn note(&mut self, node: Node, world: World) {
        world.check();
        let view = world.view();
        let known = self.known.get(&view).copied();
        if known.is_none_or(|fewest| node.failures < fewest) {
            self.known.insert(view, node.failures);
            self.nodes.push(node);
        }
        if known.is_none() {
            world.use_and_close();
        }
    }

    fn way(&self, node: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = node;
        while let Some((before, step)) = self.nodes[at].before {
            steps.push(step);
            at = before;
        }
        let beginning = self.beginnings[self.nodes[node].beginning];
        beginning.iter().copied().chain(steps.into_iter().rev()).collect()
    }
}

/// Calls so far, by kind.
fn calls_of(world: &World) -> Vec<u64> {
    KernelCall::ALL.into_iter().map(|call| world.machine.calls(call)).collect()
}

/// A reading of the locked memory that fails costs a line in the books, no more; the simulation makes it fail. A group
/// that the host wants back is out of its container once its device is closed: the kernel answers `EINVAL` then, and
/// nothing else.
fn can_fail(call: KernelCall, is_wanted: bool) -> bool {
    match call {
        KernelCall::LockedMemory => false,
        KernelCall::UnsetContainer => !is_wanted,
        _ => true,
    }
}
