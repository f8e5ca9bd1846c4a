//! What is seen of the kernel's calls: what they were, what was wrong with them, and where the kernel has by now
//! something else than it said.
//!
//! Four things part the kernel from what it said, and all are accounted TCE by TCE and region by region: a map that
//! stopped silently (*stale* TCEs), an exchange that failed (the new page's region counts one too many, *excess*, and
//! the old TCE is *forgotten*), a region that leaked for such a reason, and a creation that failed and charges. The
//! engine cannot know the first two: it promises nothing about them but that it goes on, that the next call on such a
//! TCE makes it right, and that memory under it stays pinned, which is the kernel's doing.

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::{
    addr::{Bytes, Iova},
    errno::Errno,
    kernel::{ContainerFd, CreateCall, DeviceFd, MapCall, MemoryRange, Platform, Raw, UnmapCall},
};
use tce_sim::{Fault, Operation, SimMachine, TceView};

use super::{
    canary::{Canary, Lie},
    order::Followed,
    run::{BLOCK, BLOCKS, MEMORY},
};

/// A call that changes TCEs, as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) iova: Iova,
    pub(super) size: Bytes,
    /// Where a map points.
    pub(super) address: Option<u64>,
    pub(super) raw: Raw,
}

struct Ordered {
    operation: Operation,
    calls_left: u64,
    fault: Fault,
}

pub(super) struct Watch {
    pub(super) machine: SimMachine,
    platform: Platform,
    /// Where the newest map was made.
    container: Option<ContainerFd>,
    ordered: Vec<Ordered>,
    canary: Option<Canary>,
    /// Whether functions can be reset one by one.
    pub(super) has_reset: bool,
    /// Devices that are open.
    pub(super) devices: BTreeSet<DeviceFd>,
    /// What KVM was given.
    pub(super) followed: Followed,
    /// In this step, what is unmapped was taken back.
    pub(super) must_be_quiet: bool,
    /// A call on the link to the guest has failed in this step.
    pub(super) has_link_failed: bool,
    /// The states of PEs that the kernel has told in this step.
    pub(super) states_told: Vec<i32>,
    /// Faults that have met a call, in all.
    pub(super) fired: u64,
    /// Those of them that met a reading of the locked memory.
    pub(super) unread: u64,
    /// Windows that would not go.
    pub(super) failed_removals: u64,
    /// TCEs of the smallest window that the firmware has refused.
    refused_tces: Option<u64>,
    /// A group has left in this step, and the kernel has cleared every TCE of its container.
    pub(super) is_wiped: bool,
    /// The maps and unmaps of this step.
    pub(super) made: Vec<Made>,
    /// What the hardware has where a map has stopped silently, by bus address.
    pub(super) stale: BTreeMap<u64, Option<TceView>>,
    /// TCEs whose region the kernel has forgotten, with its start.
    pub(super) forgotten: BTreeMap<u64, u64>,
    /// By how much the kernel's counts of regions are too high, by start.
    excess: BTreeMap<u64, u64>,
    /// Regions, by start, that nobody owned any more. They come back to life, and leak again when they are given up.
    pub(super) leaked: BTreeSet<u64>,
    /// What failed creations have charged.
    pub(super) leaked_tables: u64,
    /// What each registration has charged, by start.
    charged: BTreeMap<u64, u64>,
    /// What of that was not given back by an unregistration that succeeded.
    kept_memory: u64,
    /// Registrations that found a region that had leaked: they charge nothing.
    pub(super) revived: u64,
    /// The first thing that was wrong. A kernel must not panic while it is dropped, so it is kept.
    finding: Option<String>,
}

