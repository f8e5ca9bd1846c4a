//! What can happen in a small world.
//!
//! To add an operation: a variant here, a line in [`Operation::all`] or [`Operation::of_guests`], an arm in
//! [`World::carry_out`], and whatever state it makes in `view`.

use std::{fmt, ops::Range};

use tce_engine::{
    Error, LeaseRequest,
    error::GroupRefusal,
    facts::Slot,
    lease::Timestamp,
    lingering::{Deferral, Unmapping},
    window::WindowId,
};
use tce_sim::Operation as KernelCall;

use super::world::{NOW, World};

/// One of the two groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    A,
    B,
}

impl Group {
    pub(super) const ALL: [Self; 2] = [Self::A, Self::B];
}

/// One of the two holders. The first one's leases are of two pages, for all groups there are; the second one's are of
/// one page, for group B alone, and put unmaps off. Who comes first has the start of a window, which can be lent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    First,
    Second,
}

impl Holder {
    pub(super) const ALL: [Self; 2] = [Self::First, Self::Second];
}

/// One of the two windows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// In slot 0, where the default window becomes ours.
    Low,
    /// In slot 1.
    High,
}

impl At {
    pub(super) const ALL: [Self; 2] = [Self::Low, Self::High];

    pub(super) const fn slot(self) -> Slot {
        match self {
            Self::Low => Slot::Zero,
            Self::High => Slot::One,
        }
    }
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Attaches a group and opens its device.
    Attach(Group),
    /// Lets the last group go.
    Detach(Group),
    /// Lets one of two groups go.
    Part(Group),
    MakeWindow(At),
    RemoveWindow(At),
    Register,
    Unregister,
    /// Leases pages of a window, if the holder has none.
    Lease(Holder, At),
    /// Leases the second page of the first holder's to the second one.
    Divide,
    Revoke(Holder),
    /// Gives a lease an end.
    Limit(Holder),
    /// Takes it away again.
    Prolong(Holder),
    /// The ends come.
    Expire,
    /// Maps the first page of a lease.
    Map(Holder),
    Unmap(Holder),
    /// Unmaps what lingers.
    Flush,
    /// A holder dies.
    Die(Holder),
    /// The host unbinds a group's driver, unless the group is attached without an open device: it would leave without a
    /// word, which is why there are no leases for it.
    Unbind(Group),
    /// The host binds it again.
    Rebind(Group),
    /// Reads what the kernel wants back, and lets it go.
    Surrender,
    /// Lends a holder's lease to the guest, which is linked to the container if it is not.
    Lend(Holder),
    TakeBack(Holder),
    /// The guest sets the first page of a holder's lease, or clears it, and nobody is told.
    GuestPuts(Holder),
    /// Lets one of two groups go, and the guest keep what it has.
    PartFromGuest(Group),
}

impl Operation {
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Register, Self::Unregister, Self::Divide];
        all.extend([Self::Expire, Self::Flush, Self::Surrender]);
        for group in Group::ALL {
            all.extend([Self::Attach(group), Self::Detach(group), Self::Part(group)]);
            all.extend([Self::Unbind(group), Self::Rebind(group)]);
        }
        for at in At::ALL {
            all.extend([Self::MakeWindow(at), Self::RemoveWindow(at)]);
            all.extend(Holder::ALL.map(|holder| Self::Lease(holder, at)));
        }
        for holder in Holder::ALL {
            all.extend([Self::Map(holder), Self::Unmap(holder), Self::Revoke(holder)]);
            all.extend([Self::Limit(holder), Self::Prolong(holder), Self::Die(holder)]);
        }
        all
    }

    /// With a guest: what it does, and all that it may meet. Time, sub-leases and what lingers are left to
    /// [`Operation::all`].
    pub(super) fn of_guests() -> Vec<Self> {
        let mut all = vec![Self::Register, Self::Unregister, Self::Surrender];
        for group in Group::ALL {
            all.extend([Self::Attach(group), Self::Detach(group), Self::Part(group)]);
            all.extend([Self::Unbind(group), Self::PartFromGuest(group)]);
        }
        for at in At::ALL {
            all.extend([Self::MakeWindow(at), Self::RemoveWindow(at)]);
        }
        for holder in Holder::ALL {
            all.extend([Self::Map(holder), Self::Unmap(holder), Self::Revoke(holder)]);
            all.extend([Self::Lend(holder), Self::TakeBack(holder), Self::GuestPuts(holder)]);
        }
        all.extend([Self::Die(Holder::First), Self::Lease(Holder::First, At::Low)]);
        all.extend([Self::Lease(Holder::Second, At::High), Self::Lease(Holder::Second, At::Low)]);
        all
    }
}

/// A kernel call that fails: which of those of its kind that an operation makes, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailedCall {
    pub(super) call: KernelCall,
    pub(super) nth: u64,
}

/// An operation, and which of its calls fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) fails: Option<FailedCall>,
}

/// An operation none of whose calls fails.
pub(super) const fn does(operation: Operation) -> Step {
    Step { operation, fails: None }
}

/// An operation one of whose calls fails.
pub(super) const fn fails(operation: Operation, call: KernelCall, nth: u64) -> Step {
    Step { operation, fails: Some(FailedCall { call, nth }) }
}

impl fmt::Debug for Step {
    /// As it is written in a test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation;
        match self.fails {
            None => write!(f, "does(Operation::{operation:?})"),
            Some(FailedCall { call, nth }) => {
                write!(f, "fails(Operation::{operation:?}, KernelCall::{call:?}, {nth})")
            }
        }
    }
}

