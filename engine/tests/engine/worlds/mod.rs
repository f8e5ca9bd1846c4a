//! Exhaustive small worlds: every sequence of operations on two groups, two windows and two holders, to a depth.
//!
//! The search is breadth first, from a few beginnings. A world is reached by making its operations on a fresh machine;
//! worlds in which an observer can tell no difference count as one (`view`). In each world every operation is tried,
//! without a failure and with each of its kernel calls failing; on one way no more than [`FAILURES_MAX`] fail. In each
//! world `check` says what must hold, and it is used and closed once.
//!
//! There are two searches: one without a guest, and one with a guest of KVM's, which sets TCEs by itself, with operations of
//! its own (`Operation::of_guests`) and a smaller depth.
//!
//! `TCE_DEEPER` makes both searches so many steps deeper. A world that breaks a rule prints its way, one of the shortest there are, as `found`
//! takes it.
//!
//! Parts: `operation` (what can happen, and the one place to add to), `world` (a machine and its engine), `view` (what
//! tells worlds apart), `guest` (what the guest does), `check` (what must hold), `events` (what must be told), `search` (the order), `found` (ways on
//! which a rule was once broken).

mod check;
mod events;
mod found;
mod guest;
mod operation;
mod search;
mod view;
mod world;

pub(crate) use self::view::{Membership, membership};
use self::{
    operation::{At, Group, Holder, Operation, Step, does},
    search::{Search, Seen},
};

/// Steps on each way beyond its beginning.
const DEPTH: usize = 6;
/// The same with a guest.
const DEPTH_WITH_GUEST: usize = 4;
/// Kernel calls that fail on one way.
const FAILURES_MAX: u8 = 1;

/// Nothing is there.
const EMPTY: [Step; 0] = [];
/// Two groups, two windows, and a lease in each, in use.
const APART: [Step; 9] = [
    does(Operation::Attach(Group::A)),
    does(Operation::Attach(Group::B)),
    does(Operation::MakeWindow(At::Low)),
    does(Operation::MakeWindow(At::High)),
    does(Operation::Register),
    does(Operation::Lease(Holder::First, At::Low)),
    does(Operation::Lease(Holder::Second, At::High)),
    does(Operation::Map(Holder::First)),
    does(Operation::Map(Holder::Second)),
];
/// The same with one lease that is divided.
const DIVIDED: [Step; 8] = [
    does(Operation::Attach(Group::A)),
    does(Operation::Attach(Group::B)),
    does(Operation::MakeWindow(At::High)),
    does(Operation::Register),
    does(Operation::Lease(Holder::First, At::High)),
    does(Operation::Divide),
    does(Operation::Map(Holder::First)),
    does(Operation::Map(Holder::Second)),
];
/// A group, and all that a lease takes.
const READY: [Step; 4] = [
    does(Operation::Attach(Group::A)),
    does(Operation::MakeWindow(At::Low)),
    does(Operation::Register),
    does(Operation::Lease(Holder::First, At::Low)),
];
/// Two groups, two windows, and a lease in each, both lent, in use.
const LENT: [Step; 11] = [
    does(Operation::Attach(Group::A)),
    does(Operation::Attach(Group::B)),
    does(Operation::MakeWindow(At::Low)),
    does(Operation::MakeWindow(At::High)),
    does(Operation::Register),
    does(Operation::Lease(Holder::First, At::Low)),
    does(Operation::Lease(Holder::Second, At::High)),
    does(Operation::Lend(Holder::First)),
    does(Operation::Lend(Holder::Second)),
    does(Operation::GuestPuts(Holder::First)),
    does(Operation::GuestPuts(Holder::Second)),
];

#[test]
fn no_way_through_a_small_world_breaks_a_rule() {
    search(Operation::all(), &[&EMPTY, &APART, &DIVIDED], DEPTH);
}

#[test]
fn no_way_through_a_small_world_with_a_guest_breaks_a_rule() {
    search(Operation::of_guests(), &[&READY, &LENT], DEPTH_WITH_GUEST);
}

fn search(operations: Vec<Operation>, beginnings: &[&[Step]], depth: usize) {
    let deeper = std::env::var("TCE_DEEPER").ok();
    let deeper = deeper.map_or(0, |steps| steps.parse().expect("TCE_DEEPER is a number of steps"));
    let search = Search::new(operations, beginnings.iter().copied(), depth + deeper);
    let Seen { worlds, transitions, depth } = search.run();
    println!("{worlds} worlds, {transitions} transitions, to a depth of {depth}");
}
