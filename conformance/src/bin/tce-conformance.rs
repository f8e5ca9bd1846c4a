//! Stand-in for the command.
#![allow(missing_docs, clippy::unwrap_used)]
use tce_conformance::{real::look, run::{Event, Order, run}, subject::{Real, Simulated}, sequence};
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let look = look(&[]).unwrap();
    println!("{:?}", look);
    let mut simulated = Simulated::new(look.profile.clone(), look.seats.clone());
    let mut real = Real::new(look.seats.clone());
    let order = Order { seed: args[0], first: args[1], steps: args[2], length: usize::try_from(args[3]).unwrap() };
    let begun = std::time::Instant::now();
    let report = run(&order, &mut simulated, &mut real, |event| match event { Event::Played(report, _) => println!("{} sequences, {} steps, {} differences, {:?}", report.sequences, report.steps, report.found.len(), begun.elapsed()), Event::Differs(name, difference) => println!("!!! {name}: {difference}") }).unwrap();
    for (name, coverage) in &report.coverage { println!("{name:40} {:8} {:?}", coverage.succeeded, coverage.refused); }
    for found in &report.found {
        println!("--- {}", found.name);
        for (n, step) in found.sequence.steps.iter().enumerate() { println!("{:3} {step}", n + 1); }
        println!("{}", found.difference);
        let mut text = Vec::new(); sequence::write(&mut text, &found.sequence, &[]).unwrap();
    }
    std::process::exit(if report.found.is_empty() { 0 } else { 1 });
}
