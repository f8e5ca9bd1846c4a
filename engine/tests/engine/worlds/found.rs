//! Ways on which a rule was once broken.

use tce_sim::Operation as KernelCall;

use super::{
    APART,
    operation::{Group, Operation, Step, does, fails},
    world::walk,
};

/// Every rule holds in each world on a way.
fn holds(way: &[Step]) {
    for end in 0..=way.len() {
        let world = walk(&way[..end]);
        world.check();
        world.use_and_close();
    }
}

/// The same on a way that begins where two holders are at work apart.
fn holds_apart(way: &[Step]) {
    holds(&[&APART, way].concat());
}

#[test]
fn a_group_leaves_although_a_descriptor_of_it_does_not_close_well() {
    for nth in 1..=3 {
        holds_apart(&[fails(Operation::Part(Group::A), KernelCall::Close, nth)]);
    }
}

#[test]
fn what_others_have_mapped_survives_a_surrender_whose_descriptors_do_not_close_well() {
    for nth in 1..=3 {
        let part = fails(Operation::Part(Group::A), KernelCall::Close, nth);
        holds_apart(&[does(Operation::Unbind(Group::A)), part]);
    }
}

#[test]
fn a_request_that_was_read_is_not_lost_because_another_one_cannot_be_read() {
    holds_apart(&[
        does(Operation::Unbind(Group::A)),
        does(Operation::Unbind(Group::B)),
        fails(Operation::Surrender, KernelCall::ReadEvent, 2),
        does(Operation::Surrender),
    ]);
}
