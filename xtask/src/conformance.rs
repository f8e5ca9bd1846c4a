//! Random conformance in the lab: the simulated kernel against the real one, on several machines side by side.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::lab::fittings::Device;
use crate::lab::machine::Machine;
use crate::lab::{self, Ended, Order, Set, Show};
use crate::say;
use crate::setup::cache::Cache;
use crate::setup::kernel::{Pages, Release};
use crate::workspace::Workspace;

/// The machines whose simulated profiles are earned in each test run.
pub(crate) const SETS: [Set; 4] = [
    Set { machine: Machine::Powernv9, release: Release::V6_12, pages: Pages::P4k },
    Set { machine: Machine::Powernv9, release: Release::V6_12, pages: Pages::P64k },
    Set { machine: Machine::Powernv10, release: Release::V6_12, pages: Pages::P4k },
    Set { machine: Machine::Pseries, release: Release::V6_12, pages: Pages::P4k },
];

/// The others, in the full tier.
pub(crate) const SETS_FULL: [Set; 2] = [
    Set { machine: Machine::Powernv9, release: Release::V7_2, pages: Pages::P4k },
    Set { machine: Machine::Pseries, release: Release::V7_2, pages: Pages::P4k },
];

/// The seed and the steps of a test run.
pub(crate) const SEED: u64 = 1;
pub(crate) const STEPS: u64 = 10_000;

/// One sequence in so many opens devices, where many sequences are played: each costs an emulated host bridge seconds.
const DEVICES_ONE_IN: u64 = 12;
const DEVICES_ONE_IN_LONG: u64 = 64;
/// Operations from which on a run is a long one.
const LONG: u64 = 100_000;

/// Operations of one boot. What a kernel leaks stays leaked until it boots anew.
const STEPS_PER_BOOT: u64 = 25_000;
/// Operations of one sequence.
const LENGTH: u64 = 250;
/// What the machines are fitted with: two groups everywhere, and memory of every backing.
const GROUPS: usize = 2;
const MEMORY_MIB: u32 = 4096;
const GIANT_PAGES: u32 = 1;
/// A boot, and an operation on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const STEP_LIMIT: Duration = Duration::from_millis(60);
/// Where kernels warn when sequences do to them what these do: memory that leaked is found at a process's end, and KVM's
/// link is told to forget what it never had.
const TOLERATED: [&str; 4] =
    ["destroy_context", "tce_iommu_release", "kvm_vfio_set_attr", "kvm_vfio_release"];

/// What to compare.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Operations on each machine.
    pub(crate) steps: u64,
    pub(crate) sets: Vec<Set>,
    /// Whether what the kernels gave is kept, in the folders of what comes out of the lab.
    pub(crate) record: bool,
}

/// One boot of a plan.
struct Part {
    set: Set,
    first: u64,
    steps: u64,
}

/// The number of the first sequence. The powernv machines look alike to the generator, and shall be asked different things.
fn first_of(machine: Machine) -> u64 {
    match machine {
        Machine::Powernv9 | Machine::Pseries => 0,
        Machine::Powernv10 => 1_000_000,
    }
}

impl Plan {
    /// The boots, those of different machines side by side.
    fn parts(&self) -> Vec<Part> {
        let boots = self.steps.div_ceil(STEPS_PER_BOOT);
        let part = |boot: u64, set: Set| {
            let done = boot * STEPS_PER_BOOT;
            let first = first_of(set.machine) + done / LENGTH;
            Part { set, first, steps: STEPS_PER_BOOT.min(self.steps - done) }
        };
        (0..boots).flat_map(|boot| self.sets.iter().map(move |set| part(boot, *set))).collect()
    }

    fn order(&self, part: &Part) -> Order {
        let mut words = vec!["/bin/tce", "conformance", "random"];
        if part.first == first_of(part.set.machine) {
            // The named checks come first, in the first boot of each machine.
            words.splice(0..0, ["sh", "-c", "/bin/tce conformance && exec \"$@\"", "checks-and"]);
        }
        let numbers = [
            ("--seed", self.seed),
            ("--first", part.first),
            ("--steps", part.steps),
            ("--length", LENGTH),
            (
                "--devices-one-in",
                if self.steps < LONG { DEVICES_ONE_IN } else { DEVICES_ONE_IN_LONG },
            ),
        ];
        if self.record {
            words.extend(["--record", "/lab/out/recording.jsonl"]);
        }
        let mut command: Vec<String> = words.into_iter().map(str::to_owned).collect();
        command
            .extend(numbers.into_iter().flat_map(|(name, it)| [name.to_owned(), it.to_string()]));
        let steps = u32::try_from(part.steps).unwrap_or(u32::MAX);
        let limit = BOOT_LIMIT + STEP_LIMIT * steps;
        let mut order = Order::usual(part.set, command, limit, Show::Nothing);
        order.purpose = Some("conformance");
        order.tolerated = &TOLERATED;
        order.fittings.devices = vec![Device::Edu; GROUPS];
        order.fittings.memory_mib = MEMORY_MIB;
        order.fittings.giant_pages = GIANT_PAGES;
        if part.set.machine.is_powernv() {
            order.fittings.modules = vec!["kvm_hv".to_owned()];
        }
        order
    }
}

/// Compares all, as many machines at a time as there are processors, and says what came of each.
pub(crate) fn run(workspace: &Workspace, cache: &Cache, plan: &Plan) -> Result<()> {
    ensure!(plan.steps > 0, "no operations were asked for");
    let parts = plan.parts();
    let next = AtomicUsize::new(0);
    let bad = Mutex::new(Vec::new());
    let started = Instant::now();
    let work = || {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ended = lab::run_and_tell(workspace, cache, plan.order(part));
            if let Some(what) = tell(part, ended) {
                bad.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
            }
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..workers.min(plan.sets.len()) {
            scope.spawn(work);
        }
    });
    say::note(format!("conformance took {}", say::seconds(started.elapsed())));
    let bad = bad.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(bad.is_empty(), "{}", bad.join("; "));
    Ok(())
}

/// Shows what a boot came to; what is wrong with it, if anything.
fn tell(part: &Part, ended: Result<Ended>) -> Option<String> {
    let name = part.set.name();
    let repeat = format!("first sequence {}, {} operations", part.first, part.steps);
    match ended {
        Ok(Ended { code: 0, output, .. }) => {
            println!("{name}: {}", output.trim().lines().last().unwrap_or("nothing was said"));
            None
        }
        Ok(Ended { code, output, .. }) => {
            println!("{name}:\n{}", output.trim());
            Some(format!("{name} ({repeat}) ended with exit code {code}"))
        }
        Err(error) => Some(format!("{name} ({repeat}): {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: u64) -> Plan {
        Plan { seed: 7, steps, sets: SETS.to_vec(), record: false }
    }

    #[test]
    fn a_long_run_is_made_of_boots_that_go_on_where_the_one_before_ended() {
        let parts = plan(60_000).parts();
        assert_eq!(parts.len(), 3 * SETS.len());
        let of_first: Vec<_> = parts.iter().filter(|part| part.set == SETS[0]).collect();
        let shown: Vec<_> = of_first.iter().map(|part| (part.first, part.steps)).collect();
        assert_eq!(shown, [(0, 25_000), (100, 25_000), (200, 10_000)]);
    }

    #[test]
    fn a_guest_is_there_where_the_host_can_have_one() {
        let parts = plan(10).parts();
        let modules = |part: &Part| plan(10).order(part).fittings.modules;
        for part in &parts {
            assert_eq!(modules(part).is_empty(), part.set.machine == Machine::Pseries);
        }
    }
}
