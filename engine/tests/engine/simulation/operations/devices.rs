//! Devices: their drivers use them, PEs freeze and come back, resets fall between holders.

use tce_engine::{
    Error,
    addr::{HostAddr, Iova},
    freeze::PeState,
    kernel::{DeviceFd, DeviceSpace, GroupNumber, InterruptKind, Kernel, Raw},
    lease::{Holder, LeaseState, News},
    machine::Machine,
};

use crate::simulation::{run::Run, sights::Sight};

/// Registers of the `edu`: one that keeps what is written until it is reset, and its DMA engine.
const LIVENESS: u64 = 0x04;
const TARGET: [(u64, u64); 3] = [(0x80, 0x40000), (0x88, 0), (0x90, 8)];
const COMMAND: u64 = 0x98;
const TO_MEMORY: u32 = 3;
/// What is in memory before a device writes its buffer, which is never this.
const UNTOUCHED: u64 = 0xa5a5_a5a5_a5a5_a5a5;

impl Run {
    fn any_device(&mut self) -> Option<DeviceFd> {
        let open: Vec<DeviceFd> = self.watch.borrow().devices.iter().copied().collect();
        self.dice.pick(&open)
    }

    /// From here on in this step, nothing is unmapped unless guests are off and devices quiet.
    pub(super) fn begin_quiet(&mut self) {
        self.watch.borrow_mut().must_be_quiet = true;
    }

    pub(super) fn reset_devices(&mut self) -> Result<(), Error> {
        let reset = self.engine.reset_devices();
        self.saw_if(reset.is_ok(), Sight::DevicesReset);
        reset
    }

    /// A driver leaves something in its device, as it may while there is a lease.
    pub(super) fn drive(&mut self) -> Result<(), Error> {
        let holders: Vec<Holder> = self.running_holders();
        let Some(device) = self.any_device().filter(|_| !holders.is_empty()) else { return Ok(()) };
        let mut kernel = self.machine.kernel();
        let (mut before, mark) = ([0; 4], 0x1234_u32.to_be_bytes());
        let read = kernel.read_device(device, DeviceSpace::Bar(0), LIVENESS, &mut before);
        if before == [0; 4] {
            self.marks.remove(&device);
        }
        // A frozen PE takes nothing.
        if read.is_ok() && before != [u8::MAX; 4] {
            kernel.write_device(device, DeviceSpace::Bar(0), LIVENESS, &mark).expect("as before");
            self.marks.entry(device).or_default().extend(holders);
        }
        if self.dice.one_in(2) {
            let event = kernel.open_event().expect("there is room");
            let kinds = [InterruptKind::Intx, InterruptKind::Msi];
            let kind = self.dice.pick(&kinds).expect("there are some");
            let on = kernel.enable_interrupts(device, kind, event);
            kernel.close(event.fd()).expect("it is open");
            self.saw_if(on == Raw::OK, Sight::InterruptsOn);
        }
        Ok(())
    }

    fn running_holders(&self) -> Vec<Holder> {
        let live = self.engine.leases().live();
        let running = live.filter(|(_, lease)| !matches!(lease.state, LeaseState::Ending(_)));
        running.map(|(_, lease)| lease.holder.clone()).collect()
    }

    /// The first lease of a holder's begins: what others have left in devices is gone.
    #[track_caller]
    pub(super) fn check_marks(&mut self, next: &Holder) {
        let open = self.watch.borrow().devices.clone();
        self.marks.retain(|device, _| open.contains(device));
        let others = self.marks.iter().filter(|(_, holders)| holders.iter().any(|it| it != next));
        let concerned: Vec<DeviceFd> = others.map(|(device, _)| *device).collect();
        for device in concerned {
            let mut mark = [0; 4];
            let mut kernel = self.machine.kernel();
            // A frozen PE does not show what its devices have.
            let frozen = self.frozen_groups();
            frozen.iter().for_each(|group| self.machine.thaw(*group));
            kernel
                .read_device(device, DeviceSpace::Bar(0), LIVENESS, &mut mark)
                .expect("it is open");
            frozen.iter().for_each(|group| self.machine.freeze(*group));
            assert_eq!(mark, [0; 4], "{device:?} is {next:?}'s as others have left it");
            self.marks.remove(&device);
            self.saw(Sight::ResetBetweenHolders);
        }
    }

    pub(in super::super) fn frozen_groups(&self) -> Vec<GroupNumber> {
        let normal = Some(tce_sim::PeState::Normal);
        let groups = self.machine.groups().into_iter();
        groups.filter(|group| self.machine.pe_state(*group) != normal).collect()
    }

