//! What a container has as long as it has a group.

use std::collections::BTreeSet;

use crate::{
    addr::{Bytes, PageShift, Pages},
    facts::{ContainerFacts, Slot},
    kernel::{EventFd, Fd, GroupFd, GroupNumber},
    layout::{Layouts, SlotUse},
    lease::LeaseId,
    region::RegionId,
    table::Table,
    window::{Claim, Origin, Run, Window, WindowId},
};

use super::{ChargeSubject, devices::Device, freeze::Freeze, guests::Link};

/// An attached group. Its device descriptors keep it from vanishing without a word.
pub(super) struct Group {
    pub(super) number: GroupNumber,
    pub(super) fd: GroupFd,
    pub(super) devices: Vec<Device>,
    /// What counts when the kernel wants one of its devices back; there is one as soon as a device is open.
    pub(super) requests: Option<EventFd>,
}

/// Whether the kernel has made a window yet: the default one comes into being at its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    AtFirstUse,
}

/// A range of a lease whose TCEs are not known, with the regions they may point into besides those in the table. A
/// lease has one at most: it grows.
#[derive(Debug)]
pub(super) struct Quarantine {
    pub(super) lease: LeaseId,
    pub(super) run: Run,
    pub(super) regions: BTreeSet<RegionId>,
}

/// A window and what is mapped in it.
#[derive(Debug)]
pub struct WindowState {
    pub(super) window: Window,
    pub(super) table: Table,
    pub(super) made: Made,
    pub(super) quarantines: Vec<Quarantine>,
}

impl WindowState {
    pub(super) const fn new(window: Window, made: Made) -> Self {
        Self { window, table: Table::new(window.page), made, quarantines: Vec::new() }
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// What is mapped in it. Where it is quarantined, this is what was to be restored and perhaps was not.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The ranges whose TCEs are not known, because a failed batch could not be undone there. They are open again
    /// when their lease has ended.
    pub fn quarantined(&self) -> impl Iterator<Item = Claim> {
        self.quarantines.iter().map(|quarantine| self.claim_of(quarantine.run))
    }

    /// The bus addresses of a run of this window.
    pub(super) fn claim_of(&self, run: Run) -> Claim {
        self.claim(run.first(), run.end())
    }

    /// The bus addresses of TCEs of this window.
    pub(super) fn claim(&self, first: u64, end: u64) -> Claim {
        let size = self.window.bytes_of(Pages::new(end - first));
        Claim { start: self.window.iova_of(first), size }
    }

    /// Closes TCEs of a lease to edits, with the regions they may point into.
    ///
    /// # Panics
    /// If they are none, or not of this window.
    pub(super) fn quarantine(
        &mut self,
        lease: LeaseId,
        (mut first, mut end): (u64, u64),
        mut regions: BTreeSet<RegionId>,
    ) -> Claim {
        if let Some(at) = self.quarantines.iter().position(|old| old.lease == lease) {
            let old = self.quarantines.swap_remove(at);
            (first, end) = (first.min(old.run.first()), end.max(old.run.end()));
            regions.extend(old.regions);
        }
        let claim = self.claim(first, end);
        let run = self.window.admit(claim, &[]).expect("TCEs of a lease lie in its window");
        self.quarantines.push(Quarantine { lease, run, regions });
        claim
    }
}

/// What a slot holds.
pub(super) enum SlotState {
    Free,
    /// The default window, unused.
    Default(Made),
    Window(Box<WindowState>),
}

pub(super) struct Backend {
    pub(super) facts: ContainerFacts,
    pub(super) groups: Vec<Group>,
    pub(super) slots: [SlotState; 2],
    pub(super) link: Option<Link>,
    pub(super) freeze: Freeze,
    pub(super) unmaps: Unmaps,
}

/// Whether the kernel takes maps and unmaps of the container (`tce_container::enabled`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmaps {
    /// Not before memory is registered for the first time.
    Refused,
    Taken,
}

