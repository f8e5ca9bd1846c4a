//! The table of what is mapped, beside other structures that could be it, and what planner and table cost together.
//!
//! `cargo bench -p tce-engine --bench table`; behind `--` may come `loads`, `runs`, `planner` or `apply` for that part alone, and
//! `--quick` only to see that it works. Times are medians over batches: what else the machine does shows little.

#![forbid(unsafe_code)]

mod apply;
mod candidate;
mod dense;
mod loads;
mod measure;
mod ordered_runs;
mod planner;

use tce_engine::{
    Engine,
    addr::{Bytes, PageShift},
    machine::{Backing, Machine as _, MemoryRequest},
    region::RegionId,
};
use tce_sim::{Profile, SimMachine};

use measure::Effort;

/// Measures and prints.
type Part = fn(RegionId, Effort);

/// The parts there are, by name.
const PARTS: [(&str, Part); 4] = [
    ("loads", loads::compare),
    ("runs", loads::compare_runs),
    ("planner", planner::measure),
    ("apply", |_, effort| apply::measure(effort)),
];

fn main() {
    // Cargo passes flags of its own, which mean nothing here.
    let wanted: Vec<String> = std::env::args().collect();
    let is_named = |part: &str| wanted.iter().any(|it| it == part);
    let is_any_named = PARTS.iter().any(|(part, _)| is_named(part));
    let effort = if is_named("--quick") { Effort::Quick } else { Effort::Full };
    let region = region();
    for (part, run) in PARTS {
        if !is_any_named || is_named(part) {
            run(region, effort);
        }
    }
}

/// The name of a region. What it is plays no part here; only an engine gives names.
fn region() -> RegionId {
    let mut machine = SimMachine::new(Profile::powernv9());
    let mut engine = Engine::open(machine.kernel()).expect("a fresh machine");
    engine.attach(machine.groups()[0]).expect("the group is free");
    let request =
        MemoryRequest { size: Bytes::kib(64), backing: Backing::Anonymous, align: PageShift::K64 };
    let memory = machine.allocate(&request).expect("there is memory");
    engine.register(memory, PageShift::K4).expect("it is memory of ours")
}
