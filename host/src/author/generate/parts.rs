//! Parts of random questions: facts, demands, candidates, windows, leases, and the values in them.

use crate::policy::wit::{
    Access, Candidate, ContainerFacts, Demand, Hint, IovaChoice, Lease, LeaseRequest, LockedMemory,
    Origin, PageChoice, Platform, Region, ReservedRange, SlotFacts, SlotUse, Terms, Window,
};

use super::{CANDIDATES_MAX, ITEMS_MAX, Maker};

impl Maker<'_> {
    pub(super) fn facts_and_demand(&mut self) -> (ContainerFacts, Demand) {
        let demand = self.demand();
        let sizes = demand.regions.iter().map(|region| region.size);
        let charged = sizes.fold(0, u64::saturating_add);
        (self.facts(&[], charged), demand)
    }

    pub(super) fn facts(&mut self, taken: &[u8], charged: u64) -> ContainerFacts {
        match &self.machine {
            Some(machine) => machine.clone().with_windows(taken.iter().copied()).facts(charged),
            None => self.absurd_facts(),
        }
    }

    fn absurd_facts(&mut self) -> ContainerFacts {
        let uses = [SlotUse::Free, SlotUse::DefaultWindow, SlotUse::Taken];
        ContainerFacts {
            platform: if self.rng.bool() { Platform::Powernv } else { Platform::Pseries },
            system_page: self.page(),
            page_shifts: self.list(4, Self::page),
            slots: self.list(3, |it| SlotFacts {
                slot: it.slot(),
                start: it.address(),
                holds: uses[it.rng.usize(..uses.len())],
            }),
            levels_max: self.rng.u8(..),
            reserved_ranges: self.list(3, |it| ReservedRange {
                start: it.address(),
                size: it.size(),
                what: it.text(),
            }),
            locked_memory: LockedMemory { limit: self.maybe(Self::size), charged: self.size() },
            groups: self.list(3, |it| it.rng.u32(..)),
            hints: self.hints(),
        }
    }

    fn demand(&mut self) -> Demand {
        let count = self.rng.usize(1..=ITEMS_MAX);
        let count = if self.is_absurd() { self.rng.usize(..=ITEMS_MAX) } else { count };
        let regions = (0u32..).take(count).map(|id| self.region(id)).collect();
        let choices = [IovaChoice::Holder, IovaChoice::Engine];
        Demand {
            regions,
            growth: if self.rng.bool() { 0 } else { self.size() },
            device_mask: if self.is_absurd() { self.rng.u64(..) } else { u64::MAX },
            iova_choice: choices[self.rng.usize(..choices.len())],
            hints: self.hints(),
        }
    }

    fn region(&mut self, id: u32) -> Region {
        let system_page = match &self.machine {
            Some(machine) => machine.facts(0).system_page,
            None => self.page(),
        };
        // Huge pages now and then; a size of whole pages.
        let backing = if self.rng.u8(..4) == 0 { system_page.max(21) } else { system_page };
        let size = match self.is_absurd() {
            true => self.size(),
            false => self.rng.u64(1..=64) << backing,
        };
        let granule = if self.is_absurd() { self.page() } else { backing };
        Region {
            id,
            name: format!("region-{id}"),
            size,
            backing,
            granule,
            access: self.access(),
            at: if self.is_absurd() { self.maybe(Self::address) } else { None },
            hints: self.hints(),
        }
    }

    pub(super) fn pages(&mut self, facts: &ContainerFacts, demand: &Demand) -> Vec<PageChoice> {
        if self.is_absurd() {
            return self.list(3, |it| PageChoice {
                page: it.page(),
                regions: it.list(ITEMS_MAX, |it| it.rng.u32(..8)),
            });
        }
        let page_max = demand.regions.iter().map(|it| it.backing.min(it.granule)).min();
        let offered = facts.page_shifts.iter().copied();
        let page = offered.filter(|page| Some(*page) <= page_max).max().unwrap_or(12);
        let regions = demand.regions.iter().map(|region| region.id).collect();
        vec![PageChoice { page, regions }]
    }

    pub(super) fn candidates(&mut self, demand: &Demand) -> Vec<Candidate> {
        match &self.machine {
            Some(machine) => machine.candidates(demand),
            None => self.list(CANDIDATES_MAX, Self::candidate),
        }
    }

    pub(super) fn candidate(&mut self) -> Candidate {
        let origins = [Origin::Created, Origin::DefaultWindow];
        Candidate {
            slot: self.slot(),
            start: self.address(),
            page: self.page(),
            size: self.size(),
            levels: self.rng.u8(..6),
            origin: origins[self.rng.usize(..origins.len())],
            table: self.size(),
            charge: self.size(),
        }
    }

    pub(super) fn window(&mut self, slot: u8) -> Window {
        let page = if self.is_absurd() { self.page() } else { 16 };
        let size = if self.is_absurd() { self.size() } else { 1 << self.rng.u32(24..40) };
        Window {
            slot,
            start: if self.is_absurd() { self.address() } else { 0 },
            size,
            page,
            levels: 1,
            unleased: if self.is_absurd() { self.size() } else { size },
            hints: self.hints(),
        }
    }

    /// Leases one after the other, in no more than half of the window.
    pub(super) fn leases(&mut self, window: &mut Window, now: u64) -> Vec<Lease> {
        let count = u64::try_from(self.rng.usize(..=ITEMS_MAX)).unwrap_or(0);
        let leases: Vec<Lease> = (1..=count).map(|id| self.lease(id, window, now)).collect();
        if !self.is_absurd() {
            let taken = leases.iter().map(|lease| lease.size).fold(0, u64::saturating_add);
            window.unleased = window.size.saturating_sub(taken);
        }
        leases
    }

    pub(super) fn lease(&mut self, id: u64, window: &Window, now: u64) -> Lease {
        if self.is_absurd() {
            return self.absurd_lease();
        }
        let size = 1 << self.rng.u32(16..21);
        let tces_max = size >> window.page;
        let terms = Terms {
            access: self.access(),
            tces_max,
            pinned_max: self.maybe(|_| size),
            edits_per_second: None,
            expires: self.maybe(|it| now.saturating_add(it.rng.u64(1..100_000_000))),
        };
        Lease {
            id,
            holder: format!("vm-{}", self.rng.u8(..4)),
            slot: window.slot,
            start: window.start.saturating_add(id.saturating_sub(1) << 21),
            size,
            terms,
            since: now.saturating_sub(self.rng.u64(..100_000_000)),
            tces: self.rng.u64(..=tces_max),
            pinned: self.rng.u64(..=size),
            hints: self.hints(),
        }
    }

    fn absurd_lease(&mut self) -> Lease {
        let terms = Terms {
            access: self.access(),
            tces_max: self.rng.u64(..),
            pinned_max: self.maybe(Self::size),
            edits_per_second: self.maybe(|it| it.rng.u32(..)),
            expires: self.maybe(|it| it.rng.u64(..)),
        };
        Lease {
            id: self.rng.u64(..8),
            holder: self.text(),
            slot: self.slot(),
            start: self.address(),
            size: self.size(),
            terms,
            since: self.rng.u64(..),
            tces: self.rng.u64(..),
            pinned: self.size(),
            hints: self.hints(),
        }
    }

    pub(super) fn request(&mut self, window: &Window) -> LeaseRequest {
        let size = match self.is_absurd() {
            true => self.size(),
            false => self.rng.u64(1..=64) << window.page,
        };
        LeaseRequest {
            holder: format!("vm-{}", self.rng.u8(..4)),
            size,
            access: self.access(),
            tces: if self.is_absurd() { self.rng.u64(..) } else { size >> window.page },
            memory: size,
            duration: self.maybe(|it| it.rng.u64(1..100_000_000)),
            hints: self.hints(),
        }
    }

    pub(super) fn larger(&mut self, size: u64) -> u64 {
        if self.is_absurd() { self.size() } else { size.saturating_mul(self.rng.u64(2..=16)) }
    }

    fn page(&mut self) -> u8 {
        const PAGES: [u8; 5] = [12, 16, 21, 24, 30];
        if self.rng.u8(..10) == 0 { self.rng.u8(..) } else { PAGES[self.rng.usize(..PAGES.len())] }
    }

    fn slot(&mut self) -> u8 {
        if self.rng.u8(..10) == 0 { self.rng.u8(..) } else { self.rng.u8(..2) }
    }

    /// Mostly a few pages or a power of two.
    pub(super) fn size(&mut self) -> u64 {
        match self.rng.u8(..9) {
            0..4 => 1 << self.rng.u32(..40),
            4..8 => self.rng.u64(1..100) << [12, 16, 21][self.rng.usize(..3)],
            _ if self.is_absurd() => self.rng.u64(..),
            _ => 0,
        }
    }

    fn address(&mut self) -> u64 {
        match self.rng.u8(..9) {
            0..4 => self.rng.u64(..8) << 30,
            4..8 => (1 << 59) + (self.rng.u64(..8) << 20),
            _ => self.rng.u64(..),
        }
    }

    fn access(&mut self) -> Access {
        [Access::Read, Access::Write, Access::ReadWrite][self.rng.usize(..3)]
    }

    fn text(&mut self) -> String {
        ["", "vm-7", "\u{20ac}\n\"\u{0}"][self.rng.usize(..3)].to_owned()
    }

    fn hints(&mut self) -> Vec<Hint> {
        const KEYS: [(&str, &str); 3] = [("purpose", "rings"), ("priority", "5"), ("", "\u{20ac}")];
        let known = if self.is_absurd() { KEYS.len() } else { 2 };
        self.list(2, |it| {
            let (key, value) = KEYS[it.rng.usize(..known)];
            Hint { key: key.to_owned(), value: value.to_owned() }
        })
    }

    pub(super) fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.rng.bool() { Some(make(self)) } else { None }
    }

    pub(super) fn list<T>(
        &mut self,
        longest: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = self.rng.usize(..=longest);
        (0..count).map(|_| make(self)).collect()
    }
}
