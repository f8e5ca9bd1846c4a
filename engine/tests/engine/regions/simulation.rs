//! Random registrations over random faults: after each step the kernel has what the engine knows, and no more.
//!
//! `TCE_SEED` replays one seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tce_engine::{
    Error,
    addr::{Bytes, HostAddr},
    errno::Errno,
    kernel::MemoryRange,
    machine::Backing,
    region::{BackedPart, RegionId, RegionRequest, Registration},
};
use tce_sim::{Fault, Operation};

use crate::dice::Dice;

use super::bench::{M2, MEMORY, MemoryBench, PROFILES};

const STEPS: u64 = 1200;
const SEEDS: u64 = 4;
const FAULTY: [Operation; 5] = [
    Operation::Register,
    Operation::Unregister,
    Operation::Unregister,
    Operation::LockedMemory,
    Operation::Map,
];
/// Blocks of 4 MiB, in a row, every other one of huge pages.
const BLOCKS: u64 = 4;
const BLOCK: u64 = 4 << 20;

struct Run {
    dice: Dice,
    bench: MemoryBench,
    registrations: Vec<Registration>,
    /// Every handle there ever was.
    regions: Vec<RegionId>,
    done: u64,
}

impl Run {
    fn new(name: &str, seed: u64) -> Self {
        let mut bench = MemoryBench::named(name);
        for block in 0..BLOCKS {
            let backing = if block % 2 == 0 { Backing::Anonymous } else { Backing::Hugetlb(M2) };
            bench.place(MEMORY + block * BLOCK, Bytes::new(BLOCK), backing);
        }
        Self {
            dice: Dice::new(seed),
            bench,
            registrations: Vec::new(),
            regions: Vec::new(),
            done: 0,
        }
    }

    fn step(&mut self) {
        if self.dice.roll(6) == 0 {
            self.order_fault();
        }
        let calls = self.calls();
        match self.operate() {
            Ok(()) => self.done += 1,
            Err(Error::Region(refusal)) => assert_eq!(self.calls(), calls, "{refusal}"),
            Err(Error::Edit(_) | Error::Fault(_) | Error::Registration(_) | Error::Batch(_)) => {}
            Err(other) => panic!("{other}"),
        }
        self.bench.assert_agreement();
    }

    fn calls(&self) -> u64 {
        self.bench.machine.all_calls() - self.bench.machine.calls(Operation::LockedMemory)
    }

    fn order_fault(&mut self) {
        let operation = FAULTY[self.dice.index(FAULTY.len()).expect("there are some")];
        let fault = match (operation, self.dice.roll(3)) {
            (Operation::Register, 0) => Fault::Value(7),
            _ => Fault::Errno(Errno::ENOMEM),
        };
        // An undoing that fails as well would be a quarantine, which is another test's.
        if operation != Operation::Map || self.bench.machine.faults_waiting() == 0 {
            self.bench.machine.fail_nth(operation, 1 + self.dice.roll(3), fault);
        }
    }

    fn operate(&mut self) -> Result<(), Error> {
        match self.dice.roll(16) {
            0..3 => {
                let request = self.request();
                self.regions.push(self.bench.engine.register_memory(&request)?);
                Ok(())
            }
            3..5 => {
                let request = self.request();
                let registration = self.bench.engine.start_registration(&request)?;
                self.regions.push(registration.region());
                self.registrations.push(registration);
                Ok(())
            }
            5..10 => {
                let Some(at) = self.dice.index(self.registrations.len()) else { return Ok(()) };
                self.bench.engine.advance(&mut self.registrations[at]).map(|_| ())
            }
            10 => {
                let Some(at) = self.dice.index(self.registrations.len()) else { return Ok(()) };
                self.bench.engine.abandon(self.registrations.swap_remove(at))
            }
            11 => {
                self.bench.unmap_all();
                Ok(())
            }
            12..14 => self.map(),
            _ => {
                let Some(at) = self.dice.index(self.regions.len()) else { return Ok(()) };
                self.bench.engine.unregister(self.regions[at])
            }
        }
    }

    /// Some of the memory, in chunks or not: few ranges, so that they meet again. The last block with another behind it
    /// is more than there is: the kernel pins a part and says how much.
    fn request(&mut self) -> RegionRequest {
        let system_page = self.bench.system_page();
        let (first, blocks) = (self.dice.roll(BLOCKS), 1 + self.dice.roll(2));
        let part = |block: u64| BackedPart {
            size: Bytes::new(BLOCK),
            page: if block.is_multiple_of(2) { system_page } else { M2 },
        };
        let address = HostAddr::new(MEMORY + first * BLOCK);
        let request = if self.dice.roll(4) == 0 {
            let size = Bytes::new(BLOCK * blocks / 2);
            RegionRequest::uniform(MemoryRange { address, size }, part(first).page)
        } else {
            RegionRequest::mixed(address, (first..first + blocks).map(part).collect())
        };
        match self.dice.roll(3) {
            0 => request,
            chunk => request.in_chunks(Bytes::new(chunk << 20)),
        }
    }

    fn map(&mut self) -> Result<(), Error> {
        let Some(at) = self.dice.index(self.regions.len()) else { return Ok(()) };
        let offset = Bytes::new(self.dice.roll((2 * BLOCK) >> 16) << 16);
        let (index, pages) = (self.dice.roll(64), 1 + self.dice.roll(32));
        self.bench.map(index, self.regions[at], offset, Bytes::new(pages << 12))
    }
}

fn simulate(name: &str, seed: u64) {
    let mut run = Run::new(name, seed);
    for step in 0..STEPS {
        let told = catch_unwind(AssertUnwindSafe(|| run.step()));
        if let Err(panic) = told {
            eprintln!("{name}, step {step}: replay with TCE_SEED={seed}");
            resume_unwind(panic);
        }
    }
    assert!(run.done > STEPS / 4, "{name}, seed {seed}: {} of {STEPS}", run.done);
    let Run { bench, .. } = run;
    drop(bench.engine);
    assert!(bench.machine.regions().is_empty());
    assert_eq!(bench.machine.locked(), Bytes::ZERO);
}

#[test]
fn random_registrations_under_random_faults_leave_nothing_that_is_not_known() {
    let seed = std::env::var("TCE_SEED").ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = seed.map_or(1..SEEDS + 1, |seed| seed..seed + 1);
    for seed in seeds {
        for name in PROFILES {
            simulate(name, seed);
        }
    }
}
