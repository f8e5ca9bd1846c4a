//! What must be true after each step.

use std::collections::BTreeMap;

use tce_engine::{
    ChargeSubject, WindowState,
    access::Access,
    addr::{Bytes, HostAddr, Iova},
    kernel::Platform,
    lease::{EndCause, LeaseId, LeaseState},
    lingering::Unmapping,
    region::RegionState,
    window::{Origin, WindowId},
};
use tce_sim::{TceAccess, TceView};

use super::{
    model::{Part, Tce, iova},
    run::Run,
    sights::Sight,
};

/// A step in so many compares everything; the others what calls have touched, and all counts.
const FULL_CHECK: u64 = 32;

impl Run {
    /// Everything, or what this step may have changed.
    pub(super) fn check(&mut self) {
        self.watch.borrow().assert_nothing_found();
        assert_eq!(self.machine.host_corruption(), None);
        if self.engine.facts().is_none() {
            self.is_frozen_told = false;
        }
        self.follow_ends();
        self.follow_torn();
        self.follow_guest();
        self.check_leases();
        self.check_counts();
        self.check_charges();
        let is_full = self.step.is_multiple_of(FULL_CHECK);
        for ((lease, window), part) in &self.model.parts {
            let made = self.watch.borrow().made.iter().any(|made| {
                made.iova.raw() < part.end && part.start < made.iova.raw() + made.size.raw()
            });
            if is_full || made || self.touched == Some(*lease) {
                self.check_part(*lease, *window, part);
            }
        }
        self.check_regions();
        self.check_live_tces();
    }

    fn state(&self, window: WindowId) -> &WindowState {
        let found = self.engine.windows().find(|state| state.window().id == window);
        found.expect("a window outlives its leases")
    }

    /// Leases that have ended have nothing any more, and end for the reason that this step gives, or with their parent.
    fn follow_ends(&mut self) {
        for id in self.model.leases() {
            let state = self.engine.leases().get(id).expect("it has not ended").state;
            let cause = match state {
                LeaseState::Active | LeaseState::Lent => continue,
                LeaseState::Ending(cause) | LeaseState::Ended(cause) => cause,
            };
            if !self.ending.contains_key(&id) {
                let parent = self.model.parents.get(&id).copied();
                let is_with_parent = parent.is_some_and(|it| cause == EndCause::ParentEnded(it));
                let is_untaken = cause == EndCause::NotTakenByGuest
                    && self.watch.borrow().has_link_failed
                    && self.guest.lent.contains_key(&id);
                self.saw_if(is_untaken, Sight::NotTakenByGuest);
                let is_due = self.cause == Some(cause) || is_with_parent || is_untaken;
                assert!(is_due, "{id}: {cause}");
            }
            let expected = *self.ending.entry(id).or_insert(cause);
            assert_eq!(cause, expected, "{id}");
            self.model.tear(id, None);
            if matches!(state, LeaseState::Ended(_)) {
                let is_with_parent = matches!(cause, EndCause::ParentEnded(_));
                self.saw_if(is_with_parent, Sight::EndedWithParent);
                let was_lent = self.guest.lent.contains_key(&id);
                self.saw_if(was_lent, Sight::LentLeaseEnded);
                self.bury(id);
                self.model.forget(id);
                self.ended.insert(id, cause);
            }
        }
        let live = self.engine.leases().live().count();
        assert_eq!(live, self.model.leases().len(), "leases come and go only as they are told");
        for (part, parent) in &self.model.parents {
            assert!(self.model.parts_of(*parent).next().is_some(), "{part} outlives {parent}");
        }
    }

    /// Of what is being taken back, what the engine says is gone is gone.
    fn follow_torn(&mut self) {
        let windows = self.engine.windows().map(|state| (state.window().id, state));
        let windows: BTreeMap<WindowId, &WindowState> = windows.collect();
        for ((_, window), part) in self.model.parts.iter_mut().filter(|(_, part)| part.is_torn) {
            let before = part.count();
            part.keep_set(windows[window].table(), |_| false);
            part.has_lost |= part.count() < before;
            part.is_torn = false;
        }
    }

