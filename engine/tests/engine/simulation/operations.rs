//! What a step can do: everything that an engine offers, with arguments that are mostly right.

use tce_engine::{Engine, Error, lease::EndCause, machine::Machine};

use crate::dice::Dice;

use super::{
    kernel::WatchedKernel,
    run::{Run, assert_nothing_left},
};

mod batches;
mod devices;
mod groups;
mod growth;
mod guests;
mod leases;
mod memory;
mod policies;
mod terms;
mod windows;

/// An operation by name.
pub(super) type Named = (&'static str, fn(&mut Run) -> Result<(), Error>);

/// How often each comes, of the sum of all.
const OPERATIONS: [(u64, Named); 55] = [
    (2, ("attach", Run::attach)),
    (1, ("detach", Run::detach)),
    (2, ("part", Run::part)),
    (1, ("unbind", Run::unbind)),
    (1, ("rebind", Run::rebind)),
    (1, ("take requests", Run::take_requests)),
    (1, ("surrender", Run::surrender)),
    (1, ("open device", Run::open_device)),
    (1, ("quiesce", |run| run.engine.quiesce_devices())),
    (1, ("resume", |run| run.engine.resume_devices())),
    (1, ("reopen", Run::reopen)),
    (4, ("register", Run::register)),
    (4, ("start registration", Run::start_registration)),
    (5, ("advance", Run::advance)),
    (1, ("abandon registration", Run::abandon)),
    (2, ("unregister", Run::unregister)),
    (5, ("create windows", Run::create_windows)),
    (2, ("remove window", Run::remove_window)),
    (1, ("remove default window", Run::remove_default_window)),
    (10, ("lease", Run::lease)),
    (3, ("divide", Run::divide)),
    (1, ("renew", Run::renew)),
    (1, ("set quota", Run::set_quota)),
    (1, ("shrink", Run::shrink)),
    (1, ("end holder", Run::end_holder)),
    (2, ("extend", Run::extend)),
    (1, ("give up", Run::give_up)),
    (2, ("revoke", Run::revoke)),
    (1, ("expire", Run::expire)),
    (5, ("begin growth", Run::begin_growth)),
    (2, ("finish growth", Run::finish_growth)),
    (1, ("abandon growth", Run::abandon_growth)),
    (2, ("flush", Run::flush)),
    (2, ("flush due", Run::flush_due)),
    (1, ("flush all", Run::flush_all)),
    (20, ("apply", Run::apply)),
    (10, ("apply to a lease that grows", Run::apply_to_growing)),
    (10, ("apply to two windows", Run::apply_to_two)),
    (10, ("apply and put off", Run::apply_lazily)),
    (2, ("stale plan", Run::plan_only)),
    (2, ("link the guest", Run::link_guest)),
    (3, ("lease and lend", Run::lease_and_lend)),
    (3, ("lend", Run::lend)),
    (2, ("take back", Run::take_back)),
    (2, ("part from the guest", Run::part_from_guest)),
    (8, ("guest", Run::run_guest)),
    (2, ("drive", Run::drive)),
    (3, ("transfer", Run::transfer)),
    (1, ("reset devices", Run::reset_devices)),
    (2, ("freeze", Run::freeze)),
    (2, ("check frozen", Run::check_frozen)),
    (1, ("recover", Run::recover)),
    (2, ("believe a layout", Run::believe_a_layout)),
    (2, ("believe a lease", Run::believe_a_lease)),
    (2, ("believe terms", Run::believe_terms)),
];

/// What is done more often while a guest has leases.
const WITH_GUEST: [Named; 8] = [
    ("lease and lend", Run::lease_and_lend),
    ("lend", Run::lend),
    ("attach", Run::attach),
    ("part from the guest", Run::part_from_guest),
    ("part from the guest", Run::part_from_guest),
    ("guest", Run::run_guest),
    ("guest", Run::run_guest),
    ("guest", Run::run_guest),
];

/// What little can be done without.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub(super) backend: bool,
    /// A device that the host has taken back.
    pub(super) device: bool,
    pub(super) windows: bool,
    pub(super) memory: bool,
    /// The link to the guest.
    pub(super) link: bool,
    /// What keeps a guest busy that has leases.
    pub(super) guest: bool,
    /// A PE that is frozen, or a recovery that has stopped.
    pub(super) recovery: bool,
}