/// Names as they are written in a test.
macro_rules! written_as {
    ($($name:ident { $($variant:ident),* })*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => concat!(stringify!($name), "::", stringify!($variant)),)*
                })
            }
        })*
    };
}

written_as! {
    Group { A, B }
    Holder { First, Second }
    At { Low, High }
}

/// When leases with an end have ended.
const LATER: Timestamp = Timestamp(NOW.0 + 1000);

impl World {
    /// Does what an operation says. What is not there to be operated on is left alone.
    pub(super) fn carry_out(&mut self, operation: Operation) -> Result<(), Error> {
        match operation {
            Operation::Attach(group) => self.attach(group),
            Operation::Detach(group) => {
                let number = self.number(group);
                self.ask(|engine| engine.detach(number))
            }
            Operation::Part(group) => {
                let number = self.number(group);
                self.ask(|engine| engine.part(number)).map(|_| ())
            }
            Operation::MakeWindow(at) => self.make_window(at.slot()),
            Operation::RemoveWindow(at) => {
                let Some(window) = self.window_in(at.slot()) else { return Ok(()) };
                self.ask(|engine| engine.remove_window(window))
            }
            Operation::Register => self.register(),
            Operation::Unregister => {
                let Some(region) = self.region() else { return Ok(()) };
                self.ask(|engine| engine.unregister(region))
            }
            Operation::Lease(holder, at) => self.lease(holder, at.slot()),
            Operation::Divide => self.divide(),
            Operation::Revoke(holder) => self.with_lease(holder, |engine, id| engine.revoke(id)),
            Operation::Limit(holder) => {
                self.with_lease(holder, |engine, id| engine.renew(id, Some(LATER), NOW))
            }
            Operation::Prolong(holder) => {
                self.with_lease(holder, |engine, id| engine.renew(id, None, NOW))
            }
            Operation::Expire => self.ask(|engine| engine.expire(LATER)),
            Operation::Map(holder) => self.map(holder),
            Operation::Unmap(holder) => self.unmap(holder),
            Operation::Flush => self.ask(|engine| engine.flush_all(NOW)).map(|_| ()),
            Operation::Die(holder) => {
                let name = Self::name(holder);
                self.ask(|engine| engine.end_holder(&name))
            }
            Operation::Unbind(group) => {
                self.unbind(group);
                Ok(())
            }
            Operation::Rebind(group) => {
                self.rebind(group);
                Ok(())
            }
            Operation::Surrender => self.surrender(),
            Operation::Lend(holder) => self.lend(holder),
            Operation::TakeBack(holder) => {
                self.with_lease(holder, |engine, id| engine.take_back(id))
            }
            Operation::GuestPuts(holder) => {
                self.guest_puts(holder);
                Ok(())
            }
            Operation::PartFromGuest(group) => self.part_from_guest(group),
        }
    }

    /// Of a group that is attached already, the device is opened.
    fn attach(&mut self, group: Group) -> Result<(), Error> {
        let number = self.number(group);
        match self.ask(|engine| engine.attach(number)) {
            Ok(()) | Err(Error::Group(GroupRefusal::Attached { attached: true, .. })) => {}
            Err(error) => return Err(error),
        }
        let address = self.address(group);
        self.ask(|engine| engine.open_device(number, &address)).map(|_| ())
    }

    fn lease(&mut self, holder: Holder, slot: Slot) -> Result<(), Error> {
        if self.live(holder).is_some() {
            return Ok(());
        }
        let Some(window) = self.window_in(slot) else { return Ok(()) };
        let request = match holder {
            Holder::First => self.request(holder, window, 0..2),
            Holder::Second => LeaseRequest {
                groups: vec![self.number(Group::B)],
                ..self.request(holder, window, self.pages_of_second(window))
            },
        };
        self.take_lease(holder, request)
    }

    /// The start of a window that the first holder has nothing in.
    fn pages_of_second(&self, window: WindowId) -> Range<u64> {
        match self.live(Holder::First) {
            Some((_, lease)) if lease.part(window).is_some() => 2..3,
            _ => 0..1,
        }
    }

    fn divide(&mut self) -> Result<(), Error> {
        let (Some((parent, lease)), None) = (self.live(Holder::First), self.live(Holder::Second))
        else {
            return Ok(());
        };
        let (window, groups) = (lease.home().window, lease.groups.clone());
        let request = LeaseRequest {
            parent: Some(parent),
            groups,
            expires: lease.expires,
            ..self.request(Holder::Second, window, 1..2)
        };
        self.take_lease(Holder::Second, request)
    }

    fn request(&self, holder: Holder, window: WindowId, pages: Range<u64>) -> LeaseRequest {
        let claim = self.claim(window, pages);
        let deferral = Deferral::new(4, 100).expect("within the bounds");
        let unmapping = match holder {
            Holder::First => Unmapping::Strict,
            Holder::Second => Unmapping::Deferred(deferral),
        };
        let request = LeaseRequest::new(Self::name(holder), window, claim.size);
        LeaseRequest { at: Some(claim.start), unmapping, ..request }
    }

    fn take_lease(&mut self, holder: Holder, request: LeaseRequest) -> Result<(), Error> {
        let lease = self.ask(|engine| {
            let grant = engine.grant_lease(request)?;
            engine.lease(grant)
        })?;
        self.note_lease(holder, lease);
        Ok(())
    }
}