    /// A device writes to memory, at an address that is used, or was. It reaches what somebody has mapped there now,
    /// and nothing else.
    pub(super) fn transfer(&mut self) -> Result<(), Error> {
        let Some(device) = self.any_device() else { return Ok(()) };
        let is_late = self.dice.one_in(2);
        let Some((iova, address)) = (if is_late { self.any_grave() } else { self.any_used() })
        else {
            return Ok(());
        };
        let place = HostAddr::new(address);
        self.machine.write_memory(place, &UNTOUCHED.to_be_bytes()).expect("it is ours");
        let mut kernel = self.machine.kernel();
        for (register, value) in TARGET {
            let value = if register == TARGET[1].0 { iova } else { value };
            let bytes = value.to_be_bytes();
            let _ = kernel.write_device(device, DeviceSpace::Bar(0), register, &bytes);
        }
        let _ = kernel.write_device(device, DeviceSpace::Bar(0), COMMAND, &TO_MEMORY.to_be_bytes());
        let mut text = [0; 8];
        self.machine.read_memory(place, &mut text).expect("it is ours");
        let is_reached = u64::from_be_bytes(text) != UNTOUCHED;
        if is_reached {
            assert!(self.is_used(iova, address), "{} still reaches {address:#x}", Iova::new(iova));
        }
        self.saw_if(is_reached, Sight::Transfer);
        self.saw_if(!is_reached && is_late, Sight::LateTransfer);
        Ok(())
    }

    fn any_grave(&mut self) -> Option<(u64, u64)> {
        let graves: Vec<(u64, u64)> = self.graves.iter().copied().collect();
        self.dice.pick(&graves)
    }

    fn any_used(&mut self) -> Option<(u64, u64)> {
        let wished = self.model.parts.values().filter_map(|part| part.wished.iter().next());
        let wished = wished.map(|(at, tce)| (*at, tce.address));
        let lent = self.guest.lent.values().filter_map(|lent| lent.hardware.iter().next());
        let lent = lent.map(|(at, tce)| (*at, tce.address.raw()));
        let used: Vec<(u64, u64)> = wished.chain(lent).collect();
        self.dice.pick(&used)
    }

    /// Whether somebody has mapped this there, or may have.
    fn is_used(&self, iova: u64, address: u64) -> bool {
        let is_wished = self
            .model
            .parts
            .values()
            .any(|it| it.tce(iova).is_some_and(|it| it.address == address));
        let mut lent = self.guest.lent.values();
        let is_lent =
            lent.any(|it| it.hardware.get(&iova).is_some_and(|it| it.address.raw() == address));
        let stale = self.watch.borrow().stale.contains_key(&iova);
        let quarantined = self.engine.windows().any(|state| {
            let mut claims = state.quarantined();
            claims.any(|it| Iova::new(iova).offset_from(it.start).is_some_and(|at| at < it.size))
        });
        is_wished || is_lent || stale || quarantined
    }

    /// An error on a bus, or the end of one in the host's hands.
    pub(super) fn freeze(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        match self.dice.roll(3) {
            0 => self.machine.freeze(group),
            _ => self.machine.thaw(group),
        }
        Ok(())
    }

    pub(super) fn check_frozen(&mut self) -> Result<(), Error> {
        let checked = self.engine.check_frozen();
        self.note_state_told();
        if let Ok(state) = checked {
            let told = self.watch.borrow().states_told.first().copied();
            assert_eq!(told.and_then(PeState::from_value), Some(state));
        }
        checked.map(|_| ())
    }

    /// If the kernel has told that a PE does not work, every lease is told, once until it is recovered.
    fn note_state_told(&mut self) {
        let told = self.watch.borrow().states_told.first().copied();
        let state = told.and_then(PeState::from_value);
        if state.is_some_and(|state| !state.works()) && !self.is_frozen_told {
            self.is_frozen_told = true;
            self.saw(Sight::Frozen);
            self.tell_all(&News::Frozen);
        }
    }

    fn tell_all(&mut self, news: &News) {
        let live: Vec<_> = self.engine.leases().live().map(|(id, _)| id).collect();
        self.news.extend(live.into_iter().map(|id| (id, news.clone())));
    }

    pub(super) fn recover(&mut self) -> Result<(), Error> {
        let is_first = self.engine.recovery_step().is_none();
        let tces = self.machine.live_tces();
        let recovered = self.engine.recover();
        if is_first {
            self.note_state_told();
        }
        if recovered.is_ok() {
            let has_news = std::mem::take(&mut self.is_frozen_told);
            if has_news {
                self.tell_all(&News::Recovered);
            }
            let groups: Vec<_> = self.engine.groups().map(|(group, _)| group).collect();
            for group in groups {
                let state = self.machine.pe_state(group).map(tce_sim::PeState::value);
                assert_eq!(state, Some(0), "{group:?} works again");
            }
            self.saw(Sight::Recovered);
            self.saw_if(!is_first, Sight::RecoveryResumed);
        }
        let has_stopped = recovered.is_err() && self.engine.recovery_step().is_some();
        self.saw_if(has_stopped, Sight::RecoveryStopped);
        assert_eq!(self.machine.live_tces(), tces, "a recovery leaves mappings alone");
        recovered
    }
}