impl Backend {
    pub(super) fn new(facts: ContainerFacts, group: Group) -> Self {
        let slots = [SlotState::Default(Made::AtFirstUse), SlotState::Free];
        let freeze = Freeze::default();
        Self { facts, groups: vec![group], slots, link: None, freeze, unmaps: Unmaps::Refused }
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = Fd> {
        let devices = self.devices().map(|device| device.fd.fd());
        let events = self.groups.iter().filter_map(|group| Some(group.requests?.fd()));
        let link = self.link.iter().map(|link| link.fd.fd());
        link.chain(devices).chain(events).chain(self.groups.iter().map(|group| group.fd.fd()))
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.groups.iter().flat_map(|group| &group.devices)
    }

    pub(super) fn devices_mut(&mut self) -> impl Iterator<Item = &mut Device> {
        self.groups.iter_mut().flat_map(|group| &mut group.devices)
    }

    /// An open device of a group.
    pub(super) fn device(&mut self, group: GroupNumber, address: &str) -> Option<&mut Device> {
        let group = self.groups.iter_mut().find(|it| it.number == group)?;
        group.devices.iter_mut().find(|device| device.address == address)
    }

    pub(super) fn windows(&self) -> impl Iterator<Item = &WindowState> {
        self.slots.iter().filter_map(|slot| match slot {
            SlotState::Window(state) => Some(&**state),
            SlotState::Free | SlotState::Default(_) => None,
        })
    }

    pub(super) fn window(&self, id: WindowId) -> Option<&WindowState> {
        self.windows().find(|state| state.window.id == id)
    }

    pub(super) fn window_mut(&mut self, id: WindowId) -> Option<&mut WindowState> {
        match &mut self.slots[id.slot.index()] {
            SlotState::Window(state) if state.window.id == id => Some(state),
            _ => None,
        }
    }

    pub(super) fn layouts(&self) -> Layouts<'_> {
        let slots = Slot::ALL.map(|slot| match self.slots[slot.index()] {
            SlotState::Free => SlotUse::Free,
            SlotState::Default(_) => SlotUse::DefaultWindow,
            SlotState::Window(_) => SlotUse::Taken,
        });
        let default_made = matches!(self.slots[0], SlotState::Default(Made::Yes));
        let dynamic_made = self.windows().any(|state| {
            let Window { id, page, size, .. } = state.window;
            self.facts.is_dynamic(id.slot, page, size)
        });
        Layouts { facts: &self.facts, slots, default_made, dynamic_made }
    }

    /// Whether the kernel has made the default window, and what its charge is for; `None` once it is given up.
    pub(super) fn default_window(&mut self) -> Option<(&mut Made, ChargeSubject)> {
        match &mut self.slots[0] {
            SlotState::Default(made) => Some((made, ChargeSubject::DefaultWindow)),
            SlotState::Window(state) if state.window.origin == Origin::DefaultWindow => {
                Some((&mut state.made, ChargeSubject::Window(state.window.id)))
            }
            SlotState::Window(_) | SlotState::Free => None,
        }
    }

    /// What the default window charges when it is made.
    pub(super) fn default_charge(&self) -> Bytes {
        let shape = self.facts.geometry().shape(PageShift::K4, self.facts.default_window, 1);
        shape.map_or(Bytes::ZERO, |shape| shape.charge)
    }

    /// What an open window is still to charge: the default one, at its first use.
    pub(super) fn charge_to_come(&self) -> Bytes {
        let is_to_come = self.windows().any(|state| state.made == Made::AtFirstUse);
        if is_to_come { self.default_charge() } else { Bytes::ZERO }
    }

    /// How many TCEs may point into a region although the table does not say so.
    pub(super) fn suspect_tces(&self, region: RegionId) -> u64 {
        let quarantines = self.windows().flat_map(|state| &state.quarantines);
        let suspect = quarantines.filter(|quarantine| quarantine.regions.contains(&region));
        suspect.map(|quarantine| quarantine.run.pages().raw()).sum()
    }
}
