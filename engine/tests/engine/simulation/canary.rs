//! Kernels that lie as an engine with a bug would: the simulation has to find each.

use std::{cell::Cell, rc::Rc};

use super::{Failure, RUN_STEPS, play};

/// A lie, equal to a bug of the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// An unmap is not made: as if it had been forgotten.
    DropsAnUnmap,
    /// A map is a TCE too short.
    MapsOneTceLess,
    /// A map that failed is taken for one that did not.
    HidesAFailedMap,
    /// A mapping that went with a group is not made anew.
    LeavesAWipe,
}

/// A lie at one chance in so many, over all runs that share it.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    lie: Lie,
    one_in: u64,
    chances: Rc<Cell<u64>>,
}

impl Canary {
    fn new(lie: Lie, one_in: u64) -> Self {
        Self { lie, one_in, chances: Rc::default() }
    }

    /// Whether this call is one to lie about.
    pub(super) fn sings(&self, lie: Lie) -> bool {
        if self.lie != lie {
            return false;
        }
        self.chances.set(self.chances.get() + 1);
        self.chances.get().is_multiple_of(self.one_in)
    }
}

/// Steps within which each lie is found. The rarest is first told after some 88,000.
const FOUND_WITHIN: u64 = 200_000;

/// Steps until some run finds a lie.
fn steps_to_find(lie: Lie, one_in: u64) -> u64 {
    let canary = Canary::new(lie, one_in);
    let mut steps = 0;
    for seed in 1.. {
        match play("powernv9", seed, RUN_STEPS, Some(canary.clone())) {
            Ok(_) => steps += RUN_STEPS,
            Err(Failure { step, .. }) => return steps + step,
        }
        assert!(steps < FOUND_WITHIN, "{lie:?} was not found in {steps} steps");
    }
    steps
}

#[test]
fn a_canary_is_found() {
    let lies = [
        (Lie::DropsAnUnmap, 1000),
        (Lie::MapsOneTceLess, 1000),
        (Lie::HidesAFailedMap, 50),
        (Lie::LeavesAWipe, 50),
    ];
    for (lie, one_in) in lies {
        let steps = steps_to_find(lie, one_in);
        println!("{lie:?}, once in {one_in}, is found after {steps} steps");
    }
}
