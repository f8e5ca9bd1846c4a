//! Five designs of an allocator of bus addresses under loads that hurt some of them: time for each operation, requests
//! that failed although enough pages were free, and memory.
//!
//! - *tree*: this crate's, address-ordered first fit over a tree that knows its longest holes
//! - *first fit*: an ordered map of holes, searched from the bottom, as simple code does it
//! - *pools*: the design of Linux' `arch/powerpc/kernel/iommu.c`: a bitmap, four pools and one for large requests,
//!   each searched onwards from where the last request ended
//! - *cached*: the design of Linux' `drivers/iommu/iova.c`: an ordered tree of what is taken, searched downwards from
//!   the last place, and magazines of freed pieces for each small size
//! - *TLSF*: two-level segregated fit: lists of holes by size class, found by two bitmaps
//!
//! `--quick` takes some seconds and says less.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report to")]

mod cached;
mod design;
mod driver;
mod first_fit;
mod loads;
mod pools;
mod report;
mod tlsf;

use std::time::Duration;

use tce_engine::iova::IovaAllocator;

use crate::{
    cached::Cached,
    design::Design,
    driver::{Driver, Effort},
    first_fit::FirstFit,
    loads::{LOADS, Load},
    pools::Pools,
    report::Row,
    tlsf::Tlsf,
};

const QUICK: Effort = Effort { operations: 100_000, time: Duration::from_millis(50) };
const FULL: Effort = Effort { operations: 2_000_000, time: Duration::from_millis(1_000) };

fn main() {
    // Cargo passes flags of its own, which mean nothing here.
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (effort, sizes): (_, &[u64]) =
        if is_quick { (QUICK, &[1 << 18]) } else { (FULL, &[1 << 20, 1 << 24]) };
    report::explain();
    for (pages, load) in sizes.iter().flat_map(|pages| LOADS.iter().map(move |it| (*pages, it))) {
        if pages == sizes[0] || load.is_for_large_windows {
            compare(load, pages, effort);
        }
    }
}

fn compare(load: &Load, pages: u64, effort: Effort) {
    report::head(load, pages);
    let tree = measure::<IovaAllocator>(load, pages, effort);
    tree.print(&tree);
    measure::<FirstFit>(load, pages, effort).print(&tree);
    measure::<Pools>(load, pages, effort).print(&tree);
    measure::<Cached>(load, pages, effort).print(&tree);
    measure::<Tlsf>(load, pages, effort).print(&tree);
}

fn measure<D: Design>(load: &Load, pages: u64, effort: Effort) -> Row {
    let mut design = D::new(pages);
    let mut driver = Driver::new(&mut design, pages, effort);
    (load.run)(&mut driver);
    driver.finish(D::NAME)
}
