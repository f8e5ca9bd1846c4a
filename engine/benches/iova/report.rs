//! The table.

use std::time::Duration;

use crate::loads::Load;

/// One design under one load.
pub(crate) struct Row {
    pub(crate) design: &'static str,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
    pub(crate) failures: u64,
    pub(crate) takes: u64,
    pub(crate) bytes: usize,
    pub(crate) pieces: u64,
    pub(crate) operations: u64,
}

pub(crate) fn explain() {
    println!(
        "ns per operation (a take or a give-back, with the load's own work), in batches of 64"
    );
    println!("x: times the tree's; failed: takes without room although as many pages were free");
    println!(
        "       (pools: small requests have three quarters of the window, large ones the rest)"
    );
    println!("bytes: per piece taken; estimates for all but the tree and the pools");
}

pub(crate) fn head(load: &Load, pages: u64) {
    println!("\n{}, {pages} pages: {}", load.name, load.what);
    println!(
        "{:<10} {:>10} {:>8} {:>10} {:>8} {:>11} {:>9} {:>8} {:>8} {:>10}",
        "design", "median", "x", "p99", "x", "worst", "failed", "%", "bytes", "operations"
    );
}

impl Row {
    pub(crate) fn print(&self, tree: &Self) {
        let ratio = |own: Duration, other: Duration| own.as_secs_f64() / other.as_secs_f64();
        println!(
            "{:<10} {:>10} {:>8.2} {:>10} {:>8.2} {:>11} {:>9} {:>8.2} {:>8} {:>10}",
            self.design,
            self.median.as_nanos(),
            ratio(self.median, tree.median),
            self.p99.as_nanos(),
            ratio(self.p99, tree.p99),
            self.worst.as_nanos(),
            self.failures,
            per_cent(self.failures, self.takes),
            u64::try_from(self.bytes).unwrap() / self.pieces.max(1),
            self.operations,
        );
    }
}

/// A share in per cent. Counts here are far below 2^32.
fn per_cent(part: u64, whole: u64) -> f64 {
    let number = |count: u64| u32::try_from(count).map_or(f64::NAN, f64::from);
    number(part) * 100.0 / number(whole.max(1))
}
