//! The engine beside other ways to do the same work, on the simulated kernel: kernel calls, which are exact, and time.
//!
//! `cargo bench -p tce-tests --bench engine`; behind `--` may come `--quick`, only to see that it works. The simulated
//! kernel's calls cost much less than real ones, so the ratios to the bare calls are the worst there can be; `tce-lab
//! bench` measures them on a real kernel. Tables and planner alone are the benchmark `table` of tce-engine.

#![forbid(unsafe_code)]

mod traces;

use anyhow::Result;
use tce_sim::{Profile, SimMachine};
use tce_tests::bench::{self, Scale};

const FULL: Scale = Scale { tces: 1 << 20, rounds: 5 };
const QUICK: Scale = Scale { tces: 1 << 12, rounds: 3 };

fn main() -> Result<()> {
    // Cargo passes flags of its own, which mean nothing here.
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if is_quick { QUICK } else { FULL };
    let mut machine = SimMachine::new(Profile::powernv9());
    bench::run(&mut machine, "on the simulated powernv9", scale)?;
    traces::compare()
}