    fn check_leases(&self) {
        for (id, lease) in self.engine.leases().live() {
            assert_eq!(lease.parts.len(), self.model.parts_of(id).count(), "{id}");
            let ghosts = self.model.ghosts_of(id);
            assert_eq!(lease.lingering.tces(), ghosts, "what lingers of {id}");
            match lease.unmapping {
                Unmapping::Strict => assert_eq!(ghosts, 0, "{id} is strict"),
                Unmapping::Deferred(deferral) => {
                    assert!(ghosts <= deferral.tces_max(), "{id}: {ghosts} linger");
                    let parts = self.model.parts_of(id);
                    let oldest = parts.flat_map(|(_, part)| part.ghosts.values().map(|it| it.1));
                    let oldest = oldest.min().map(|at| at + deferral.delay_max());
                    let due = lease.lingering.due(deferral).map(|at| at.0);
                    assert!(due.is_none_or(|due| oldest.is_some_and(|at| due <= at)), "{id}");
                    assert_eq!(due.is_some(), oldest.is_some(), "{id}");
                }
            }
            for part in &lease.parts {
                let ours = &self.model.parts[&(id, part.window)];
                assert_eq!(part.tces, ours.count(), "{id} in {}", part.window);
                assert!(part.tces + lease.sublet.tces <= lease.quota.tces, "{id}");
            }
            let mut subleases = self.model.parents.iter().filter(|(_, parent)| **parent == id);
            let given = subleases.try_fold((0, 0), |(count, tces), (part, _)| {
                self.engine.leases().get(*part).map(|part| (count + 1, tces + part.tces_max()))
            });
            assert_eq!(given, Ok((lease.sublet.leases, lease.sublet.tces)), "what {id} has sublet");
            assert!(!lease.groups.is_empty(), "{id} is for no group");
            let is_whole = self.model.parts_of(id).all(|(_, part)| !part.has_lost);
            if let Some(growth) = lease.growth.filter(|_| is_whole) {
                assert!(self.model.is_image(id, &growth), "{id} is growing");
            }
        }
    }

    /// Each table has what its leases have, and no more.
    fn check_counts(&self) {
        let mut by_window: BTreeMap<WindowId, u64> = BTreeMap::new();
        for ((_, window), part) in &self.model.parts {
            *by_window.entry(*window).or_default() += part.count();
        }
        for state in self.engine.windows() {
            let id = state.window().id;
            assert_eq!(state.table().tces(), by_window.remove(&id).unwrap_or(0), "{id}");
            for claim in state.quarantined() {
                let (start, size) = (claim.start.raw(), claim.size.raw());
                let is_leased = self.model.parts.iter().any(|((_, window), part)| {
                    *window == id && part.start <= start && start + size <= part.end
                });
                assert!(is_leased, "{claim} is quarantined for nobody");
            }
        }
        assert!(by_window.is_empty(), "windows outlive their leases");
    }

    /// The engine's table and the hardware have what was wished.
    fn check_part(&self, lease: LeaseId, window: WindowId, part: &Part) {
        let state = self.state(window);
        let mut in_table = 0;
        let sublet = self.model.sublet_of(lease, window);
        let is_sublet = |at: u64| sublet.iter().any(|(start, end)| *start <= at && at < *end);
        for run in state.table().within(part.tces.0, part.tces.1) {
            for n in 0..run.pages {
                let at = part.iova_of(run.first + n);
                if is_sublet(at) {
                    continue;
                }
                let address = run.target.address.raw() + n * part.page;
                let there = Tce { address, access: run.target.access, region: run.target.region };
                assert_eq!(Some(there), part.tce(at), "{} of {lease} in the table", iova(at));
                in_table += 1;
            }
        }
        assert_eq!(in_table, part.count(), "{lease} in {window}");
        self.check_hardware(lease, state, part);
    }