/// An operation by chance; more often one that brings what is needed.
pub(super) fn choose(dice: &mut Dice, need: Need) -> Named {
    if need.device && dice.one_in(4) {
        return ("rebind", Run::rebind);
    }
    if need.recovery && dice.one_in(8) {
        return if dice.one_in(4) { ("freeze", Run::freeze) } else { ("recover", Run::recover) };
    }
    if need.backend && !dice.one_in(8) {
        return ("attach", Run::attach);
    }
    if need.windows && dice.one_in(4) {
        return ("create windows", Run::create_windows);
    }
    if need.memory && dice.one_in(4) {
        return ("register", Run::register);
    }
    if need.link && dice.one_in(12) {
        return ("link the guest", Run::link_guest);
    }
    if need.guest && dice.one_in(4) {
        return dice.pick(&WITH_GUEST).expect("there are some");
    }
    let mut left = dice.roll(OPERATIONS.iter().map(|(weight, _)| weight).sum());
    for (weight, named) in OPERATIONS {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return named,
        }
    }
    unreachable!("less than the sum is in one of them")
}

impl Run {
    /// Ends the engine, in order or not, and starts another. Handles are the new engine's from here on.
    fn reopen(&mut self) -> Result<(), Error> {
        if !self.dice.one_in(3) {
            return Ok(());
        }
        let kernel = WatchedKernel::new(self.machine.kernel(), self.watch.clone());
        let next = Engine::open(kernel)?;
        let old = std::mem::replace(&mut self.engine, next);
        let (leaked, kept) = (old.leaked().raw(), self.watch.borrow().kept());
        let closed = if self.dice.one_in(2) {
            self.close(old)
        } else {
            self.leaked_before += leaked;
            drop(old);
            Ok(())
        };
        if closed.is_err() {
            // What it has noted on the way is gone with it.
            self.leaked_before += leaked + self.watch.borrow().kept() - kept;
        }
        self.forget_handles();
        assert_nothing_left(&self.machine, &self.watch.borrow());
        let others = usize::from(self.guest.vm.is_some());
        assert_eq!(self.machine.descriptors().len(), 1 + others, "the new container");
        closed
    }

    /// In order: every lease that was there ends, and is told of.
    fn close(&mut self, engine: Engine<WatchedKernel>) -> Result<(), Error> {
        self.begin_quiet();
        let closed = engine.close()?;
        self.leaked_before += closed.leaked.raw();
        for event in closed.events {
            let Some(told) = event.end() else { continue };
            let is_live = self.model.parts_of(event.lease).next().is_some();
            let cause = self.ending.get(&event.lease).copied();
            let cause = cause.unwrap_or_else(|| match self.model.parents.get(&event.lease) {
                Some(parent) => EndCause::ParentEnded(*parent),
                None => EndCause::Revoked,
            });
            assert!(self.ended.remove(&event.lease).is_some() || is_live, "{}", event.lease);
            assert_eq!(told, cause);
            self.model.forget(event.lease);
        }
        assert!(self.ended.is_empty() && self.model.parts.is_empty(), "ends are told");
        Ok(())
    }

    fn forget_handles(&mut self) {
        self.model.parts.clear();
        self.model.paces.clear();
        self.model.parents.clear();
        self.users.clear();
        self.registrations.clear();
        self.windows.clear();
        self.leases.clear();
        self.regions.clear();
        self.ended.clear();
        self.ending.clear();
        self.news.clear();
        self.lost.clear();
        self.told_ends.clear();
        self.charges_seen = 0;
        self.guest.lent.clear();
        self.guest.is_certain = true;
        self.marks.clear();
        self.is_frozen_told = false;
        self.revived = self.watch.borrow().revived;
    }
}
