//! A first look through a trace: what machine it was, what its memory is made of. Where the trace does not say, it is
//! inferred from what succeeded, and said so.

mod blocks;
mod profile;

use std::collections::{BTreeMap, BTreeSet};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    geometry::Geometry,
    kernel::{Fd, MemoryRange, Platform, SpaprInfo},
};

use crate::{
    descriptors::Descriptors,
    event::{Answer, Call, Event},
    format::ReadError,
    trace::Trace,
};

use blocks::Blocks;
pub use blocks::MemoryBlock;

/// What a trace tells of its machine.
#[derive(Debug)]
pub struct Survey {
    /// The platform.
    pub platform: Platform,
    /// The kernel's page.
    pub page_shift: PageShift,
    /// The answer of `GET_INFO`, if it was asked.
    pub info: Option<SpaprInfo>,
    /// The kernel's release, if the header names it.
    pub kernel: Option<String>,
    /// Whether the machine has enhanced error handling, as far as the program asked.
    pub eeh: Option<bool>,
    /// Whether the program could make a virtual machine.
    pub has_kvm: bool,
    /// The groups and the devices in them that the program opened.
    pub groups: BTreeMap<u32, BTreeSet<String>>,
    /// The locked-memory limit.
    pub locked_limit: Option<Bytes>,
    /// Where a second window starts.
    pub second_window: Option<Iova>,
    /// The memory that the program registered, by process, ascending.
    pub memory: Vec<MemoryBlock>,
    /// The processes, in the order in which they show up.
    pub processes: Vec<u32>,
    /// Calls whose arguments the trace does not show, by the number of the call.
    pub unread: BTreeMap<u32, u64>,
    /// Events.
    pub events: u64,
    /// What had to be assumed, a sentence each.
    pub assumptions: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Container(usize),
    Group(u32),
}

#[derive(Clone, Copy)]
struct Window {
    start: u64,
    end: u64,
    page_shift: u8,
}

/// What is gathered on the way.
#[derive(Default)]
struct Gathered {
    info: Option<SpaprInfo>,
    eeh: Option<bool>,
    has_kvm: bool,
    groups: BTreeMap<u32, BTreeSet<String>>,
    second_window: Option<Iova>,
    blocks: Blocks,
    processes: Vec<u32>,
    unread: BTreeMap<u32, u64>,
    events: u64,
    descriptors: Descriptors<Kind>,
    /// Windows of each container.
    windows: Vec<Vec<Window>>,
    /// Some registered range is not in whole 64K pages.
    odd_for_64k: bool,
    charges: Charges,
}

/// What windows were charged, to tell the system page from.
#[derive(Default)]
struct Charges {
    locked: Option<Bytes>,
    says_4k: u64,
    says_64k: u64,
}

impl Survey {
    /// Looks through a trace.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of(trace: &Trace) -> Result<Self, ReadError> {
        let mut gathered = Gathered::default();
        for event in trace.events()? {
            let (_, event) = event?;
            gathered.see(&event);
        }
        Ok(gathered.conclude(trace))
    }
}

impl Gathered {
    fn see(&mut self, event: &Event) {
        self.events += 1;
        if !self.processes.contains(&event.process) {
            self.processes.push(event.process);
        }
        self.track(event);
        match &event.call {
            Call::OpenGroup { group } => {
                self.groups.entry(*group).or_default();
            }
            Call::OpenDevice { group, address } => self.device(event.process, *group, address),
            Call::CheckExtension { extension: 5, .. } => {
                self.eeh = Some(!event.answer.is_zero());
            }
            Call::CreateVm => self.has_kvm |= event.answer.descriptor().is_some(),
            Call::Info { .. } => self.info(event),
            Call::Register { .. } => self.register(event),
            Call::Create { .. } => self.create(event),
            Call::Remove { container, start, .. } if event.answer.is_zero() => {
                if let Some(windows) = self.windows_of(event.process, *container) {
                    windows.retain(|it| !(it.start..it.end).contains(&start.raw()));
                }
            }
            Call::Map { .. } => self.map(event),
            Call::Other { request, .. } => {
                let number = u32::try_from(request & 0xff).unwrap_or(0);
                *self.unread.entry(number).or_default() += 1;
            }
            _ => {}
        }
        if event.locked.is_some() {
            self.charges.locked = event.locked;
        }
    }

    fn track(&mut self, event: &Event) {
        let process = event.process;
        let opened = event.answer.descriptor();
        match (&event.call, opened) {
            (Call::OpenContainer, Some(fd)) => self.open_container(process, fd),
            (Call::OpenGroup { group }, Some(fd)) => {
                self.descriptors.open(process, fd, Kind::Group(*group));
            }
            (Call::Duplicate { fd }, Some(copy)) => {
                self.descriptors.duplicate(process, *fd, copy);
            }
            (Call::Close { fd }, _) => {
                self.descriptors.close(process, *fd);
            }
            (Call::Fork { child }, _) => self.descriptors.inherit(process, *child),
            _ => {}
        }
    }

    fn open_container(&mut self, process: u32, fd: Fd) {
        self.descriptors.open(process, fd, Kind::Container(self.windows.len()));
        self.windows.push(Vec::new());
    }

