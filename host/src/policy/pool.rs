//! What decisions are made in: memories, tables and instances that are set aside once and used again, one place for
//! each decision that runs at the same time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::limits::{ITEMS_LARGE, MEMORIES_MAX, MEMORY_BYTES_LARGE, TABLE_ELEMENTS_MAX};

/// Decisions of a process that run at the same time; one more waits for the first that is made. Each takes 256 MiB of
/// address space, used or not.
pub(super) const PLACES: u32 = 16;

/// What is kept of a memory, or a table, from one decision to the next: it is made what it was at the start, and that is
/// less work than to have it back from the system page by page. A Rust guest starts with little more than the half.
const RESIDENT_BYTES: usize = 2 << 20;

/// What wasmtime itself needs for a component and for each of its instances, by their functions, globals and tables. A
/// component with an interpreter inside takes 400 KiB of it.
const COMPONENT_BYTES_MAX: usize = 8 << 20;

/// The places of an engine, so that there is always room for whatever has one.
#[derive(Clone)]
pub(super) struct Pool(Arc<Places>);

struct Places {
    free: Mutex<u32>,
    freed: Condvar,
}

/// A place for a decision. It has to outlive the store.
pub(super) struct Place<'a>(&'a Places);

impl Pool {
    /// A pool of so many places.
    pub(super) fn new(places: u32) -> Self {
        Self(Arc::new(Places { free: Mutex::new(places), freed: Condvar::new() }))
    }

    /// Waits for a place. Decisions do not wait for each other in any other way, and each ends within its time.
    pub(super) fn place(&self) -> Place<'_> {
        let Places { free, freed } = &*self.0;
        let free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        Place(&self.0)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// How wasmtime sets so many places aside: in each, what a component with the largest limits may have.
pub(super) fn strategy(places: u32) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(places)
        .total_core_instances(places * ITEMS_LARGE)
        .total_tables(places * ITEMS_LARGE)
        .total_memories(places * MEMORIES_MAX)
        .max_core_instances_per_component(ITEMS_LARGE)
        .max_tables_per_component(ITEMS_LARGE)
        .max_tables_per_module(ITEMS_LARGE)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memory_size(MEMORY_BYTES_LARGE)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_core_instance_size(COMPONENT_BYTES_MAX)
        .max_component_instance_size(COMPONENT_BYTES_MAX)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES)
        // Only what a decision has written is zeroed, where the kernel tells what that is (PAGEMAP_SCAN, Linux 6.7).
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}
