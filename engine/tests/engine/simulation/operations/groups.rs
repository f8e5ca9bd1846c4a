//! Groups come and go, by our will or the host's.

use tce_engine::{
    Error, Restored, WindowState,
    error::GroupRefusal,
    kernel::GroupNumber,
    lease::{EndCause, LeaseId, News},
    machine::Machine,
};
use tce_sim::Unbind;

use crate::{
    simulation::{run::Run, sights::Sight},
    worlds::{Membership, membership},
};

impl Run {
    pub(super) fn any_group(&mut self) -> GroupNumber {
        self.dice.pick(&self.machine.groups()).expect("there are some")
    }

    pub(super) fn attach(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        let is_second = self.engine.facts().is_some();
        self.engine.attach(group)?;
        self.saw_if(is_second, Sight::SecondGroup);
        // Without an open device there is no lease.
        if self.dice.one_in(10) { Ok(()) } else { self.open_device_of(group) }
    }

    pub(super) fn open_device(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        self.open_device_of(group)
    }

    fn open_device_of(&mut self, group: GroupNumber) -> Result<(), Error> {
        let address = self.machine.devices_of(group)[0].address.clone();
        self.engine.open_device(group, &address).map(|_| ())
    }

    pub(super) fn detach(&mut self) -> Result<(), Error> {
        if !self.dice.one_in(3) {
            return Ok(());
        }
        let group = self.any_group();
        self.begin_quiet();
        let detached = self.engine.detach(group);
        self.note_detached(group, detached)
    }

    fn note_detached(
        &mut self,
        group: GroupNumber,
        detached: Result<(), Error>,
    ) -> Result<(), Error> {
        self.cause = Some(EndCause::LastGroupLeft(group));
        // A take-down that failed may have come past the regions.
        let engine = &self.engine;
        self.users.retain(|id, _| engine.regions().is_some_and(|regions| regions.get(*id).is_ok()));
        let sight = match detached {
            Ok(()) => Sight::LastGroupLeft,
            Err(_) => Sight::TakeDownFailed,
        };
        self.saw_if(!matches!(detached, Err(Error::Group(_) | Error::NoBackend)), sight);
        detached
    }

    /// One of several groups leaves.
    pub(super) fn part(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        let before = self.leases_of(group);
        self.begin_quiet();
        let parted = self.engine.part(group);
        if let Ok(Restored { map_calls, tces }) = parted {
            let made = self.watch.borrow().made.iter().filter(|it| it.address.is_some()).count();
            assert_eq!(u64::try_from(made), Ok(map_calls));
            assert_eq!(self.engine.windows().map(tces_of).sum::<u64>(), tces, "all is there again");
            self.saw_if(tces > 0, Sight::MappingsRestored);
        }
        self.note_parted(group, &before, parted.map(|_| ()))
    }

    /// Leases that have not ended and are for a group.
    pub(super) fn leases_of(&self, group: GroupNumber) -> Vec<LeaseId> {
        let live = self.engine.leases().live();
        live.filter(|(_, lease)| lease.groups.contains(&group)).map(|(id, _)| id).collect()
    }

    /// Leases for this group alone end, the others know that it left; what could not be mapped again is told, lease by
    /// lease.
    pub(super) fn note_parted(
        &mut self,
        group: GroupNumber,
        before: &[LeaseId],
        parted: Result<(), Error>,
    ) -> Result<(), Error> {
        self.cause = Some(EndCause::GroupLeft(group));
        self.note_flushed();
        let is_gone = membership(&self.engine, group) == Membership::Absent;
        let is_refused = matches!(parted, Err(Error::Group(_) | Error::NoBackend));
        self.saw_if(!is_gone && !is_refused, Sight::PartingFailed);
        if let Err(Error::Parting(failure)) = &parted {
            assert_eq!(failure.group, group);
            self.saw(Sight::MappingsLost);
            self.lost.extend(failure.quarantined.iter().map(|lost| lost.claim));
        }
        if is_refused || !is_gone {
            return parted;
        }
        self.saw(Sight::GroupParted);
        for id in before {
            let Some((_, lease)) = self.engine.leases().live().find(|(live, _)| live == id) else {
                continue;
            };
            assert!(!lease.groups.contains(&group) && !lease.groups.is_empty(), "{id}");
            self.news.push((*id, News::GroupLeft(group)));
        }
        parted
    }

    /// The host wants a group back, at any moment. One that is attached without an open device would go without a word,
    /// and take all mappings along: there are no leases for it.
    pub(super) fn unbind(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        if membership(&self.engine, group) == Membership::Unwatched {
            return Ok(());
        }
        if self.machine.unbind(group) == Unbind::Waiting {
            self.asked.insert(group);
            self.unread.insert(group);
        }
        Ok(())
    }

    pub(super) fn rebind(&mut self) -> Result<(), Error> {
        let group = self.any_group();
        self.machine.rebind(group);
        Ok(())
    }

    /// Reads what the kernel wants back, and lets it go at once or later.
    pub(super) fn take_requests(&mut self) -> Result<(), Error> {
        let fired = self.watch.borrow().fired;
        let wanted = self.engine.take_requests();
        let is_sure = self.watch.borrow().fired == fired;
        for group in self.machine.groups() {
            let is_told = wanted.as_ref().is_ok_and(|wanted| wanted.contains(&group));
            let is_unread = self.unread.contains(&group);
            assert!(
                is_told == is_unread || !is_sure && !is_told,
                "{group:?} is wanted: {is_unread}"
            );
            if is_told {
                self.unread.remove(&group);
                self.saw(Sight::GroupWanted);
                let leases = self.leases_of(group).into_iter();
                self.news.extend(leases.map(|id| (id, News::GroupWanted(group))));
            }
        }
        let wanted = wanted?;
        match wanted.first() {
            Some(group) if self.dice.one_in(2) => self.surrender_group(*group),
            _ => Ok(()),
        }
    }

    /// Lets a group go that the kernel wants back.
    pub(super) fn surrender(&mut self) -> Result<(), Error> {
        let asked: Vec<GroupNumber> = self.asked.iter().copied().collect();
        let Some(group) = self.dice.pick(&asked) else { return Ok(()) };
        self.surrender_group(group)
    }

    fn surrender_group(&mut self, group: GroupNumber) -> Result<(), Error> {
        let attached = self.machine.groups().into_iter();
        let attached =
            attached.filter(|group| membership(&self.engine, *group) != Membership::Absent).count();
        let before = self.leases_of(group);
        self.begin_quiet();
        let surrendered = self.engine.surrender(group);
        self.saw_if(surrendered.is_ok(), Sight::Surrendered);
        if matches!(surrendered, Err(Error::Group(GroupRefusal::Attached { .. }))) {
            return surrendered;
        }
        match attached {
            0 => surrendered,
            1 => self.note_detached(group, surrendered),
            _ => self.note_parted(group, &before, surrendered),
        }
    }

    /// What the host has back it does not ask for any more.
    pub(crate) fn follow_host(&mut self) {
        let machine = &self.machine;
        let is_bound = |group: &GroupNumber| machine.devices_of(*group)[0].is_bound();
        self.asked.retain(is_bound);
        self.unread.retain(is_bound);
    }
}

fn tces_of(state: &WindowState) -> u64 {
    state.table().tces()
}