    /// The windows of a container; one that was never opened is made up, as the replay does.
    fn windows_of(&mut self, process: u32, fd: Fd) -> Option<&mut Vec<Window>> {
        if self.descriptors.get(process, fd).is_none() {
            self.open_container(process, fd);
        }
        match self.descriptors.get(process, fd) {
            Some(Kind::Container(index)) => self.windows.get_mut(*index),
            _ => None,
        }
    }

    fn device(&mut self, process: u32, group: Fd, address: &str) {
        let number = match self.descriptors.get(process, group) {
            Some(Kind::Group(number)) => *number,
            _ => 0,
        };
        self.groups.entry(number).or_default().insert(address.to_owned());
    }

    fn info(&mut self, event: &Event) {
        let Call::Info {
            flags,
            window_start,
            window_size,
            page_sizes,
            windows_max,
            levels_max,
            ..
        } = event.call
        else {
            return;
        };
        if event.answer.is_zero() && self.info.is_none() {
            let small = |raw: u64| u32::try_from(raw).unwrap_or(u32::MAX);
            self.info = Some(SpaprInfo {
                flags,
                dma32_window_start: small(window_start.raw()),
                dma32_window_size: small(window_size.raw()),
                page_sizes,
                windows_max,
                levels_max,
            });
        }
    }

    fn register(&mut self, event: &Event) {
        let Call::Register { address, size, .. } = event.call else { return };
        if !event.answer.is_zero() {
            return;
        }
        let range = MemoryRange { address, size };
        self.odd_for_64k |=
            !address.is_aligned(PageShift::K64) || !size.is_multiple_of(PageShift::K64);
        self.blocks.add(event.process, range, event.backing.and_then(PageShift::of_size));
    }

    fn create(&mut self, event: &Event) {
        let Call::Create { container, page_shift, size, levels, start, .. } = event.call else {
            return;
        };
        if !event.answer.is_zero() {
            return;
        }
        if let (Some(before), Some(after)) = (self.charges.locked, event.locked)
            && let Some(charged) = after.checked_sub(before)
        {
            self.charges.see(size, page_shift, levels, charged);
        }
        if start.raw() != 0 {
            self.second_window = Some(start);
        }
        let (Ok(page_shift), Some(end)) = (u8::try_from(page_shift), start.checked_add(size))
        else {
            return;
        };
        if let Some(windows) = self.windows_of(event.process, container) {
            windows.push(Window { start: start.raw(), end: end.raw(), page_shift });
        }
    }

    /// A map that succeeded says what backs its memory at least, one that failed on its page size says less.
    fn map(&mut self, event: &Event) {
        let Call::Map { container, address, iova, size, .. } = event.call else { return };
        if event.answer != Answer::OK || size.is_zero() {
            return;
        }
        let windows = self.windows_of(event.process, container);
        let page = windows.and_then(|windows| {
            let window = windows.iter().find(|it| (it.start..it.end).contains(&iova.raw()))?;
            PageShift::new(window.page_shift)
        });
        if let Some(page) = page {
            self.blocks.mapped(event.process, HostAddr::new(address.raw()), page);
        }
    }

    fn conclude(self, trace: &Trace) -> Survey {
        let header = trace.header();
        let mut assumptions = Vec::new();
        let page_shift = header.page_shift().unwrap_or_else(|| {
            let is_64k = !self.odd_for_64k && self.charges.says_64k > self.charges.says_4k;
            let (page, why) = match (is_64k, self.charges.says_4k > 0 || self.odd_for_64k) {
                (true, _) => (PageShift::K64, "from what windows were charged"),
                (false, true) => (PageShift::K4, "from what windows were charged, or registered"),
                (false, false) => (PageShift::K64, "as most POWER kernels have them"),
            };
            assumptions.push(format!("system pages of {page}, {why}"));
            page
        });
        let platform = header.platform.unwrap_or_else(|| {
            let is_partition = self.info.is_some_and(|info| info.levels_max == 1);
            let platform = if is_partition { Platform::Pseries } else { Platform::Powernv };
            assumptions.push(format!("the platform {platform}, from what GET_INFO answered"));
            platform
        });
        let memory = self.blocks.conclude(page_shift, &mut assumptions);
        Survey {
            platform,
            page_shift,
            info: self.info,
            kernel: header.kernel.clone(),
            eeh: self.eeh,
            has_kvm: self.has_kvm,
            groups: self.groups,
            locked_limit: header.locked_limit,
            second_window: self.second_window,
            memory,
            processes: self.processes,
            unread: self.unread,
            events: self.events,
            assumptions,
        }
    }
}

impl Charges {
    /// What a window is charged depends on the system page, since tables are made of whole ones.
    fn see(&mut self, size: Bytes, page_shift: u32, levels: u32, charged: Bytes) {
        let page = u8::try_from(page_shift).ok().and_then(PageShift::new);
        let (Some(page), Ok(levels)) = (page, u8::try_from(levels)) else { return };
        let says = |system_page| {
            let (platform, levels_max) = (Platform::Powernv, u8::MAX);
            let shape = Geometry { platform, system_page, levels_max }.shape(page, size, levels);
            shape.is_some_and(|shape| shape.charge == charged)
        };
        match (says(PageShift::K4), says(PageShift::K64)) {
            (true, false) => self.says_4k += 1,
            (false, true) => self.says_64k += 1,
            _ => {}
        }
    }
}