    fn check_hardware(&self, lease: LeaseId, state: &WindowState, part: &Part) {
        let mut there = self.hardware(part);
        let sublet = self.model.sublet_of(lease, state.window().id);
        there.retain(|at, _| !sublet.iter().any(|(start, end)| start <= at && at < end));
        let watch = self.watch.borrow();
        for at in part.wished.keys().chain(part.ghosts.keys()) {
            let found = there.remove(at);
            let expected = part.tce(*at).map(|tce| self.view(&tce));
            let expected = watch.stale.get(at).copied().unwrap_or(expected);
            if found != expected {
                assert!(is_quarantined(state, *at), "{}: {found:?}, {expected:?}", iova(*at));
            }
        }
        let lent = self.guest.lent.get(&lease).map(|lent| &lent.hardware);
        for (at, tce) in lent.into_iter().flatten() {
            let found = there.remove(at);
            let expected = watch.stale.get(at).copied().unwrap_or(Some(*tce));
            if found != expected {
                let is_free = is_quarantined(state, *at);
                assert!(is_free, "a guest's {}: {found:?}, {expected:?}", iova(*at));
            }
        }
        for (at, found) in there {
            let is_known = watch.stale.get(&at) == Some(&Some(found));
            let is_free = is_known || is_quarantined(state, at);
            assert!(is_free, "{lease} has nothing at {}, but {found:?}", iova(at));
        }
    }

    /// The hardware's TCEs of a part.
    fn hardware(&self, part: &Part) -> BTreeMap<u64, TceView> {
        self.tces_of((iova(part.start), Bytes::new(part.end - part.start)), part.page)
    }

    /// The hardware's TCEs of a range, of pages of so many bytes.
    pub(super) fn tces_of(&self, range: (Iova, Bytes), page: u64) -> BTreeMap<u64, TceView> {
        let runs = self.machine.mapped_runs(self.container(), range.0, range.1, usize::MAX);
        let pages = runs.into_iter().flat_map(|run| {
            let step = usize::try_from(page).expect("a page fits");
            (0..run.memory.size.raw()).step_by(step).map(move |offset| {
                let address = HostAddr::new(run.memory.address.raw() + offset);
                (run.iova.raw() + offset, TceView { address, access: run.access })
            })
        });
        pages.collect()
    }

    fn view(&self, tce: &Tce) -> TceView {
        let access = match (tce.access, self.engine.system().platform) {
            (Access::Read, _) => TceAccess::Read,
            (Access::Write, Platform::Pseries) => TceAccess::Write,
            (Access::Write, Platform::Powernv) | (Access::ReadWrite, _) => TceAccess::ReadWrite,
        };
        TceView { address: HostAddr::new(tce.address), access }
    }

    /// Nothing is set but what some lease has.
    fn check_live_tces(&self) {
        let watch = self.watch.borrow();
        let is_sure = watch.stale.is_empty()
            && self.engine.windows().all(|state| state.quarantined().next().is_none());
        let live = self.machine.live_tces();
        if is_sure {
            let ours: u64 = self.model.parts.values().map(Part::count).sum();
            assert_eq!(live, ours + self.guest.tces());
        } else if self.step.is_multiple_of(FULL_CHECK) {
            // What sub-leases have is in their parents' ranges.
            let whole =
                self.model.parts.iter().filter(|((id, _), _)| !self.model.parents.contains_key(id));
            let there = whole.map(|(_, part)| self.hardware(part).len());
            assert_eq!(live, u64::try_from(there.sum::<usize>()).expect("it fits"));
        }
    }

