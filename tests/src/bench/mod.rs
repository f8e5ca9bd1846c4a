//! The engine beside other ways to do the same work: exact kernel calls, time per TCE, and ratios from one run.
//!
//! A *load* ([`load`]) is what shall be mapped, replaced and unmapped. A *contender* ([`contender`]) does it in a window
//! of its own: this engine, the fewest calls that do it made bare, and other programs as [`crate::peers`] has them. The
//! same code runs on the simulated machine (`cargo xtask bench engine`) and on a real kernel (`tce-lab bench`).

pub mod contender;
pub mod load;
mod measure;
mod minimal;
mod report;

use anyhow::Result;
use tce_engine::machine::Machine;

pub use self::{
    measure::{Figures, Scale, Seen, Times, measure},
    minimal::minimal,
    report::{float, grouped, heading, rows},
};

/// Does all loads and prints a table of each as soon as there is one.
///
/// # Errors
/// If something fails, or somebody makes other calls than it has to.
pub fn run<M>(machine: &mut M, name: &str, scale: Scale) -> Result<()>
where
    M: Machine,
    M::Kernel: 'static,
{
    println!("{}", heading(name, scale));
    for load in &load::LOADS {
        let figures = measure(machine, load, scale, &mut |_, _| {})?;
        println!("{}", rows(load, scale, &figures));
    }
    Ok(())
}
