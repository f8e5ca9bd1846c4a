//! What a container has as long as it has a group.

use crate::{
    addr::{Bytes, PageShift},
    facts::{ContainerFacts, Slot},
    kernel::{DeviceFd, Fd, GroupFd, GroupNumber},
    layout::{Layouts, SlotUse},
    region::{RegionId, RegionRefusal, Regions},
    table::Table,
    window::{Origin, Run, Window, WindowId},
};

/// An open device of a group.
pub(super) struct Device {
    pub(super) address: String,
    pub(super) fd: DeviceFd,
}

/// An attached group. Its device descriptors keep it from vanishing without a word.
pub(super) struct Group {
    pub(super) number: GroupNumber,
    pub(super) fd: GroupFd,
    pub(super) devices: Vec<Device>,
}

/// Whether the kernel has made a window yet: the default one comes into being at its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    AtFirstUse,
}

/// A range whose TCEs are not known, with the regions they may point into.
#[derive(Debug)]
pub(super) struct Quarantine {
    pub(super) run: Run,
    pub(super) regions: Vec<RegionId>,
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

    /// What is mapped in it.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
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
    pub(super) regions: Regions,
}

impl Backend {
    pub(super) fn new(facts: ContainerFacts, group: Group) -> Self {
        let slots = [SlotState::Default(Made::AtFirstUse), SlotState::Free];
        Self { facts, groups: vec![group], slots, regions: Regions::default() }
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = Fd> {
        let devices = self.devices().map(|device| device.fd.fd());
        devices.chain(self.groups.iter().map(|group| group.fd.fd()))
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.groups.iter().flat_map(|group| &group.devices)
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

    /// What the default window charges when it is made.
    pub(super) fn default_charge(&self) -> Bytes {
        let shape = self.facts.geometry().shape(PageShift::K4, self.facts.default_window, 1);
        shape.map_or(Bytes::ZERO, |shape| shape.charge)
    }

    /// Checks that no TCE can point into a region.
    pub(super) fn check_unused(&self, id: RegionId) -> Result<(), RegionRefusal> {
        self.regions.check_unused(id)?;
        let quarantines = self.windows().flat_map(|state| &state.quarantines);
        let tces = quarantines
            .filter(|quarantine| quarantine.regions.contains(&id))
            .map(|quarantine| quarantine.run.pages().raw())
            .sum();
        if tces > 0 {
            return Err(RegionRefusal::Mapped { region: id, tces });
        }
        Ok(())
    }

    /// Whether a window is the default one and not made yet.
    pub(super) fn awaits_first_use(&self, id: WindowId) -> bool {
        self.window(id).is_some_and(|state| {
            state.window.origin == Origin::DefaultWindow && state.made == Made::AtFirstUse
        })
    }
}