    /// The kernel has the pieces that the engine knows, and those that leaked for a reason. Its counts of TCEs are
    /// right but for what failed exchanges have spoilt.
    fn check_regions(&self) {
        let watch = self.watch.borrow();
        let regions = self.engine.regions().into_iter().flat_map(|regions| regions.iter());
        let mut ours = Vec::new();
        let mut users = BTreeMap::new();
        let mut tces = 0;
        for (id, region) in regions {
            let pieces = region.registered_pieces().iter();
            ours.extend(pieces.map(|piece| (piece.range, piece.page.raw())));
            users.insert(id, region.users);
            tces += region.tces;
            assert!(region.tces == 0 || region.state() == RegionState::Registered, "{id}");
        }
        ours.sort_unstable();
        let there = self.machine.regions();
        let owned = there.iter().filter(|region| region.owners > 0);
        let owned: Vec<_> = owned.map(|it| (it.range, it.page_shift)).collect();
        assert_eq!(owned, ours);
        let is_known = |start| watch.leaked.contains(&start);
        for region in &there {
            let start = region.range.address.raw();
            assert!(!region.has_leaked() || is_known(start), "{region:?} leaked");
        }
        assert_eq!(self.users, users);
        assert_eq!(self.engine.windows().map(|it| it.table().tces()).sum::<u64>(), tces);
        let live = self.machine.live_tces() + watch.excess();
        let counted: u64 = there.iter().map(|region| region.mapped).sum();
        let forgotten = u64::try_from(watch.forgotten.len()).expect("it fits");
        assert_eq!(counted + forgotten, live, "the kernel counts TCEs right");
        drop(watch);
        if self.step.is_multiple_of(FULL_CHECK) {
            self.check_region_counts();
        }
    }

    fn check_region_counts(&self) {
        let mut by_region = BTreeMap::new();
        for part in self.model.parts.values() {
            let ghosts = part.ghosts.values().map(|(tce, _)| tce);
            for tce in part.wished.values().chain(ghosts) {
                *by_region.entry(tce.region).or_insert(0) += 1;
            }
        }
        for (id, region) in self.engine.regions().into_iter().flat_map(|regions| regions.iter()) {
            assert_eq!(region.tces, by_region.remove(&id).unwrap_or(0), "{id}");
        }
        assert!(by_region.is_empty(), "of what is gone");
    }

    /// What is locked is the sum of what the formulas say and of what leaked.
    fn check_charges(&mut self) {
        let charges = self.engine.charges();
        let new = charges.get(self.charges_seen..).unwrap_or(charges);
        for charge in new {
            if !charge.subject.is_leak() && charge.predicted != charge.charged {
                assert!(matches!(charge.subject, ChargeSubject::Region(_)), "{charge:?}");
                assert!(charge.charged.is_zero() && self.revived < self.watch.borrow().revived);
                self.revived += 1;
            }
        }
        self.charges_seen = charges.len();
        let watch = self.watch.borrow();
        let leaked = self.leaked_before + self.engine.leaked().raw();
        let kept = watch.kept();
        assert!(leaked <= kept, "{leaked} leaked, {kept} were kept");
        assert!(leaked == kept || watch.unread > 0, "a leak was not noted");
        let regions = self.machine.regions().into_iter();
        let regions: u64 = regions.map(|region| region.range.size.raw()).sum();
        let tables = self.tables_charge();
        let tables = tables + self.guest_charge();
        assert_eq!(self.machine.locked().raw(), regions + tables + watch.leaked_tables);
    }

    /// What the windows should cost, by the formulas.
    fn tables_charge(&self) -> u64 {
        let Some(facts) = self.engine.facts() else { return 0 };
        let charge = |page, size, levels| {
            facts.geometry().shape(page, size, levels).expect("the kernel made it").charge.raw()
        };
        let created = self.engine.windows().map(WindowState::window);
        let created: Vec<_> = created.filter(|it| it.origin == Origin::Created).collect();
        let there = self.machine.windows(self.container());
        for window in &created {
            let found = there.iter().find(|it| it.start == window.start);
            assert!(found.is_some_and(|it| it.size >= window.size), "{} is gone", window.id);
        }
        assert!(there.len() <= created.len() + 1, "at most the default window besides");
        let default = charge(tce_engine::addr::PageShift::K4, facts.default_window, 1);
        let default = if there.len() > created.len() { default } else { 0 };
        created.iter().map(|it| charge(it.page, it.size, it.levels)).sum::<u64>() + default
    }
}

fn is_quarantined(state: &WindowState, at: u64) -> bool {
    let inside = |claim: tce_engine::window::Claim| {
        iova(at).offset_from(claim.start).is_some_and(|offset| offset < claim.size)
    };
    state.quarantined().any(inside)
}