impl Watch {
    pub(super) fn new(machine: SimMachine, has_reset: bool, canary: Option<Canary>) -> Self {
        let platform = machine.profile().platform;
        Self {
            machine,
            platform,
            canary,
            has_reset,
            devices: BTreeSet::new(),
            followed: Followed::default(),
            must_be_quiet: false,
            has_link_failed: false,
            states_told: Vec::new(),
            container: None,
            ordered: Vec::new(),
            fired: 0,
            unread: 0,
            failed_removals: 0,
            refused_tces: None,
            is_wiped: false,
            made: Vec::new(),
            stale: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            excess: BTreeMap::new(),
            leaked: BTreeSet::new(),
            leaked_tables: 0,
            charged: BTreeMap::new(),
            kept_memory: 0,
            revived: 0,
            finding: None,
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.made.clear();
        self.is_wiped = false;
        self.must_be_quiet = false;
        self.has_link_failed = false;
        self.states_told.clear();
    }

    pub(super) fn order(&mut self, operation: Operation, nth: u64, fault: Fault) {
        self.ordered.push(Ordered { operation, calls_left: nth, fault });
    }

    pub(super) fn forget_orders(&mut self) {
        self.ordered.clear();
    }

    pub(super) fn lies(&self, lie: Lie) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.sings(lie))
    }

    pub(super) fn found(&mut self, finding: impl FnOnce() -> String) {
        if self.finding.is_none() {
            self.finding = Some(finding());
        }
    }

    #[track_caller]
    pub(super) fn assert_nothing_found(&self) {
        assert!(self.finding.is_none(), "{}", self.finding.as_deref().unwrap_or_default());
    }

    /// Counts a call, and gives the fault that is due to the machine.
    pub(super) fn meet(&mut self, operation: Operation) -> Option<Fault> {
        let mut due = None;
        for order in self.ordered.iter_mut().filter(|order| order.operation == operation) {
            order.calls_left -= 1;
            due = due.or((order.calls_left == 0).then_some(order.fault));
        }
        self.ordered.retain(|order| order.calls_left > 0);
        let fault = due?;
        self.machine.fail_nth(operation, 1, fault);
        self.fired += 1;
        self.unread += u64::from(operation == Operation::LockedMemory);
        Some(fault)
    }

    /// Without a fault, these calls succeed: the engine makes none that the kernel refuses.
    fn expect_ok(&mut self, what: &str, at: &dyn std::fmt::Debug, fired: Option<Fault>, raw: Raw) {
        if fired.is_none() && raw != Raw::OK {
            self.found(|| format!("{what} of {at:?} was refused by itself: {raw:?}"));
        }
    }

    /// The bytes of a TCE page at an address.
    pub(super) fn page_of(&self, container: ContainerFd, iova: Iova) -> u64 {
        let windows = self.machine.windows(container);
        let window = windows.iter().find(|window| {
            iova.offset_from(window.start).is_some_and(|offset| offset < window.size)
        });
        window.map_or(1 << 12, |window| window.page_shift.bytes().raw())
    }

    pub(super) fn before_map(&mut self) -> (Option<Fault>, u64) {
        (self.meet(Operation::Map), self.machine.tces_set())
    }

    pub(super) fn after_map(
        &mut self,
        container: ContainerFd,
        call: &MapCall,
        fired: Option<Fault>,
        set_before: u64,
        raw: Raw,
    ) {
        let address = Some(call.address.raw());
        self.made.push(Made { iova: call.iova, size: call.size, address, raw });
        self.container = Some(container);
        self.expect_ok("a map", call, fired, raw);
        let exchanged = self.machine.tces_set() - set_before;
        match fired {
            None => self.is_right(call.iova, call.size.raw()),
            Some(fault) => self.after_cut_map(container, call, fault, exchanged, raw),
        }
    }

    fn after_cut_map(
        &mut self,
        container: ContainerFd,
        call: &MapCall,
        fault: Fault,
        exchanged: u64,
        raw: Raw,
    ) {
        let page = self.page_of(container, call.iova);
        let reach = exchanged * page;
        self.is_right(call.iova, reach);
        let at = |offset: u64| call.iova.checked_add(Bytes::new(offset)).expect("in the window");
        match fault {
            Fault::SilentAfterTces { .. } if raw == Raw::OK => {
                for iova in (reach..call.size.raw()).step_by(step_of(page)).map(at) {
                    self.stale.insert(iova.raw(), self.machine.tce(container, iova));
                }
            }
            Fault::ExchangeFails { .. } | Fault::NoMemoryForLevel(_) if raw != Raw::OK => {
                let memory = call.address.raw() + reach;
                if let Some(region) = self.region_of(memory) {
                    *self.excess.entry(region).or_insert(0) += 1;
                }
                let left = self.machine.tce(container, at(reach));
                if let Some(region) = left.and_then(|tce| self.region_of(tce.address.raw())) {
                    self.forgotten.entry(at(reach).raw()).or_insert(region);
                }
            }
            _ => {}
        }
    }

    pub(super) fn note_map(&mut self, call: &MapCall) {
        let address = Some(call.address.raw());
        self.made.push(Made { iova: call.iova, size: call.size, address, raw: Raw::OK });
    }

    pub(super) fn note_unmap(&mut self, call: &UnmapCall) {
        self.made.push(Made { iova: call.iova, size: call.size, address: None, raw: Raw::OK });
    }

    pub(super) fn after_unmap(&mut self, call: &UnmapCall, fired: Option<Fault>, raw: Raw) {
        self.made.push(Made { iova: call.iova, size: call.size, address: None, raw });
        self.expect_ok("an unmap", call, fired, raw);
        if raw == Raw::OK {
            self.is_right(call.iova, call.size.raw());
        }
    }

    /// What the kernel has in a range is what it says again.
    pub(super) fn is_right(&mut self, start: Iova, size: u64) {
        remove_range(&mut self.stale, start.raw(), size);
        remove_range(&mut self.forgotten, start.raw(), size);
    }

    /// The start of the region that an address lies in.
    fn region_of(&self, address: u64) -> Option<u64> {
        let regions = self.machine.regions();
        let found = regions.iter().find(|region| {
            let start = region.range.address.raw();
            start <= address && address < start + region.range.size.raw()
        });
        found.map(|region| region.range.address.raw())
    }

    pub(super) fn before_register(&mut self) -> (Option<Fault>, u64) {
        (self.meet(Operation::Register), self.machine.locked().raw())
    }

    pub(super) fn after_register(
        &mut self,
        range: MemoryRange,
        fired: Option<Fault>,
        before: u64,
        raw: Raw,
    ) {
        let start = range.address.raw();
        let end = start.saturating_add(range.size.raw());
        if raw == Raw::OK {
            self.charged.insert(start, self.machine.locked().raw() - before);
            self.revived += u64::from(self.leaked.contains(&start));
            return;
        }
        let regions = self.machine.regions();
        let is_in_the_way = regions.iter().any(|region| {
            let there = region.range.address.raw();
            region.owners == 0 && there < end && start < there + region.range.size.raw()
        });
        let is_beyond = end > MEMORY + BLOCKS * BLOCK;
        if !is_in_the_way && !is_beyond {
            self.expect_ok("a registration", &range, fired, raw);
        }
    }

    pub(super) fn before_unregister(
        &mut self,
        container: ContainerFd,
        range: MemoryRange,
    ) -> (Option<Fault>, u64) {
        let (start, end) = (range.address.raw(), range.address.raw() + range.size.raw());
        let pointing = self.machine.mapped_of(container, range);
        let stale = self.stale_into(start, end);
        let forgotten = self.forgotten.values().filter(|region| **region == start).count();
        if pointing > stale || forgotten > 0 {
            self.found(|| format!("{range:?} is unregistered under {pointing} TCEs"));
        }
        (self.meet(Operation::Unregister), self.machine.locked().raw())
    }

    /// TCEs that still point into memory because a map has stopped silently.
    fn stale_into(&self, start: u64, end: u64) -> u64 {
        let stale = self.stale.values().flatten();
        let stale = stale.filter(|tce| (start..end).contains(&tce.address.raw()));
        u64::try_from(stale.count()).expect("it is small")
    }

    pub(super) fn after_unregister(
        &mut self,
        range: MemoryRange,
        fired: Option<Fault>,
        before: u64,
        raw: Raw,
    ) {
        self.expect_ok("an unregistration", &range, fired, raw);
        if raw == Raw::OK {
            let charged = self.charged.remove(&range.address.raw()).unwrap_or(0);
            self.kept_memory += charged.saturating_sub(before - self.machine.locked().raw());
            self.note_leaks();
        }
    }

    /// Regions without an owner: all for a reason.
    fn note_leaks(&mut self) {
        for region in self.machine.regions().into_iter().filter(|region| region.owners == 0) {
            let start = region.range.address.raw();
            let stale = self.stale_into(start, start + region.range.size.raw());
            let excess = self.excess.get(&start).copied().unwrap_or(0);
            if self.leaked.insert(start) && stale + excess == 0 {
                self.found(|| format!("{region:?} leaked"));
            }
        }
    }

    pub(super) fn before_create(&mut self, container: ContainerFd) -> (Option<Fault>, u64) {
        (self.meet(Operation::Create), self.beside_windows(container))
    }

    /// What is locked by something else than windows.
    fn beside_windows(&self, container: ContainerFd) -> u64 {
        let tables = self.machine.windows(container).into_iter();
        self.machine.locked().raw() - tables.map(|window| window.charge.raw()).sum::<u64>()
    }

    pub(super) fn after_create(
        &mut self,
        container: ContainerFd,
        fired: Option<Fault>,
        call: &CreateCall,
        before: u64,
        raw: Raw,
    ) {
        self.leaked_tables += self.beside_windows(container) - before;
        let is_firmware = raw == Raw::Failed(Errno::EINVAL) && self.platform == Platform::Pseries;
        if is_firmware && fired.is_none() {
            let tces = call.size.raw() >> call.page_shift;
            if self.refused_tces.is_some_and(|refused| refused <= tces) {
                self.found(|| format!("the firmware is asked again: {call:?}"));
            }
            self.refused_tces = Some(tces);
        }
        if !is_firmware {
            self.expect_ok("a creation", &"a window", fired, raw);
        }
    }

    pub(super) fn after_remove(&mut self, container: ContainerFd, fired: Option<Fault>, raw: Raw) {
        self.failed_removals += u64::from(raw != Raw::OK);
        self.expect_ok("a removal", &"a window", fired, raw);
        self.keep_of_windows(container);
    }

    fn keep_of_windows(&mut self, container: ContainerFd) {
        if self.stale.is_empty() && self.forgotten.is_empty() {
            return;
        }
        let windows = self.machine.windows(container);
        let is_there = |iova: &u64| {
            let offset = |start| Iova::new(*iova).offset_from(start);
            windows.iter().any(|it| offset(it.start).is_some_and(|offset| offset < it.size))
        };
        self.stale.retain(|iova, _| is_there(iova));
        self.forgotten.retain(|iova, _| is_there(iova));
    }

    pub(super) fn before_release(&self) -> u64 {
        self.machine.tces_cleared()
    }

    /// A descriptor is closed, or a group gone, perhaps a backend's last.
    pub(super) fn after_release(&mut self, cleared_before: u64) {
        if self.machine.tces_cleared() > cleared_before {
            self.is_wiped = true;
            self.stale.values_mut().for_each(|stale| *stale = None);
            self.forgotten.clear();
        }
        self.refused_tces = None;
        self.note_leaks();
        if let Some(container) = self.container {
            self.keep_of_windows(container);
        }
    }

    /// What the kernel has kept of all charges, for good.
    pub(super) const fn kept(&self) -> u64 {
        self.leaked_tables + self.kept_memory
    }

    /// By how much the kernel's counts of regions should differ from the TCEs there are.
    pub(super) fn excess(&self) -> u64 {
        self.excess.values().sum()
    }
}

fn remove_range<T>(map: &mut BTreeMap<u64, T>, start: u64, size: u64) {
    if !map.is_empty() && size > 0 {
        let end = start.saturating_add(size);
        let inside: Vec<u64> = map.range(start..end).map(|(at, _)| *at).collect();
        for at in inside {
            map.remove(&at);
        }
    }
}

fn step_of(page: u64) -> usize {
    usize::try_from(page).expect("a page fits")
}
